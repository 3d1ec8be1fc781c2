#!/usr/bin/env bash
# Runs a client library's own test suite twice, straight to the primary and through the proxy, and compares the two.
#
#   scripts/clients/run.sh SUITE mysql|mariadb     one suite on one kind of server
#   scripts/clients/run.sh all                     every suite on both
#
# Prints one line, `SUITE FLAVOR: same, N passed, ...`, or the lines that differ, and which part of the reads replicas answered.
# What each suite is and where it comes from stands in docs/clients.md. Exit status: 0 same, 1 different, 2 could not be run.
#
#   DBPROXY_CACHE         where sources and environments are kept (default: .cache in the checkout)
#   DBPROXY_BINARY        the proxy (default: a debug build of this checkout)
#   DBPROXY_CLIENTS_PORT  first of 13 ports (default: 13800)
#   DBPROXY_CLIENTS_KEEP  directory that the outcomes and logs are copied to
#   DBPROXY_CLIENTS_LAG   seconds that both replicas are behind (default: what the suite says, else 0)
#   DBPROXY_CLIENTS_EVERY of an ORM's test files or groups every so many-th only (default: 1, all)
#   DBPROXY_CLIENTS_CONSISTENCY  `routing.consistency` of the proxy (default: what the suite says, else the proxy's own)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
suites=(compression pymysql mysqlclient aiomysql connectorc perl go rust node pdo php java sqlalchemy sqlalchemy-autocommit django activerecord activerecord-autocommit)

if [ "${1:-}" = all ]; then
    status=0
    for suite in "${suites[@]}"; do
        for flavor in mysql mariadb; do
            "$0" "$suite" "$flavor" || status=1
        done
    done
    exit "$status"
fi
suite=${1:-} flavor=${2:-}
if [ ! -e "$here/suites/$suite.sh" ] || ! [[ $flavor =~ ^(mysql|mariadb)$ ]]; then
    echo "usage: $0 SUITE mysql|mariadb, where SUITE is one of: ${suites[*]}" >&2
    exit 2
fi

CACHE=${DBPROXY_CACHE:-$root/.cache}/clients
port=${DBPROXY_CLIENTS_PORT:-13800}
mkdir -p "$CACHE"
work=$(mktemp -d "${TMPDIR:-/tmp}/dbproxy-clients.XXXXXX")
# shellcheck source=world.sh
. "$here/world.sh"
finish() {
    if [ -n "${DBPROXY_CLIENTS_KEEP:-}" ]; then
        mkdir -p "$DBPROXY_CLIENTS_KEEP/$suite-$flavor"
        cp "$work"/*.txt "$work"/*.log "$DBPROXY_CLIENTS_KEEP/$suite-$flavor/" 2>/dev/null || true
    fi
    end_world
}
trap finish EXIT
trap 'exit 130' INT TERM

# Installs Debian packages unless they are there.
packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && return 0
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo -n)
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get -q -y install --no-install-recommends "${missing[@]}" \
        >"$CACHE/apt.log" 2>&1 && return 0
    "${sudo[@]}" apt-get -q -o Acquire::Check-Valid-Until=false update >>"$CACHE/apt.log" 2>&1 || true
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get -q -y install --no-install-recommends "${missing[@]}" \
        >>"$CACHE/apt.log" 2>&1
}

# Fetches an upstream archive of the Debian pool and unpacks it, or what matches $2 of it, to $work/src: the suites are patched there.
debian_source() {
    local archive=$CACHE/${1##*/}
    [ -e "$archive" ] || curl -sSfL --retry 3 -o "$archive.part" "${DBPROXY_DEBIAN_MIRROR:-http://deb.debian.org/debian}/pool/main/$1"
    [ -e "$archive" ] || mv "$archive.part" "$archive"
    mkdir -p "$work/src"
    tar -xf "$archive" -C "$work/src" --strip-components=1 --wildcards ${2:+"$2"}
}

# Of the lines of its input those that DBPROXY_CLIENTS_EVERY asks for.
every() { awk -v n="${DBPROXY_CLIENTS_EVERY:-1}" 'NR % n == 0'; }

# Statements that make these databases new.
fresh() { printf 'DROP DATABASE IF EXISTS %s;\n' "$@"; printf 'CREATE DATABASE %s DEFAULT CHARACTER SET utf8mb4;\n' "$@"; }

