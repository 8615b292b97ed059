-- The database of the baselines, for PostgreSQL and SQLite alike. Persons have the columns and the indexes that Signet's
-- have, so that a page is the same work; the rest is what tutorials have.
CREATE TABLE users (
    id INTEGER NOT NULL PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL
);

CREATE TABLE roles (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE user_roles (
    user_id INTEGER NOT NULL REFERENCES users (id),
    role_id INTEGER NOT NULL REFERENCES roles (id),
    PRIMARY KEY (user_id, role_id)
);

-- `token` holds the SHA-256 of a refresh token.
CREATE TABLE refresh_tokens (
    token TEXT NOT NULL PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    expires_at BIGINT NOT NULL
);

CREATE TABLE persons (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT,
    age INTEGER,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE INDEX persons_by_name ON persons (name, id);
CREATE INDEX persons_by_age ON persons (age, id);
CREATE INDEX persons_by_created_at ON persons (created_at, id);

INSERT INTO roles (id, name) VALUES (1, 'user'), (2, 'editor'), (3, 'admin');
