#!/usr/bin/env bash
# Registers the SPUs with the SC and waits until they are online. Run again, it registers only what is
# missing. SPUs that nobody registered are refused by the SC and ask again every three seconds, so it does
# not matter which of them starts first.
#
#   FLUVIO_SC    host:port of the SC
#   FLUVIO_SPUS  one SPU a line: id, address for clients, local address, address for other SPUs
#   WAIT_S_MAX   how long each step may take
set -euo pipefail

sc=${FLUVIO_SC:?host:port of the SC}
spus=${FLUVIO_SPUS:?one SPU a line: id, address for clients, local address, address for other SPUs}
wait_s_max=${WAIT_S_MAX:-120}

list() {
    fluvio --cluster "$sc" cluster spu list
}

# The status of an SPU: nothing (unknown to the SC), Init, Offline or Online. Columns: ID NAME STATUS ...
status_of() {
    list | awk -v id="$1" '$1 == id { print $3 }'
}

is_online() {
    [ "$(status_of "$1")" = Online ]
}

wait_for() {
    local what=$1 deadline=$((SECONDS + wait_s_max))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "error: $what: not within $wait_s_max s" >&2
            exit 1
        fi
        sleep 1
    done
    echo "$what"
}

wait_for "the SC at $sc answers" list

while read -r id public local private; do
    if [ -z "$id" ]; then continue; fi
    if [ -n "$(status_of "$id")" ]; then
        echo "SPU $id is registered already"
        continue
    fi
    fluvio --cluster "$sc" cluster spu register --id "$id" --public-server "$public" \
        --public-server-local "$local" --private-server "$private"
    echo "SPU $id registered: $public for clients, $local as local address, $private for other SPUs"
done <<<"$spus"

while read -r id _; do
    if [ -z "$id" ]; then continue; fi
    wait_for "SPU $id is online" is_online "$id"
done <<<"$spus"
