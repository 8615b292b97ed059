# Runs one throw-away PostgreSQL cluster for as long as standard input stays open, then stops it and removes its directory.
# The test process holds the other end of that pipe and the kernel closes it however the process ends, so nothing is left
# behind even by a kill -9.
#
#   $1  the directory of PostgreSQL's programs
#   $2  the first port to try
#
# Prints "ready PORT PASSWORD" once the server accepts connections; on any other outcome prints why and exits.

set -u
umask 077
bin=$1
port=$2

dir=$(mktemp -d "${TMPDIR:-/tmp}/signet-postgres.XXXXXX" 2>/dev/null || mktemp -d /tmp/signet-postgres.XXXXXX) || exit 1

remove() {
    "$bin/pg_ctl" stop -D "$dir/data" -m immediate </dev/null >/dev/null 2>&1
    rm -rf "$dir"
}
trap remove EXIT
trap 'exit 1' HUP INT TERM
# The test process may be gone before "ready" is printed.
trap '' PIPE

give_up() {
    echo "$1"
    tail -n 20 "$dir/log"
    exit 1
}

password=$(od -An -N 18 -tx1 /dev/urandom | tr -d ' \n')
printf '%s\n' "$password" >"$dir/password"

# The password crosses the loopback as it is: an unoptimized client takes 60 ms to answer a SCRAM challenge.
"$bin/initdb" -D "$dir/data" -U postgres -A password --pwfile="$dir/password" \
    --encoding=UTF8 --no-locale --no-sync </dev/null >"$dir/log" 2>&1 || give_up "initdb failed:"

cat >>"$dir/data/postgresql.conf" <<'CONF'
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
fsync = off
synchronous_commit = off
full_page_writes = off
CONF

attempts=0
until "$bin/pg_ctl" start -w -D "$dir/data" -l "$dir/log" -o "-p $port" </dev/null >/dev/null 2>&1; do
    attempts=$((attempts + 1))
    # Only a port that something else has taken is worth another try.
    if [ "$attempts" -ge 20 ] || ! grep -q 'could not create any TCP/IP sockets' "$dir/log"; then
        give_up "postgres did not start:"
    fi
    : >"$dir/log"
    port=$((port + 1))
done

echo "ready $port $password"

while read -r _; do :; done
