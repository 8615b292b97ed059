# Runs one throw-away PostgreSQL cluster for as long as standard input stays open, then stops it and removes its directory.
# The test process holds the other end of that pipe and the kernel closes it however the process ends, so nothing is left
# behind even by a kill -9.
#
#   $1  the directory of PostgreSQL's programs
#   $2  the first port to try
#   $3  "durable" if what was committed has to be there after a kill, else nothing
#
# Prints "ready PORT PASSWORD" once the server accepts connections; on any other outcome prints why and exits. After that
# takes one command a line: "kill" ends every process of the server as kill -9 does and prints "killed", "start" starts it
# again on the same port and prints "started"; "fast" and "immediate" stop it in the two ways that pg_ctl has for servers
# with clients, and print "stopped"; "pause" stops all of them where they are and prints "paused", "resume" lets
# them go on and prints "resumed".

set -u
umask 077
bin=$1
port=$2
durable=${3:-}
# The programs may be links, and postgres is only sure to be next to where they lead.
postgres=$(dirname "$(readlink -f "$bin/pg_ctl")")/postgres

dir=$(mktemp -d "${TMPDIR:-/tmp}/signet-postgres.XXXXXX" 2>/dev/null || mktemp -d /tmp/signet-postgres.XXXXXX) || exit 1

remove() {
    resume_server 2>/dev/null
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

# A child of this shell, not of pg_ctl: a server that was killed is then reaped, and its lock file known to be stale.
start() {
    "$postgres" -D "$dir/data" -p "$port" </dev/null >>"$dir/log" 2>&1 &
    server=$!
    # The file's first line is the server's process, the eighth says how far it is.
    until [ "$(sed -n '1p;8p' "$dir/data/postmaster.pid" 2>/dev/null | tr -d ' \n')" = "${server}ready" ]; do
        kill -0 "$server" 2>/dev/null || return 1
        sleep 0.05
    done
}

children_of_server() {
    if [ -r /proc/self/stat ]; then
        # Processes end while they are being listed.
        sed -n "s/^\([0-9]*\) (.*) [A-Za-z] $server .*/\1/p" /proc/[0-9]*/stat 2>/dev/null
    else
        ps -A -o pid= -o ppid= | sed -n "s/^ *\([0-9]*\)  *$server *\$/\1/p"
    fi
}

kill_server() {
    # It is stopped first, so that it starts no more of them meanwhile.
    kill -STOP "$server"
    # shellcheck disable=SC2046  # one argument for each
    kill -KILL $(children_of_server) "$server"
    wait "$server"
}

# $1 is the signal: INT ends the sessions and writes everything down, QUIT leaves at once.
stop_server() {
    kill "-$1" "$server"
    wait "$server"
}

# It stands first and goes on last, so that there is no process that is not listed.
pause_server() {
    kill -STOP "$server"
    # shellcheck disable=SC2046  # one argument for each
    kill -STOP $(children_of_server) "$server"
}

resume_server() {
    # shellcheck disable=SC2046  # one argument for each
    kill -CONT $(children_of_server) "$server"
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
CONF
# No kill loses what the kernel was given; without these two, not everything is given to it in time.
[ "$durable" = durable ] || cat >>"$dir/data/postgresql.conf" <<'CONF'
synchronous_commit = off
full_page_writes = off
CONF

attempts=0
until start; do
    attempts=$((attempts + 1))
    # Only a port that something else has taken is worth another try.
    if [ "$attempts" -ge 20 ] || ! grep -q 'could not create any TCP/IP sockets' "$dir/log"; then
        give_up "postgres did not start:"
    fi
    : >"$dir/log"
    port=$((port + 1))
done

echo "ready $port $password"

while read -r command; do
    case $command in
    kill)
        kill_server 2>/dev/null
        echo killed
        ;;
    fast)
        stop_server INT 2>/dev/null
        echo stopped
        ;;
    immediate)
        stop_server QUIT 2>/dev/null
        echo stopped
        ;;
    pause)
        pause_server 2>/dev/null
        echo paused
        ;;
    resume)
        resume_server 2>/dev/null
        echo resumed
        ;;
    start)
        attempts=0
        # For a moment the memory that those processes shared is still in use.
        until start; do
            attempts=$((attempts + 1))
            [ "$attempts" -lt 100 ] || give_up "postgres did not start again:"
            sleep 0.1
        done
        echo started
        ;;
    esac
done
