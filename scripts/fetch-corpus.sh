#!/usr/bin/env bash
# Brings the statements of the servers' own test suites into the cache: the .test and .inc files of Debian's mysql-testsuite
# (340 MB to fetch, 60 MB kept) and mariadb-test-data (20 MB, 40 MB kept). Nothing is installed, nothing of it is committed.
#
#   scripts/fetch-corpus.sh mysql|mariadb      prints the directory; status 1 and the reason when it cannot be had
#
#   DBPROXY_CACHE          cache directory (default: .cache in the checkout)
#   DBPROXY_DEBIAN_MIRROR  Debian mirror (default: http://deb.debian.org/debian)
#   DBPROXY_MYSQL_SUITE    Debian suite that MySQL comes from (default: sid)
set -euo pipefail
cd "$(dirname "$0")/.."

which=${1:?mysql or mariadb}
CACHE=${DBPROXY_CACHE:-$PWD/.cache}
MIRROR=${DBPROXY_DEBIAN_MIRROR:-http://deb.debian.org/debian}
SUITE=${DBPROXY_MYSQL_SUITE:-sid}
kept=$CACHE/corpus/$which

fail() { echo "fetch-corpus: $which: $*" >&2; exit 1; }

mkdir -p "$CACHE/corpus"
exec 9>"$CACHE/corpus/.$which.lock"
flock 9
if [ -e "$kept/version" ]; then echo "$kept"; exit 0; fi
command -v apt-get >/dev/null 2>&1 || fail "no apt-get on this machine"
part=$kept.part
rm -rf "$part"
mkdir -p "$part/lists/partial" "$part/archives/partial" "$part/tree"
options=(-q -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o APT::Sandbox::User=root)
case $which in
    mysql)
        package=mysql-testsuite
        printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$MIRROR" "$SUITE" >"$part/sources.list"
        options+=(-o "Dir::Etc::sourcelist=$part/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$part/lists"
            -o "Dir::Cache::archives=$part/archives")
        apt-get "${options[@]}" update >"$CACHE/corpus/$which.log" 2>&1 || fail "no package lists (see $CACHE/corpus/$which.log)"
        ;;
    mariadb) package=mariadb-test-data ;;
    *) fail "no such server" ;;
esac
(cd "$part/archives" && apt-get "${options[@]}" download "$package") >>"$CACHE/corpus/$which.log" 2>&1 ||
    fail "$package cannot be fetched (see $CACHE/corpus/$which.log)"
deb=$(echo "$part"/archives/*.deb)
dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$part/tree" --wildcards '*.test' '*.inc' || fail "$deb cannot be unpacked"
dpkg-deb -f "$deb" Version >"$part/tree/version"
mv "$part/tree" "$kept"
rm -rf "$part"
echo "$kept"
