ALTER TABLE subjects DROP COLUMN told_version;
