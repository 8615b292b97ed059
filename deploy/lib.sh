# What the scripts in this directory share; they read it with `.`.
# shellcheck shell=sh disable=SC2154  # whoever reads this has set $here, the directory that it is in

compose="$here/compose"

# containers SERVICE: the ids of its running containers
containers() {
    "$compose" ps -q "$1" | while read -r id; do
        if [ "$(docker inspect -f '{{.State.Running}}' "$id")" = true ]; then echo "$id"; fi
    done
}

# container SERVICE: one of them
container() {
    id=$(containers "$1" | head -n 1)
    if [ -z "$id" ]; then
        echo "$1 is not running: docker compose up comes first" >&2
        exit 1
    fi
    echo "$id"
}

failures=0
passed() { printf 'ok      %s\n' "$1"; }
failed() {
    printf 'FAILED  %s\n' "$1" >&2
    failures=$((failures + 1))
}

# conclude: the exit code
conclude() {
    if [ "$failures" -gt 0 ]; then
        echo "$failures failed." >&2
        exit 1
    fi
    echo "All is well."
}
