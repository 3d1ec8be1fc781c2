#!/usr/bin/env bash
# Point selects by sysbench in interleaved rounds: direct, HAProxy, MySQL Router where it runs, dbproxy. All of them use the
# same two replicas. Reports medians over the rounds; ratios are taken within a round, since the machine is not the same
# from one minute to the next.
#
#   scripts/bench.sh [mariadb|mysql]     default: MariaDB
#
#   ROUNDS (5)  EACH (5, seconds)  THREADS ("1 8 32")  PS_MODE (disable: text statements; auto: prepared ones)
#   IDLE (1000, clients)  TRACED (20000, statements under strace)  DBPROXY_BIN  DBPROXY_BENCH_PORT (23500)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lab.sh

ROUNDS=${ROUNDS:-5} EACH=${EACH:-5} THREADS=${THREADS:-1 8 32} PS_MODE=${PS_MODE:-disable}
IDLE=${IDLE:-1000} TRACED=${TRACED:-20000}
declare -A pid_of port_of

title() { printf '\n== %s\n' "$*"; }
load() { sysbench --db-driver=mysql --mysql-host=127.0.0.1 --mysql-user=app --mysql-password=app-secret --mysql-db=app "$@"; }
points() {
    load oltp_point_select --table-size=10000 --db-ps-mode="$PS_MODE" --percentile=95 "$@" run >"$lab/run" && return
    grep -i 'fatal\|error' "$lab/run" | head -n 3 >&2
    return 1
}
cpu_ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
rss_kib() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"; }

start_haproxy() {
    LISTEN=$((port + 3)) REPLICA_1=$((port + 1)) REPLICA_2=$((port + 2)) haproxy -db -f benches/haproxy.cfg -p "$lab/haproxy.pid" \
        >"$lab/haproxy.log" 2>&1 &
    pid_of[haproxy]=$! port_of[haproxy]=$((port + 3))
}

start_mysqlrouter() {
    local loader plugins
    plugins=$rootfs/usr/lib/mysqlrouter/plugin
    if ! loader=$(rootfs_loader) || ! [ -e "$plugins/routing.so" ]; then
        echo "MySQL Router: left out: not in $rootfs"
        return
    fi
    sed -e "s|@PLUGINS@|$plugins|; s|@DIR@|$lab|; s|@LISTEN@|$((port + 4))|" \
        -e "s|@REPLICA_1@|$((port + 1))|; s|@REPLICA_2@|$((port + 2))|" benches/mysqlrouter.conf >"$lab/mysqlrouter.conf"
    "$loader" --library-path "$rootfs_libraries:$rootfs/usr/lib/mysql-router:$plugins" "$rootfs/usr/bin/mysqlrouter" \
        -c "$lab/mysqlrouter.conf" >"$lab/mysqlrouter.out" 2>&1 &
    pid_of[mysqlrouter]=$! port_of[mysqlrouter]=$((port + 4))
    sleep 2
    if ! points --mysql-port="$((port + 4))" --threads=1 --events=1 --time=5 2>"$lab/mysqlrouter.try"; then
        echo "MySQL Router: left out: $(grep -hi 'error\|fatal' "$lab/mysqlrouter.out" "$lab/mysqlrouter.log" "$lab/mysqlrouter.try" 2>/dev/null | head -n 2)"
        unset 'pid_of[mysqlrouter]' 'port_of[mysqlrouter]'
    fi
}

