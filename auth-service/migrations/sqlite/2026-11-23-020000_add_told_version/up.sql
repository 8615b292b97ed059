ALTER TABLE subjects ADD COLUMN told_version BIGINT NOT NULL DEFAULT 0;
UPDATE subjects SET told_version = authorization_version;
