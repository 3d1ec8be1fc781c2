#!/usr/bin/env bash
# A real primary with two replicas, dbproxy in front, traffic through it, and where the traffic went; then a replica is shut
# down, and the primary killed and replaced. Ends with status 1 when anything shown is not as it must be. Leaves nothing
# behind, also when interrupted.
#
#   scripts/demo.sh [mysql|mariadb]     default: MySQL, MariaDB where MySQL cannot be had
#
#   DBPROXY_BIN        a dbproxy to show instead of the release build of this checkout
#   DBPROXY_DEMO_PORT  first of 13 ports (default: the first free range from 23000 on)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lab.sh

flavor=${1:-}
began=$SECONDS
failed=0

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
must() {
    local what=$1
    shift
    if "$@"; then printf '   as it must be: %s\n' "$what"; else printf '   NOT AS IT MUST BE: %s\n' "$what"; failed=1; fi
}
app() { client --host=127.0.0.1 --port="$((port + 10))" --user=app --password=app-secret app --skip-column-names --batch "$@"; }
# Lines that are server ids, as a table of who answered how often.
by_server() {
    local id
    for id in 1 2 3; do printf '   server_id %s  %-8s %6d\n' "$id" "$(role "$id")" "$(grep -cx "$id" "$1" || true)"; done
}
first=1
role() { if [ "$1" = "$first" ]; then echo primary; else echo replica; fi; }
answered() { grep -cx "$2" "$1" || true; }
repeat() { local n; for ((n = 0; n < $1; n++)); do echo "$2"; done; }

lab_open dbproxy-demo
title "Building dbproxy (release; some minutes the first time)"
lab_build
built=$SECONDS
port=$(lab_ports "${DBPROXY_DEMO_PORT:-23000}")
lab_cluster "$flavor" failover
title "One primary and two semi-synchronous GTID replicas: $(client --host=127.0.0.1 --port="$port" --user=root -NBe 'SELECT VERSION()')"
sed 's/^/   /' "$lab/cluster.log"
title "dbproxy in front: one address, 127.0.0.1:$((port + 10))"
lab_proxy
grep -A2 '^\[cluster\]' "$lab/dbproxy.toml" | sed 's/^/   /'

title "Traffic: 12 connections read, 4 connections write, all at the one address"
app -e "CREATE TABLE written (id INT AUTO_INCREMENT PRIMARY KEY, server_id INT)"
jobs=()
for n in {1..12}; do repeat 200 'SELECT @@server_id;' | app >"$lab/read.$n" 2>"$lab/read.$n.err" & jobs+=($!); done
for n in {1..4}; do repeat 100 'INSERT INTO written (server_id) VALUES (@@server_id);' | app 2>"$lab/write.$n.err" & jobs+=($!); done
lost=0
for job in "${jobs[@]}"; do wait "$job" || lost=$((lost + 1)); done
cat "$lab"/read.?{,?} >"$lab/reads" 2>/dev/null || true
app -e "SELECT server_id FROM written FOR UPDATE" >"$lab/writes"
echo "   2400 x SELECT @@server_id"
by_server "$lab/reads"
echo "   400 x INSERT ... VALUES (@@server_id)"
by_server "$lab/writes"
must "no connection had an error" test "$lost" = 0
must "every read was answered by a replica, both took part" test "$(answered "$lab/reads" 1)" = 0 \
    -a "$(answered "$lab/reads" 2)" -gt 0 -a "$(answered "$lab/reads" 3)" -gt 0 -a "$(wc -l <"$lab/reads")" = 2400
must "every write ran on the primary" test "$(answered "$lab/writes" 1)" = 400 -a "$(wc -l <"$lab/writes")" = 400

title "dbproxy status"
dbproxy status --config "$lab/dbproxy.toml" | sed 's/^/   /'

title "dbproxy explain: where a statement goes, and why"
explained() {
    local target=$1 sql=$2 answer
    answer=$(dbproxy explain --config "$lab/dbproxy.toml" --flavor "$flavor" --format json "$sql")
    local word reason
    word=$(sed -n 's/^ *"target": "\(.*\)".*/\1/p' <<<"$answer")
    reason=$(sed -n 's/^ *"reason": "\(.*\)".*/\1/p' <<<"$answer")
    printf '   %-8s %-22s %s\n' "$word" "$reason" "$sql"
    [ "$word" = "$target" ] || wrong+=("$sql")
}
wrong=()
explained replica "SELECT name FROM customers WHERE id = 7"
explained replica "WITH c AS (SELECT 1 AS n) SELECT COUNT(*) FROM c"
explained primary "UPDATE customers SET name = 'x' WHERE id = 7"
explained primary "SELECT name FROM customers WHERE id = 7 FOR UPDATE"
explained primary "SELECT next_invoice(7)"
explained primary "SELECT GET_LOCK('invoices', 1)"
explained primary "SELECT 1; DELETE FROM customers"
explained primary "WITH c AS (SELECT 7 AS id) DELETE FROM customers WHERE id IN (SELECT id FROM c)"
must "reads to a replica, everything else to the primary" test "${#wrong[@]}" = 0

title "Read your own writes: one connection writes a row, reads it back, 200 times"
app -e "CREATE TABLE own (id INT PRIMARY KEY)"
for n in {1..200}; do echo "INSERT INTO own VALUES ($n); SELECT IF(MAX(id) = $n, 'seen', 'STALE'), @@server_id FROM own;"; done |
    app >"$lab/own"
