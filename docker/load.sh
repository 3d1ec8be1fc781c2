#!/bin/bash
# The load of drill.sh, run in the service `client` by the server's own client program: connections that insert one row after the
# other through the proxy, and what each was told.
#
#   load.sh begin CONNECTIONS    the table is made, the connections write until `end`
#   load.sh view                 how many were acknowledged and how many failed so far
#   load.sh end                  no more rows; waits for those under way
#   load.sh judge SERVER...      holds what was told against what each SERVER has; status 1: lost, twice there, or never sent
#   load.sh writable SERVER...   those that take writes
set -euo pipefail
export LC_ALL=C
here=/tmp/load

# A connection that was lost is not opened anew behind our back: what was sent on it would be sent twice.
if command -v mariadb >/dev/null; then
    program=(mariadb --ssl --skip-ssl-verify-server-cert)
else
    program=(mysql --ssl-mode=REQUIRED)
fi
program+=(--skip-reconnect --connect-timeout=5 --batch --skip-column-names)
through() { MYSQL_PWD=$APP_PASSWORD "${program[@]}" --host=proxy --port=6033 --user=app "$@"; }
straight() { MYSQL_PWD=$ROOT_PASSWORD "${program[@]}" --host="$1" --user=root --execute="$2" 2>/dev/null; }

# Rows of one connection. A line for each: TIME acknowledged|failed ID [ERROR]
writer() {
    local id=$(($1 * 1000000)) log=$here/$1.log line answer send receive pid
    trap '' PIPE
    while [ ! -e "$here/stop" ]; do
        coproc session { through --unbuffered -vv 2>&1; }
        # shellcheck disable=SC2154 # `coproc` sets it
        pid=$session_PID
        exec {send}>&"${session[1]}" {receive}<&"${session[0]}"
        while [ ! -e "$here/stop" ]; do
            id=$((id + 1)) answer=
            printf 'INSERT INTO app.drill (id) VALUES (%d);\n' "$id" 2>/dev/null 1>&"$send" || answer="not sent"
            while [ -z "$answer" ] && IFS= read -r line <&"$receive"; do
                case $line in
                    "Query OK"*) answer=ok ;;
                    ERROR*) answer=$line ;;
                esac
            done
            if [ "$answer" = ok ]; then
                echo "$EPOCHREALTIME acknowledged $id" >>"$log"
            else
                echo "$EPOCHREALTIME failed $id ${answer:-connection closed}" >>"$log"
                break
            fi
            sleep 0.02
        done
        exec {send}>&- {receive}<&-
        kill "$pid" 2>/dev/null || true
        wait
        # One that is refused is not tried again at once.
        sleep 0.05
    done
}

begin() {
    local n
    rm -rf "$here"
    mkdir -p "$here"
    # No unique key: what is executed twice is there twice.
    through --execute="CREATE TABLE app.drill (id BIGINT NOT NULL, INDEX (id))"
    for ((n = 1; n <= $1; n++)); do writer "$n" & done
    wait
    touch "$here/ended"
}

view() { cat "$here"/*.log 2>/dev/null | awk '$2 == "acknowledged" { a++ } $2 == "failed" { f++ } END { print a + 0, f + 0 }'; }

end() {
    local attempt
    touch "$here/stop"
    for ((attempt = 0; attempt < 300; attempt++)); do
        if [ -e "$here/ended" ]; then return; fi
        sleep 0.1
    done
    echo "connections did not end" >&2
    return 1
}

# The longest time without an acknowledgement: of anybody, and of the connection that waited longest, in milliseconds.
pauses() {
    sort -n "$here"/*.log | awk '
        $2 == "acknowledged" {
            who = int($3 / 1000000)
            if (last && $1 - last > all) all = $1 - last
            if (who in mine && $1 - mine[who] > one) one = $1 - mine[who]
            last = mine[who] = $1
        }
        END { printf "   longest time without an acknowledged row: %.0f ms (one connection: %.0f ms)\n", all * 1000, one * 1000 }'
}

count() { wc -l <"$1"; }

judge() {
    local server lost twice strangers bad=0 attempt
    awk '$2 == "acknowledged" { print $3 }' "$here"/*.log | sort >"$here/acknowledged"
    awk '{ print $3 }' "$here"/*.log | sort >"$here/attempted"
    echo "   $(count "$here/attempted") rows sent, $(count "$here/acknowledged") acknowledged"
    pauses
    sed -n 's/^[^ ]* failed [0-9]* //p' "$here"/*.log | sed -e 's/ at line [0-9]*//' -e "s/[0-9.:]* ms/N ms/g" | cut -c 1-110 |
        sort | uniq -c | sort -rn | sed 's/^/   /'
    for server in "$@"; do
        # It may have something to catch up with.
        for ((attempt = 0; attempt < 100; attempt++)); do
            straight "$server" "SELECT id FROM app.drill" | sort >"$here/found" || true
            if [ -z "$(comm -23 "$here/acknowledged" "$here/found")" ]; then break; fi
            sleep 0.2
        done
        lost=$(comm -23 "$here/acknowledged" "$here/found" | wc -l)
        twice=$(uniq -d "$here/found" | wc -l)
        strangers=$(comm -13 "$here/attempted" <(uniq "$here/found") | wc -l)
        echo "   $server: $(count "$here/found") rows; $lost lost, $twice twice, $strangers never sent"
        if [ "$lost$twice$strangers" != 000 ]; then bad=1; fi
    done
    return "$bad"
}

writable() {
    local server
    for server in "$@"; do
        if [ "$(straight "$server" "SELECT @@global.read_only")" = 0 ]; then echo "$server"; fi
    done
}

"$@"