# One line: round, target, threads, QPS, average ms, p95 ms, microseconds of the proxy's CPU time per query.
measure() {
    local round=$1 target=$2 threads=$3 before=0 after=0 tick
    tick=$(getconf CLK_TCK)
    [ "$target" = direct ] || before=$(cpu_ticks "${pid_of[$target]}")
    points --mysql-port="${port_of[$target]}" --threads="$threads" --time="$EACH"
    [ "$target" = direct ] || after=$(cpu_ticks "${pid_of[$target]}")
    awk -v head="$round $target $threads" -v cpu="$(((after - before) * (1000000 / tick)))" '
        /^ *queries:/ { n = $2; qps = $3; sub(/\(/, "", qps) }
        /^ *avg:/ { avg = $2 }
        /^ *95th percentile:/ { p95 = $3 }
        END { if (n < 1) exit 1; print head, qps, avg, p95, cpu / n }' "$lab/run" >>"$lab/results"
}

report() {
    awk '
        { key = $2 " " $3; keys[key]; n[key]++; for (i = 4; i <= 7; i++) cell[key, i, n[key]] = $i; cpu[$1, $2, $3] = $7; rounds[$1] }
        function median(key, i, count,   k, m, sorted, t) {
            for (k = 1; k <= count; k++) sorted[k] = cell[key, i, k] + 0
            for (k = 2; k <= count; k++) for (m = k; m > 1 && sorted[m] < sorted[m - 1]; m--) { t = sorted[m]; sorted[m] = sorted[m - 1]; sorted[m - 1] = t }
            return count % 2 ? sorted[(count + 1) / 2] : (sorted[count / 2] + sorted[count / 2 + 1]) / 2
        }
        END {
            for (key in keys) {
                split(key, part, " ")
                count = 0
                for (r in rounds) if (cpu[r, "haproxy", part[2]] > 0) { count++; cell[key, 8, count] = cpu[r, part[1], part[2]] / cpu[r, "haproxy", part[2]] }
                ratio = part[1] == "direct" ? "-" : sprintf("%.2f", median(key, 8, count))
                used = part[1] == "direct" ? "-" : sprintf("%.1f", median(key, 7, n[key]))
                printf "%s %s %.0f %.3f %.3f %s %s\n", part[2], part[1], median(key, 4, n[key]), median(key, 5, n[key]), median(key, 6, n[key]), used, ratio
            }
        }' "$lab/results" | sort -n -k1,1 -k2,2 |
        awk 'BEGIN { printf "%8s  %-12s %8s %9s %9s %14s %12s\n", "threads", "by way of", "QPS", "avg ms", "p95 ms", "CPU us/query", "of HAProxy" }
             { printf "%8s  %-12s %8s %9s %9s %14s %12s\n", $1, $2, $3, $4, $5, $6, $7 }'
}

# System calls of a proxy per statement, 8 clients.
system_calls() {
    local target=$1 tracer total
    strace -c -f -p "${pid_of[$target]}" -o "$lab/strace.$target" 2>"$lab/strace.err" &
    tracer=$!
    sleep 1
    if ! kill -0 "$tracer" 2>/dev/null; then echo "   $target: not traced: $(head -n 1 "$lab/strace.err")"; return; fi
    points --mysql-port="${port_of[$target]}" --threads=8 --events="$TRACED" --time=0
    # strace takes no notice of an interrupt that it inherited as ignored.
    kill -TERM "$tracer"
    wait "$tracer" || true
    total=$(awk '$NF == "total" { print $4 }' "$lab/strace.$target")
    printf '   %-12s %.2f per query: ' "$target" "$(awk -v a="${total:-0}" -v b="$TRACED" 'BEGIN { print a / b }')"
    awk -v b="$TRACED" 'NR > 2 && $NF != "total" && $4 / b >= 0.01 { printf "%s %.2f  ", $NF, $4 / b } END { print "" }' "$lab/strace.$target"
}

# Memory of a proxy per idle client: resident memory with them, less what it was when fresh ($2, KiB).
idle_memory() {
    local target=$1 before=$2 what=$3 first=$4 holder
    load --mysql-port="${port_of[$target]}" --threads="$IDLE" --events="$IDLE" --time=0 --first="$first" --sleep_ms=8000 \
        benches/idle.lua run >"$lab/idle" 2>&1 &
    holder=$!
    local attempt
    for attempt in {1..600}; do
        ! grep -q 'Threads started' "$lab/idle" || break
        sleep 0.1
    done
    sleep 2
    printf '   %-12s %-28s %8.1f KiB each\n' "$target" "$what" \
        "$(awk -v a="$before" -v b="$(rss_kib "${pid_of[$target]}")" -v n="$IDLE" 'BEGIN { print (b - a) / n }')"
    wait "$holder" || echo "   $target: the idle clients failed: $(grep -m 1 FATAL "$lab/idle")"
}

lab_open dbproxy-bench
lab_build
port=$(lab_ports "${DBPROXY_BENCH_PORT:-23500}")
lab_cluster "${1:-mariadb}"
# Nobody else has TLS to the servers here.
printf '\n[backend.tls]\nmode = "disabled"\n' >>"$lab/dbproxy.toml"
load --mysql-port="$port" --table-size=10000 oltp_point_select prepare >"$lab/prepare"
lab_proxy
pid_of[dbproxy]=$proxy_pid port_of[dbproxy]=$((port + 10)) port_of[direct]=$((port + 1)),$((port + 2))
start_haproxy
start_mysqlrouter
sleep 1

title "$flavor $(client --host=127.0.0.1 --port="$port" --user=root -NBe 'SELECT VERSION()'), $(haproxy -v | head -n 1), $(dbproxy --version), $(nproc) cores"
# First of all: what a proxy has freed after other work would hide what clients need.
title "Memory, $IDLE idle clients"
for target in "${!pid_of[@]}"; do
    fresh=$(rss_kib "${pid_of[$target]}")
    idle_memory "$target" "$fresh" "connected" ""
    idle_memory "$target" "$fresh" "after one statement" "SELECT c FROM sbtest1 WHERE id = 1"
done
title "oltp_point_select, --db-ps-mode=$PS_MODE, $ROUNDS rounds of $EACH s, medians"
for target in "${!port_of[@]}"; do points --mysql-port="${port_of[$target]}" --threads=8 --time=2; done
for ((round = 1; round <= ROUNDS; round++)); do
    for threads in $THREADS; do
        for target in $(shuf -e "${!port_of[@]}"); do measure "$round" "$target" "$threads"; done
    done
done
report
title "System calls, 8 threads, $TRACED queries"
if command -v strace >/dev/null 2>&1; then
    for target in "${!pid_of[@]}"; do system_calls "$target"; done
else
    echo "   strace is not here: not counted"
fi
