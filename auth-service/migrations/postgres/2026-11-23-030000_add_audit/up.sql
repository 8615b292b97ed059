-- Who did what to whom. Rows are added, and removed when their time is over; never changed.
CREATE TABLE audit (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    outcome TEXT NOT NULL,
    actor_type TEXT,
    actor TEXT COLLATE "C",
    subject TEXT COLLATE "C",
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

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of audit are never changed';
END
$$;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
