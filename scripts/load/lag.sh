#!/usr/bin/env bash
# sysbench through the proxy while both replicas are behind all the time: the same result as straight to the primary?
#
#   scripts/load/lag.sh mysql|mariadb [SECONDS [LAG]]     default 20 seconds a run, replicas one second behind
#
# First the same sequence of statements (one thread, one seed) is played straight to the primary in one schema and through
# the proxy in another; both schemas must come out alike. Then many threads for the time given, through the proxy. Prints a
# Markdown table: which part of the reads replicas answered, and whether the tables have the same checksums wherever they
# should, on all three servers. Exit status: 0 if they do and no run ended by an error.
#
#   DBPROXY_BINARY     the proxy (default: a release build of this checkout)
#   DBPROXY_LOAD_PORT  first of 13 ports (default: 13900)
#   THREADS            default 16
#   EVENTS             of the sequence with one seed, default 1000
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
flavor=${1:-} seconds=${2:-20} lag=${3:-1}
if ! [[ $flavor =~ ^(mysql|mariadb)$ ]]; then echo "usage: $0 mysql|mariadb [SECONDS [LAG]]" >&2; exit 2; fi
port=${DBPROXY_LOAD_PORT:-13900} threads=${THREADS:-16} events=${EVENTS:-1000}
work=$(mktemp -d "${TMPDIR:-/tmp}/dbproxy-lag.XXXXXX")
# shellcheck source=../clients/world.sh
. "$root/scripts/clients/world.sh"
trap end_world EXIT
trap 'exit 130' INT TERM
build release
start_cluster
start_proxy

# sysbench TEST PORT SCHEMA OPTION... COMMAND. Without transactions two threads may insert the same row (1062), straight as well.
bench() {
    sysbench "$1" --db-driver=mysql --mysql-host=127.0.0.1 --mysql-port="$2" --mysql-user=app --mysql-password=app-secret \
        --mysql-db="$3" --tables=4 --table-size=5000 --rand-seed=1 --mysql-ignore-errors=1020,1062,1205,1213 "${@:4}" >"$work/out" 2>&1 && return 0
    status=1
    grep FATAL "$work/out" | sort | uniq -c | head -n 4
}
# Checksums of a schema's tables on one server.
checksums() { root_at "$1" -BN "$2" -e 'CHECKSUM TABLE sbtest1, sbtest2, sbtest3, sbtest4' | cut -f 2 | xargs; }
# Statements that replicas answered so far; preparing one is not counted.
on_replicas() { proxy_http metrics | awk '/^dbproxy_proxy_queries_total.*role="replica"/ && !/prepare|close/ { n += $NF } END { print n + 0 }'; }
reads_done() { sed -n 's/^ *read: *//p' "$work/out"; }
field() { sed -nE "s/^ *$1: *([0-9]+).*/\1/p" "$work/out"; }

# row TEST OPTIONS THREADS READS REPLICAS ERRORS OUTCOME
row() {
    awk -v line="| $1 | $2 | $3 | $4 | $5 |" -v reads="$4" -v replicas="$5" -v rest="$6 | $7" \
        'BEGIN { printf "%s %.1f %% | %s |\n", line, reads ? 100 * replicas / reads : 0, rest }'
}
# Says whether these, and everywhere, are one.
alike() { if [ "$(printf '%s\n' "$@" | sort -u | wc -l)" = 1 ]; then echo same; else echo "DIFFERENT: $*"; fi; }

status=0
as_root -e 'CREATE DATABASE straight; CREATE DATABASE through'
bench oltp_read_write "$port" straight --threads=1 prepare
for n in 1 2 3 4; do as_root -e "CREATE TABLE through.sbtest$n LIKE straight.sbtest$n; INSERT INTO through.sbtest$n SELECT * FROM straight.sbtest$n"; done
caught_up
lag_behind "$lag"
echo "| $flavor, replicas $lag s behind | options | threads | reads | by replicas | share | errors | tables |"
echo "|---|---|---|---|---|---|---|---|"
for name in oltp_read_only oltp_read_write; do
    for options in "" --skip-trx=on; do
        # shellcheck disable=SC2086  # no word where there is none
        bench "$name" "$port" straight --threads=1 --time=0 --events="$events" $options run
        before=$(on_replicas)
        bench "$name" "$((port + 10))" through --threads=1 --time=0 --events="$events" $options run
        took=$(($(on_replicas) - before))
        caught_up
        outcome=$(alike "$(checksums "$port" straight)" "$(checksums "$port" through)" "$(checksums "$((port + 1))" through)" \
            "$(checksums "$((port + 2))" through)")
        row "$name" "${options:-none}" 1 "$(reads_done)" "$took" "$(field 'ignored errors')" "$outcome"
        [ "$outcome" = same ] || status=1
    done
done
as_root -e 'CREATE DATABASE crowd'
bench oltp_read_write "$((port + 10))" crowd --threads=4 prepare
# A session that begins now must not depend on how far its replica is: these tables are another one's.
caught_up
for name in oltp_read_only oltp_read_write; do
    for options in "" --skip-trx=on; do
        before=$(on_replicas)
        # shellcheck disable=SC2086
        bench "$name" "$((port + 10))" crowd --threads="$threads" --time="$seconds" $options run
        took=$(($(on_replicas) - before))
        caught_up
        outcome=$(alike "$(checksums "$port" crowd)" "$(checksums "$((port + 1))" crowd)" "$(checksums "$((port + 2))" crowd)")
        rows=$(as_root -BN crowd -e 'SELECT COUNT(*) FROM (SELECT id FROM sbtest1 UNION ALL SELECT id FROM sbtest2 UNION ALL SELECT id FROM sbtest3 UNION ALL SELECT id FROM sbtest4) t')
        row "$name" "${options:-none}" "$threads" "$(reads_done)" "$took" "$(field 'ignored errors')" "$outcome, $rows rows"
        [ "$outcome" = same ] || status=1
    done
done
proxy_lives || status=1
grep -E ' (WARN|ERROR) ' "$work/proxy.log" | sed 's/^[^ ]* *//' | sort | uniq -c | sort -rn | head -n 10 || true
exit "$status"
