#!/usr/bin/env bash
# sysbench straight to the primary and through the proxy, and where the proxy sent the statements.
#
#   scripts/load/sysbench.sh mysql|mariadb [SECONDS]     default 20 seconds a run
#
# Prints a Markdown table, then the reasons of every run through the proxy. `errors` are what sysbench counts as ignored
# (deadlocks, tried again) and reconnects; a run that ends by a fatal error says so, and the exit status is 1.
#
#   DBPROXY_BINARY     the proxy (default: a release build of this checkout)
#   DBPROXY_LOAD_PORT  first of 13 ports (default: 13900)
#   THREADS            default 64
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
flavor=${1:-} seconds=${2:-20}
if ! [[ $flavor =~ ^(mysql|mariadb)$ ]]; then echo "usage: $0 mysql|mariadb [SECONDS]" >&2; exit 2; fi
port=${DBPROXY_LOAD_PORT:-13900} threads=${THREADS:-64}
work=$(mktemp -d "${TMPDIR:-/tmp}/dbproxy-load.XXXXXX")
# shellcheck source=../clients/world.sh
. "$root/scripts/clients/world.sh"
trap end_world EXIT
trap 'exit 130' INT TERM
build release
start_cluster
start_proxy

# sysbench TEST PORT MODE COMMAND
bench() {
    sysbench "$1" --db-driver=mysql --mysql-host=127.0.0.1 --mysql-port="$2" --mysql-user=app --mysql-password=app-secret \
        --mysql-db=app --tables=4 --table-size=10000 --threads="$threads" --time="$seconds" --db-ps-mode="$3" "$4"
}
# Queries per server so far, `primary replica replica`.
queries() { proxy_http status | python3 -c 'import json, sys
print(*[server["queries"] for server in sorted(json.load(sys.stdin)["servers"], key=lambda server: server["role"])])'; }
reasons() { proxy_http metrics | grep '^dbproxy_route_decisions_total' | sort; }
field() { sed -n "s/^ *$1: *\([0-9.]*\).*/\1/p" "$work/out"; }
per_second() { sed -n "s/^ *$1:.*(\([0-9.]*\) per sec.*/\1/p" "$work/out"; }

threads=4 bench oltp_read_write "$((port + 10))" auto prepare >"$work/out" || { cat "$work/out"; exit 1; }
# Replicas that still apply the rows would turn away the first reads.
sleep 3
status=0
echo "| $flavor | prepared | way | tps | qps | p95 ms | errors | reconnects | primary | replicas |"
echo "|---|---|---|---|---|---|---|---|---|---|"
for name in oltp_point_select oltp_read_only oltp_read_write; do
    for mode in auto disable; do
        for way in direct proxy; do
            to=$port
            [ "$way" = direct ] || to=$((port + 10))
            read -r -a before <<<"$(queries)"
            reasons >"$work/before"
            outcome=
            bench "$name" "$to" "$mode" run >"$work/out" 2>&1 || { outcome=" FATAL: $(grep -m1 FATAL "$work/out" || tail -n 1 "$work/out")"; status=1; }
            read -r -a after <<<"$(queries)"
            where="| |"
            if [ "$way" = proxy ]; then
                where="$((after[0] - before[0])) | $((after[1] - before[1])) + $((after[2] - before[2])) |"
                echo "$name $mode:" >>"$work/reasons"
                reasons | join "$work/before" - |
                    awk '$3 > $2 { sub(/^[^{]*/, "", $1); printf "    %-60s %d\n", $1, $3 - $2 }' >>"$work/reasons"
            fi
            echo "| $name | $mode | $way | $(per_second transactions) | $(per_second queries) | $(field '95th percentile') |" \
                "$(per_second 'ignored errors' | sed 's/.*/&\/s/') | $(per_second reconnects | sed 's/.*/&\/s/') | $where$outcome"
        done
    done
done
proxy_lives || status=1
echo
cat "$work/reasons"
grep -E ' (WARN|ERROR) ' "$work/proxy.log" | sed 's/^[^ ]* *//' | sort | uniq -c | sort -rn | head -n 10 || true
exit "$status"