# Fetches a source distribution from PyPI and unpacks it to $work/src.
pypi_source() {
    local dir=$CACHE/sdist-$1-$2
    if [ ! -e "$dir" ]; then
        rm -rf "$dir.part"
        "$CACHE/${suite%%-*}-venv/bin/pip" download -q --no-binary "$1" --no-deps -d "$dir.part" "$1==$2"
        mv "$dir.part" "$dir"
    fi
    mkdir -p "$work/src"
    tar -xf "$dir"/*.tar.gz -C "$work/src" --strip-components=1
}

# A virtual environment of the suite's own with these packages.
venv() {
    local dir=$CACHE/${suite%%-*}-venv
    if [ ! -e "$dir/complete" ]; then
        rm -rf "$dir"
        python3 -m venv "$dir"
        "$dir/bin/pip" install -q setuptools wheel "$@"
        touch "$dir/complete"
    fi
}

lag=0 consistency= connection_ids=proxy
# shellcheck source=/dev/null
. "$here/suites/$suite.sh"
lag=${DBPROXY_CLIENTS_LAG:-$lag} consistency=${DBPROXY_CLIENTS_CONSISTENCY:-$consistency}

began=$SECONDS
prepare >"$work/prepare.log" 2>&1 || { echo "$suite $flavor: cannot be set up:"; tail -n 20 "$work/prepare.log"; exit 2; }
build debug
start_cluster
[ -z "$consistency" ] || printf '[routing]\nconsistency = "%s"\n' "$consistency" >>"$work/cluster/dbproxy.toml"
[ "$lag" = 0 ] || lag_behind "$lag"
# Some compare the id that they are greeted with and the process list.
[ "$connection_ids" = proxy ] || sed -i "s/^\[listen\]\$/&\nconnection_ids = \"$connection_ids\"/" "$work/cluster/dbproxy.toml"

# The port is the one thing that the two runs are meant to differ in.
lines() { sed -e "s/\b\($port\|$((port + 10))\)\b/PORT/g" | LC_ALL=C sort; }
# What the primary counted of SELECT and SHOW; the proxy's own probes are not among the statements of the straight run.
reads() { as_root -BN -e 'SHOW GLOBAL STATUS' | awk '$1 == "Com_select" || /^Com_show/ && $1 != "Com_show_status" { n += $2 } END { print n }'; }
for way in direct proxy; do
    to=$port
    databases | as_root
    # What one run wrote is not lag in the other.
    caught_up
    if [ "$way" = proxy ]; then
        start_proxy
        to=$((port + 10))
    fi
    # The same path both times: it stands in messages.
    rm -rf "$work/run"
    cp -a "$work/src" "$work/run"
    before=$(reads) since=$SECONDS
    (cd "$work/run" && outcomes 127.0.0.1 "$to") 2>>"$work/run-$way.log" | lines >"$work/$way.txt" || true
    [ "$way" = proxy ] || asked=$(($(reads) - before))
    echo "$way: $((SECONDS - since)) s" >>"$work/times.txt"
done
proxy_lives || { echo "$suite $flavor: see above"; exit 1; }

if [ ! -s "$work/direct.txt" ]; then
    echo "$suite $flavor: the suite did not run:"
    tail -n 20 "$work/run-direct.log"
    exit 2
fi
proxy_http metrics >"$work/metrics.txt"
caught_up
# Where the statements of the run went and why, most first.
decisions() {
    sed -nE 's/^dbproxy_route_decisions_total\{role="([a-z]*)",reason="([a-z_]*)"\} ([0-9]+)$/\3 \1 \2/p' "$work/metrics.txt" | sort -rn
}
shared() {
    local on_replicas
    on_replicas=$(awk '/^dbproxy_proxy_queries_total.*role="replica"/ && !/prepare|close/ { n += $NF } END { print n + 0 }' "$work/metrics.txt")
    awk -v n="$on_replicas" -v all="$asked" -v lag="$lag" -v how="${consistency:-session}" 'BEGIN {
        printf "    %s, replicas %s s behind: they answered %d of %d reads (%.1f %%)\n", how, lag, n, all, all ? 100 * n / all : 0 }'
    sed -nE 's/^dbproxy_route_pins_total\{pin="([a-z_]*)"\} ([1-9][0-9]*)$/\2 \1/p' "$work/metrics.txt" | sort -rn |
        awk '{ printf "%s%s %d", (NR > 1 ? ", " : "    pins: "), $2, $1 } END { if (NR) print "" }'
    decisions | awk '$1 > 0 { printf "%s%s/%s %d", (NR > 1 ? ", " : "    "), $2, $3, $1 } END { print "" }'
}
counts=$(cut -d ' ' -f 1 "$work/direct.txt" | sort | uniq -c | sort -rn | awk '{ printf "%s%s %s", (NR > 1 ? ", " : ""), $1, tolower($2) }')
if cmp -s "$work/direct.txt" "$work/proxy.txt"; then
    echo "$suite $flavor: same, $counts ($((SECONDS - began)) s)"
else
    echo "$suite $flavor: DIFFERENT ($counts straight to the server; < straight, > through the proxy):"
    diff "$work/direct.txt" "$work/proxy.txt" | grep '^[<>]' || true
    shared
    exit 1
fi
shared