cut -f2 "$lab/own" >"$lab/own.servers"
printf '   %d of 200 own writes were seen, by whom they were read:\n' "$(cut -f1 "$lab/own" | grep -cx seen || true)"
by_server "$lab/own.servers"
must "no own write was missed" test "$(cut -f1 "$lab/own" | grep -cx seen)" = 200
must "replicas answered own reads too" test "$(answered "$lab/own.servers" 1)" -lt 200

title "A replica is shut down while 6 connections read and 2 write"
# A statement every 40 ms or so, for some six seconds.
paced() { local n; for ((n = 0; n < 120; n++)); do echo "$1"; sleep 0.04; done; }
app -e "TRUNCATE written"
jobs=()
for n in {1..6}; do paced 'SELECT @@server_id;' | app -n >"$lab/on.$n" 2>"$lab/on.$n.err" & jobs+=($!); done
for n in {1..2}; do paced 'INSERT INTO written (server_id) VALUES (@@server_id);' | app 2>"$lab/onw.$n.err" & jobs+=($!); done
sleep 2
printf '   after 2 s, reads were answered by\n'
cat "$lab"/on.? >"$lab/before"
by_server "$lab/before"
lab_kill 3 TERM
printf '   server_id 3 is shut down\n'
lost=0
for job in "${jobs[@]}"; do wait "$job" || lost=$((lost + 1)); done
cat "$lab"/on.? >"$lab/reads"
tail -qn 20 "$lab"/on.? >"$lab/last"
app -e "SELECT server_id FROM written FOR UPDATE" >"$lab/writes"
printf '   the last 20 reads of each connection were answered by\n'
by_server "$lab/last"
must "no connection had an error" test "$lost" = 0 -a -z "$(cat "$lab"/on.?.err "$lab"/onw.?.err)"
must "all 720 reads were answered, all 240 writes are there" test "$(wc -l <"$lab/reads")" = 720 -a "$(answered "$lab/writes" 1)" = 240
must "the other replica went on with the reads" test "$(answered "$lab/last" 2)" = 120
dbproxy status --config "$lab/dbproxy.toml" | sed 's/^/   /'
must "status shows one replica up" test "$(replicas_up)" = 1

lab_restart 3
for attempt in {1..300}; do [ "$(replicas_up)" != 2 ] || break; sleep 0.2; done
must "it is read from again when it is back" test "$(replicas_up)" = 2

title "The primary is killed (kill -9) while 6 connections read and 4 write"
app -e "CREATE TABLE kept (id INT PRIMARY KEY, server_id INT, at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP(3))"
# A row every 40 ms or so, for some eight seconds; its number comes back when it was acknowledged.
rows() {
    local n
    for ((n = $1 * 1000; n < $1 * 1000 + 160; n++)); do
        echo "INSERT INTO kept (id, server_id) VALUES ($n, @@server_id); SELECT IF(ROW_COUNT() = 1, $n, 'not told');"
        sleep 0.04
    done
}
jobs=()
for n in {1..6}; do paced 'SELECT @@server_id;' | app -n --force >"$lab/hit.$n" 2>"$lab/hit.$n.err" & jobs+=($!); done
for n in {1..4}; do rows "$n" | app -n --force >"$lab/told.$n" 2>"$lab/told.$n.err" & jobs+=($!); done
sleep 2
lab_kill 1 KILL
printf '   server_id 1 is dead\n'
for job in "${jobs[@]}"; do wait "$job" || true; done
app -e "SELECT id FROM kept FOR UPDATE" | sort >"$lab/found"
app -e "SELECT server_id FROM kept FOR UPDATE" >"$lab/writes"
cat "$lab"/told.? | grep -x '[0-9]*' | sort >"$lab/told"
printf '   what clients were told: %d rows written, errors:\n' "$(wc -l <"$lab/told")"
cat "$lab"/told.?.err "$lab"/hit.?.err | sed -e 's/ at line [0-9]*//' | cut -c 1-200 | { grep '^ERROR' || true; } | sort | uniq -c | sed 's/^/   /'
first=$(app -e "SELECT @@server_id FOR UPDATE" 2>/dev/null || true)
by_server "$lab/writes"
pause=$(app -e "SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, a.at, b.at)) DIV 1000, -1) FROM (SELECT at, ROW_NUMBER() OVER (ORDER BY at) n FROM kept) a JOIN (SELECT at, ROW_NUMBER() OVER (ORDER BY at) n FROM kept) b ON b.n = a.n + 1")
printf '   longest time without a new row: %s ms\n' "$pause"
must "another server is the primary" test -n "$first" -a "$first" != 1
must "writes went on there" test "$(answered "$lab/writes" "$first")" -gt 0
must "no row that was acknowledged is lost" test -z "$(comm -23 "$lab/told" "$lab/found")"
dbproxy events --config "$lab/dbproxy.toml" | tail -n 12 | cut -c 1-140 | sed 's/^/   /'

title "The old primary comes back"
lab_restart 1
for attempt in {1..300}; do
    dbproxy status --config "$lab/dbproxy.toml" >"$lab/status" 2>/dev/null || true
    if [ "$(replicas_up)" = 2 ] || grep -q "that the primary has not" "$lab/status"; then break; fi
    sleep 0.2
done
sed 's/^/   /' "$lab/status"
must "it takes no writes" test "$(client --host=127.0.0.1 --port="$port" --user=root -NBe 'SELECT @@global.read_only')" = 1
if [ "$(replicas_up)" = 2 ]; then
    printf '   it has nothing of its own, so it follows the new primary\n'
else
    printf '   it has transactions that nobody was told of, so it stays in quarantine\n'
fi

title "$([ "$failed" = 0 ] && echo "All as it must be" || echo "NOT all as it must be"): $((SECONDS - built)) s after the build, $((SECONDS - began)) s in all"
exit "$failed"
