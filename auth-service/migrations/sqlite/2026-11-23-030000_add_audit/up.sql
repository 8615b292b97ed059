-- Who did what to whom. Rows are added, and removed when their time is over; never changed.
CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    actor_type TEXT,
    actor TEXT,
    subject TEXT,
    session TEXT,
    client_id TEXT,
    address TEXT,
    user_agent TEXT,
    request_id TEXT,
    details TEXT
);

CREATE INDEX audit_by_time ON audit (at, id);
CREATE INDEX audit_by_action ON audit (action, at, id);
CREATE INDEX audit_by_actor ON audit (actor, at, id) WHERE actor IS NOT NULL;
CREATE INDEX audit_by_subject ON audit (subject, at, id) WHERE subject IS NOT NULL;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'rows of audit are never changed');
END;
