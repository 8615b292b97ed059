-- One row: the numbering of the feed. Whoever writes entries holds this row until the commit, so that numbers become
-- visible in their order and without gaps. Each start of the service writes a new epoch.
CREATE TABLE feed_state (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    seq BIGINT NOT NULL,
    longest_ttl_seconds BIGINT NOT NULL
);

INSERT INTO feed_state (id, epoch, seq, longest_ttl_seconds) VALUES (1, '', 0, 0);

-- The entries of the feed; `until` is in seconds, as in tokens.
CREATE TABLE revocations (
    seq INTEGER NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    number BIGINT,
    until BIGINT NOT NULL
);

CREATE INDEX revocations_by_key ON revocations (kind, key);
CREATE INDEX revocations_by_until ON revocations (until);

-- Who follows the feed, and which keys each of them knows.
CREATE TABLE verifiers (
    id TEXT NOT NULL PRIMARY KEY,
    kids TEXT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- OAuth clients; `version` goes into their tokens as `ver`.
CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    scope TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT
);

-- The client that a session was begun with, if it was one that had to show a secret.
ALTER TABLE sessions ADD COLUMN client_id TEXT;
CREATE INDEX sessions_by_client ON sessions (client_id) WHERE client_id IS NOT NULL;
