-- Audit records that auth-service has not acknowledged yet.
CREATE TABLE audit_outbox (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payload TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
