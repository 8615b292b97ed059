-- Audit records that auth-service has not acknowledged yet.
CREATE TABLE audit_outbox (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    payload TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
