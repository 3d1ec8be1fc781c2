#!/usr/bin/env bash
# Crowds of clients at the proxy, and straight at a server for comparison: a thousand at once, thousands idle, thousands of
# connects a second, and more than the proxy has file descriptors for. Prints a line each; exit status 1 when one was lost.
#
#   scripts/load/crowds.sh mysql|mariadb
#
#   BURST (1000)  IDLE (10000)  IDLE_ASKED (4000: of them that many each with a backend)  PACE (5000 a second)  LENGTH (60 s)
#   DBPROXY_BINARY     the proxy (default: a release build of this checkout)
#   DBPROXY_LOAD_PORT  first of 13 ports (default: 13900)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
flavor=${1:-}
if ! [[ $flavor =~ ^(mysql|mariadb)$ ]]; then echo "usage: $0 mysql|mariadb" >&2; exit 2; fi
BURST=${BURST:-1000} IDLE=${IDLE:-10000} IDLE_ASKED=${IDLE_ASKED:-4000} PACE=${PACE:-5000} LENGTH=${LENGTH:-60}
port=${DBPROXY_LOAD_PORT:-13900}
work=$(mktemp -d "${TMPDIR:-/tmp}/dbproxy-load.XXXXXX")
# shellcheck source=../clients/world.sh
. "$root/scripts/clients/world.sh"
trap end_world EXIT
trap 'exit 130' INT TERM
build release
cargo build --quiet --release --manifest-path "$root/Cargo.toml" --example crowd
crowd=${CARGO_TARGET_DIR:-$root/target}/release/examples/crowd
start_cluster
for offset in 0 1 2; do
    mariadb --no-defaults --skip-ssl -h 127.0.0.1 -P $((port + offset)) -u root -e "SET GLOBAL max_connections = 12000"
done
printf '\n[limits]\nmax_clients = 15000\n' >>"$work/cluster/dbproxy.toml"

status=0
direct=$((port + 1)) through=$((port + 10))
# A line of the report: what, where, then what the crowd says.
line() {
    local what=$1 where=$2 outcome
    shift 2
    outcome=$("$crowd" "$@" 2>&1) || status=1
    printf '| %s | %s | %s |\n' "$what" "$where" "$outcome"
}
fresh_proxy() {
    if [ -n "$proxy" ]; then kill "$proxy"; wait "$proxy" || true; fi
    start_proxy
}
select="SELECT @@server_id"

echo "| $flavor | by way of | outcome |"
echo "|---|---|---|"
fresh_proxy
line "$BURST at once, each a statement" "a server" burst "$direct" "$BURST" "$select"
line "$BURST at once, each a statement" dbproxy burst "$through" "$BURST" "$select"
fresh_proxy
line "$IDLE idle, memory of dbproxy" dbproxy idle "$through" "$IDLE" "$proxy"
fresh_proxy
line "$IDLE_ASKED idle after a statement" dbproxy idle "$through" "$IDLE_ASKED" "$proxy" "$select"
fresh_proxy
line "$PACE connects/s for $LENGTH s" "a server" paced "$direct" "$PACE" "$LENGTH"
line "$PACE connects/s for $LENGTH s" dbproxy paced "$through" "$PACE" "$LENGTH"
line "$PACE connects/s, a statement each, $LENGTH s" "a server" paced "$direct" "$PACE" "$LENGTH" "$select"
line "$PACE connects/s, a statement each, $LENGTH s" dbproxy paced "$through" "$PACE" "$LENGTH" "$select"
proxy_lives || status=1

# With so few descriptors most of a burst must be refused, in the words of a server, and the proxy must be there afterwards.
kill "$proxy"
wait "$proxy" || true
(ulimit -n 256 && exec "$binary" run --config "$work/cluster/dbproxy.toml") >"$work/proxy.log" 2>&1 &
proxy=$!
for _ in $(seq 100); do
    ! curl -sf "http://127.0.0.1:$((port + 12))/readyz" >/dev/null || break
    sleep 0.1
done
printf '| %s at once, ulimit -n 256 | dbproxy | %s |\n' "$BURST" "$("$crowd" burst "$through" "$BURST" "$select" 2>&1)"
proxy_lives || status=1
line "10 at once after that" dbproxy burst "$through" 10 "$select"
grep -E ' (WARN|ERROR) ' "$work/proxy.log" | sed 's/^[^ ]* *//' | cut -c1-160 | sort | uniq -c | sort -rn | head -n 5 || true
exit "$status"
