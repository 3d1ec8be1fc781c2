#!/usr/bin/env bash
# Instructions that each step of the SQL room costs per statement, counted by callgrind: the difference of two runs, so that
# the start of the program is left out. Wants valgrind.
#
#   scripts/sql-cost.sh [STEP ...]
set -euo pipefail
cd "$(dirname "$0")/.."

command -v valgrind >/dev/null 2>&1 || { echo "sql-cost: no valgrind on this machine: apt-get install valgrind"; exit 1; }
steps=("$@")
if [ "${#steps[@]}" = 0 ]; then steps=(classify checked hints digest_key digest_text structure); fi
built=$(cargo bench --no-default-features --bench sql_cost --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*sql_cost[^"]*\)".*/\1/p')
[ -x "$built" ] || { echo "sql-cost: the bench cannot be built"; exit 1; }

count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$built" "$1" "$2" "$3" 2>&1 | sed -n 's/.*Collected : *\([0-9]*\).*/\1/p'
}

printf '%-14s %-14s %12s\n' step statement instructions
for step in "${steps[@]}"; do
    for statement in point_select update insert orm_join insert_1000 set_names hinted; do
        few=$(count "$step" "$statement" 100)
        many=$(count "$step" "$statement" 300)
        printf '%-14s %-14s %12d\n' "$step" "$statement" $(((many - few) / 200))
    done
done
