#!/bin/bash
# The part of the official images' contract that the compose files use: MYSQL_ROOT_PASSWORD or MARIADB_ROOT_PASSWORD,
# /docker-entrypoint-initdb.d/*.sh, options in /etc/mysql/conf.d and as arguments.
set -euo pipefail

if command -v mariadbd >/dev/null; then server=mariadbd client=mariadb; else server=mysqld client=mysql; fi
case ${1:--} in -*) set -- "$server" "$@" ;; esac
if [ "$1" != "$server" ]; then exec "$@"; fi

data=/var/lib/mysql
if [ "$(id -u)" = 0 ]; then
    chown mysql: "$data" /run/mysqld
    exec setpriv --reuid=mysql --regid=mysql --clear-groups "$0" "$@"
fi

make_server() {
    local password=${MARIADB_ROOT_PASSWORD:-${MYSQL_ROOT_PASSWORD:-}}
    if [ "$server" = mysqld ]; then
        "$@" --initialize-insecure
    else
        mariadb-install-db --datadir="$data" --auth-root-authentication-method=normal --skip-test-db --skip-log-bin "${@:2}"
    fi
    "$@" --skip-networking &
    local pid=$!
    until "$client" --user=root --execute="DO 0" 2>/dev/null; do
        kill -0 "$pid"
        sleep 0.2
    done
    "$client" --user=root <<SQL
SET sql_log_bin = 0;
ALTER USER 'root'@'localhost' IDENTIFIED BY '$password';
CREATE USER 'root'@'%' IDENTIFIED BY '$password';
GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
SQL
    local file
    for file in /docker-entrypoint-initdb.d/*.sh; do
        # As there: run where it may be, else read.
        # shellcheck disable=SC1090
        if [ -x "$file" ]; then "$file"; else . "$file"; fi
    done
    kill "$pid"
    wait "$pid"
}

if [ ! -d "$data/mysql" ]; then
    # Not half made: the next start would take it for whole.
    trap 'rm -rf "${data:?}"/*' EXIT
    make_server "$@"
    trap - EXIT
fi
exec "$@"
