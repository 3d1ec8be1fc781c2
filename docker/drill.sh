#!/usr/bin/env bash
# A drill on the compose cluster: clients write all the time, the primary is lost or replaced, and what the clients were told is
# held against what the servers have. Ends with status 1 when anything was lost, or what had to follow did not.
#
#   docker/drill.sh kill|stop|pause|partition|switchover|rejoin|all [mysql|mariadb]     default: mysql
#
#   DBPROXY_BASE=local    images made on this machine (docker/base/build.sh) instead of official ones
#   KEEP=1                leaves the cluster there, and says how to look at it and how to remove it
#   CONNECTIONS           that write (default: 4)
#
# shellcheck disable=SC2317 # functions that are called by name
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,10s/^# \{0,1\}//p' docker/drill.sh >&2; exit 2; }
drill=${1:-} product=${2:-mysql}
case $drill in kill | stop | pause | partition | switchover | rejoin | all) ;; *) usage ;; esac
case $product in mysql | mariadb) ;; *) usage ;; esac

if [ "$drill" = all ]; then
    bad=
    for each in kill stop pause partition switchover rejoin; do docker/drill.sh "$each" "$product" || bad="$bad $each"; done
    echo "drills on $product that failed:${bad:- none}"
    [ -z "$bad" ]
    exit
fi

export COMPOSE_PROJECT_NAME=dbproxy-drill-$product COMPOSE_PROFILES=drill
# Any free port: nobody but the client in the cluster connects.
export DBPROXY_PORT=
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
compose+=(--file "docker/compose.$product.yml")

began=$SECONDS
failed=0
title() { printf '\n== %s\n' "$*"; }
must() {
    local what=$1
    shift
    if "$@"; then printf '   as it must be: %s\n' "$what"; else printf '   NOT AS IT MUST BE: %s\n' "$what"; failed=1; fi
}
give_up() { printf 'drill.sh: %s\n' "$*" >&2; exit 1; }

# By the labels of the project: also those that do not run.
container() {
    docker ps --all --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$1"
}
dbproxy() { docker exec "$(container proxy)" dbproxy "$@"; }
load() { docker exec "$(container client)" bash /load.sh "$@"; }

remove() {
    docker ps --all --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | xargs -r docker rm --force --volumes >/dev/null
    "${compose[@]}" down --volumes >/dev/null 2>&1 || true
}
close() {
    local status=$?
    trap - EXIT
    if [ "$status" != 0 ] && [ -n "$(container proxy)" ]; then
        title "The end of the proxy's log"
        docker logs --tail 40 "$(container proxy)" 2>&1 | sed 's/^/   /'
    fi
    if [ -n "${KEEP:-}" ]; then
        echo "kept: docker ps --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
        echo "remove: COMPOSE_PROFILES=drill ${compose[*]} --project-name $COMPOSE_PROJECT_NAME down --volumes"
    else
        remove
    fi
    exit "$status"
}

# within SECONDS COMMAND...: until it succeeds.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$until" ]; then return 1; fi
        sleep 0.2
    done
}
# By the clock in a container: `date` is another program on some machines.
now() { docker exec "$(container client)" date +%s%3N; }
status() { dbproxy status 2>/dev/null; }
primary() { status | awk '$2 == "primary" && $3 == "up" { sub(/:.*/, "", $1); print $1 }'; }
another_primary() { [ -n "$(primary)" ] && [ "$(primary)" != "$first" ]; }
following() { status | awk '($2 == "primary" || $2 == "replica") && $3 == "up" { sub(/:.*/, "", $1); print $1 }'; }
all_follow() { [ "$(following | wc -l)" = 3 ]; }
first_is_judged() { following | grep -qx "$first" || dbproxy status --format json | grep -q "that the primary has not"; }
first_is_closed() { ! load writable "$first" | grep -q .; }
ready() { dbproxy switchover --dry-run >/dev/null 2>&1; }
epoch() { dbproxy status --format json | sed -n 's/^ *"epoch": \([0-9]*\).*/\1/p' | tail -n 1; }
# A busy engine may not answer.
acknowledged() { local seen; seen=$(load view | cut -d ' ' -f 1) || true; echo "${seen:-0}"; }
# So many more rows.
goes_on() { local from; from=$(acknowledged) && within 120 more_than $((from + $1)); }
more_than() { [ "$(acknowledged)" -ge "$1" ]; }
# A busy machine does not always manage it at once.
freeze() { within 60 docker pause "$victim" >/dev/null 2>&1 || give_up "$first cannot be paused"; }
show() { title "$1"; shift; "$@" 2>&1 | sed 's/^/   /'; }
told() { printf '   %3d s  %s\n' "$((SECONDS - begun))" "$(load view | sed 's/\(.*\) \(.*\)/\1 rows acknowledged, \2 failed/')"; }

