DROP INDEX sessions_by_client;
ALTER TABLE sessions DROP COLUMN client_id;
DROP TABLE clients;
DROP TABLE verifiers;
DROP TABLE revocations;
DROP TABLE feed_state;
