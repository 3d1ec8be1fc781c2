#!/usr/bin/env bash
# Brings the servers and tools that the tests, the demo and the benches run: MariaDB and the tools from apt, MySQL as a
# root filesystem under the cache directory. Safe to run again: what is there already is left alone.
#
#   DBPROXY_CACHE          cache directory (default: .cache in the checkout)
#   DBPROXY_DEBIAN_MIRROR  Debian mirror (default: http://deb.debian.org/debian)
#   DBPROXY_MYSQL_SUITE    Debian suite that MySQL comes from (default: sid)
#
# A server that cannot be had is named, with the reason, and the other one is set up all the same. Exit status: 0 when at
# least one server can be used, 1 when none can.
set -euo pipefail
cd "$(dirname "$0")/.."

CACHE=${DBPROXY_CACHE:-$PWD/.cache}
SUITE=${DBPROXY_MYSQL_SUITE:-sid}
ROOTFS=$CACHE/mysql-rootfs
PATH=$PATH:/usr/sbin:/sbin
export DEBIAN_FRONTEND=noninteractive

say() { printf 'setup-servers: %s\n' "$*"; }

mkdir -p "$CACHE"
# Two set-ups at once would unpack into each other's directories.
exec 9>"$CACHE/.setup.lock"
flock 9

SUDO=()
if [ "$(id -u)" -ne 0 ]; then SUDO=(sudo -n); fi

APT_UPDATED=
apt_install() {
    # The package lists of a pinned mirror may be older than they say they may be.
    if [ -z "$APT_UPDATED" ]; then
        "${SUDO[@]}" apt-get -q -o Acquire::Check-Valid-Until=false update >"$CACHE/apt.log" 2>&1 || say "apt-get update failed, going on with the lists at hand"
        APT_UPDATED=yes
    fi
    "${SUDO[@]}" apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" >>"$CACHE/apt.log" 2>&1
}

# Makes sure that a command exists; $2 is the package it comes in.
need() {
    command -v "$1" >/dev/null 2>&1 && return 0
    say "installing $2"
    if ! apt_install "$2"; then
        say "$2 cannot be installed (see $CACHE/apt.log)"
        return 1
    fi
}

# Packages must not start their services: the tests start servers of their own. What policy there is already is kept.
without_services() {
    local policy=/usr/sbin/policy-rc.d status=0
    if [ -e "$policy" ] || [ "$(id -u)" -ne 0 ]; then "$@"; return; fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    "$@" || status=$?
    rm -f "$policy"
    return "$status"
}

tools() {
    local missing=0
    need cc build-essential || missing=1
    need setpriv util-linux || missing=1
    need ps procps || missing=1
    need strace strace || say "going on without strace: system calls are not counted"
    need sysbench sysbench || say "going on without sysbench: no benches"
    without_services need haproxy haproxy || say "going on without HAProxy: nothing to compare with"
    return "$missing"
}

# Each setup_SERVER sets `outcome`: the version to be used, or why there is none.
setup_mariadb() {
    outcome="apt-get install failed (see $CACHE/apt.log)"
    if ! command -v mariadbd >/dev/null 2>&1 || ! command -v mariadb >/dev/null 2>&1; then
        say "installing MariaDB"
        without_services apt_install mariadb-server mariadb-client || return 1
    fi
    outcome=$(mariadbd --no-defaults --version 2>&1)
}

# The programs of the root filesystem run by its own loader and libraries: no chroot, no privileges.
mysql_version() {
    local loader
    case $(uname -m) in
        x86_64) loader=lib64/ld-linux-x86-64.so.2 ;;
        aarch64) loader=lib/ld-linux-aarch64.so.1 ;;
        *) echo "no MySQL for $(uname -m)"; return 1 ;;
    esac
    "$1/$loader" --library-path "$1/usr/lib/$(uname -m)-linux-gnu" "$1/usr/sbin/mysqld" --no-defaults --version
}

setup_mysql() {
    outcome=$(mysql_version "$ROOTFS" 2>&1) && return 0
    outcome="debootstrap cannot be installed (see $CACHE/apt.log)"
    need debootstrap debootstrap || return 1
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || apt_install debian-archive-keyring || return 1
    # One whose server does not run is of no use.
    rm -rf "$ROOTFS"
    say "fetching MySQL from Debian $SUITE"
    outcome="debootstrap failed (see $CACHE/debootstrap.log)"
    scripts/rootfs.sh "$ROOTFS" "$SUITE" mysql-server,mysql-router >"$CACHE/debootstrap.log" 2>&1 || return 1
    outcome=$(mysql_version "$ROOTFS" 2>&1)
}

began=$SECONDS
tools || say "some tools are missing: tests that need them will fail"
usable=0
summary=()
for server in mysql mariadb; do
    if "setup_$server"; then
        usable=$((usable + 1))
        summary+=("$server: ${outcome##*Ver }")
    else
        summary+=("$server: NOT AVAILABLE: $outcome")
    fi
done
for line in "${summary[@]}"; do say "$line"; done
say "done in $((SECONDS - began)) s"
[ "$usable" -gt 0 ]