docker info >/dev/null 2>&1 || give_up "no Docker Engine answers"
trap close EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
remove
if [ "${DBPROXY_BASE:-}" = local ]; then
    title "Images from this machine"
    images=$(docker/base/build.sh "$product" 2>&1) || give_up "$images"
    export MYSQL_IMAGE=dbproxy-local/mysql MARIADB_IMAGE=dbproxy-local/mariadb DBPROXY_IMAGE=dbproxy-local/dbproxy
fi
title "One primary, two replicas, dbproxy: $product"
"${compose[@]}" up --detach >/dev/null 2>&1 || { "${compose[@]}" up --detach; give_up "the cluster does not come up"; }
within 120 ready || give_up "the cluster does not become fit for a failover: $(dbproxy doctor | grep -v '^ *ok')"
first=$(primary)
show "Before" status

title "Drill: $drill, of $first, while ${CONNECTIONS:-4} connections write"
docker exec --detach "$(container client)" bash /load.sh begin "${CONNECTIONS:-4}"
begun=$SECONDS
within 120 more_than 100 || give_up "nothing is written"
before=$(epoch)
told
victim=$(container "$first")
# What is done, then whether the right thing follows.
case $drill in
    kill | rejoin) docker kill "$victim" >/dev/null ;;
    stop) docker stop --time 60 "$victim" >/dev/null & ;;
    pause)
        paused=$(now)
        freeze
        sleep 0.3
        docker unpause "$victim" >/dev/null
        paused=$(($(now) - paused))
        echo "   $first was paused for $paused ms"
        must "writes go on" goes_on 100
        # A busy machine makes more of it.
        if [ "$paused" -lt 1000 ]; then must "nobody was promoted for that" test "$(primary)" = "$first" -a "$(epoch)" = "$before"; fi
        told
        freeze
        ;;
    partition)
        network=$(docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$victim")
        docker network disconnect "$network" "$victim"
        ;;
    switchover) dbproxy switchover | sed 's/^/   /' ;;
esac
must "another server is the primary" within 120 another_primary
[ "$failed" = 0 ] || give_up "there is no use in going on: $(dbproxy why | tail -n 5)"
told
must "writes go on there" goes_on 100
told
case $drill in
    pause) docker unpause "$victim" >/dev/null ;;
    partition) docker network connect --alias "$first" "$network" "$victim" ;;
    rejoin) docker start "$victim" >/dev/null ;;
esac
case $drill in
    pause | partition | rejoin | switchover)
        must "the old primary is known to follow, or to have what nobody else has" within 120 first_is_judged
        must "the old primary takes no writes" within 30 first_is_closed
        ;;
esac
# Only MySQL can copy a server over another by itself.
case $drill-$product in
    pause-mysql | partition-mysql | rejoin-mysql)
        if ! following | grep -qx "$first"; then
            echo "   $first has transactions that nobody was told of: it is overwritten with a copy"
            must "dbproxy rejoin --clone" dbproxy rejoin "$first:3306" --clone
        fi
        ;;
esac
case $drill-$product in
    rejoin-* | switchover-* | pause-mysql | partition-mysql) must "all three servers follow" within 120 all_follow ;;
esac
told
load end
[ "$drill" != stop ] || wait

show "After" status
title "What the clients were told, and what is there"
# shellcheck disable=SC2046 # one word for each
must "nothing acknowledged is lost, nothing is there twice" load judge $(following)
# shellcheck disable=SC2046
must "one server takes writes" test "$(load writable db1 db2 db3)" = "$(primary)"
if [ "$drill" = switchover ]; then must "no client had an error" test "$(load view | cut -d ' ' -f 2)" = 0; fi
title "$([ "$failed" = 0 ] && echo "All as it must be" || echo "NOT all as it must be"): $drill on $product, $((SECONDS - began)) s"
exit "$failed"
