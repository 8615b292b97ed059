-- COLLATE "C" sorts by code point, as SQLite does.
-- age_key is what ages are sorted by: those without one come before 0. It is a column and not an expression, because
-- SQLite seeks `(key, id) > (x, y)` in an index on columns only.
CREATE TABLE persons (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    email TEXT,
    age INTEGER CHECK (age BETWEEN 0 AND 150),
    age_key INTEGER NOT NULL GENERATED ALWAYS AS (COALESCE(age, -1)) STORED,
    search_text TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1)
);

CREATE INDEX persons_by_name ON persons (name, id);
CREATE INDEX persons_by_age ON persons (age_key, id);
CREATE INDEX persons_by_created_at ON persons (created_at, id);
