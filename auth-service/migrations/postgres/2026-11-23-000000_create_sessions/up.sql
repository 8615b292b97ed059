CREATE TABLE subjects (
    user_id TEXT NOT NULL PRIMARY KEY,
    authorization_version BIGINT NOT NULL,
    roles TEXT NOT NULL,
    disabled BOOLEAN NOT NULL,
    deleted BOOLEAN NOT NULL
);

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES subjects (user_id),
    roles TEXT NOT NULL,
    authorization_version BIGINT NOT NULL,
    scope_limit TEXT,
    amr TEXT NOT NULL,
    address TEXT,
    user_agent TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    current_number BIGINT NOT NULL,
    previous_number BIGINT NOT NULL,
    ended_at BIGINT,
    end_reason TEXT
);

CREATE INDEX sessions_by_user ON sessions (user_id, created_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
