#!/bin/sh
# Runs once, when the database cluster is made: a database for each service, and for each a role that owns it and can
# connect to no other.
set -eu
psql --username="$POSTGRES_USER" --dbname=postgres --set=ON_ERROR_STOP=1 --quiet \
    --command='REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'
for service in auth user resource; do
    {
        # The password goes through standard input: an argument would be seen in the list of processes.
        printf "\\set password '%s'\n" "$(cat "/etc/postgres/secrets/$service-password")"
        cat <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"role";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
    } | psql --username="$POSTGRES_USER" --dbname=postgres --set=ON_ERROR_STOP=1 --quiet \
        --set=role="${service}_service" --set=database="${service}"
done
