#!/bin/sh
# Runs once, when the cluster is new: a database for each service, and a role that can do nothing elsewhere.
#
# The names and passwords are those of the URLs that the services get. A role owns a schema and no database, so it can
# neither let others in nor drop it.
set -eu

# sql DATABASE: runs what is on standard input. Values come through the environment, where no list of processes shows them.
sql() {
    psql -X -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$1"
}

# provide SERVICE PRIVILEGES
provide() {
    url=$(cat "/run/secrets/$1-database-url")
    rest=${url#postgres://}
    ROLE=${rest%%:*}
    rest=${rest#*:}
    PASSWORD=${rest%%@*}
    DATABASE=${rest##*/}
    export ROLE PASSWORD DATABASE
    sql postgres <<'SQL'
\getenv role ROLE
\getenv password PASSWORD
\getenv database DATABASE
CREATE ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    CONNECTION LIMIT 90 PASSWORD :'password';
CREATE DATABASE :"database";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
    sql "$DATABASE" <<SQL
\getenv role ROLE
\getenv database DATABASE
GRANT $2 ON DATABASE :"database" TO :"role";
DROP SCHEMA public;
CREATE SCHEMA :"role" AUTHORIZATION :"role";
ALTER ROLE :"role" IN DATABASE :"database" SET search_path = :"role";
SQL
}

sql postgres <<'SQL'
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
REVOKE ALL ON DATABASE template1 FROM PUBLIC;
SQL
provide auth CONNECT
provide user CONNECT
# Imports go through a temporary table.
provide resource 'CONNECT, TEMPORARY'
