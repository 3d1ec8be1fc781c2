#!/bin/bash
# The service `setup`: opens db1 for writes the very first time. Every server comes up closed, also a primary; later it is dbproxy
# that knows who is to be opened.
#
#   setup.sh mysql|mariadb SERVER...    the first SERVER becomes the primary
set -euo pipefail
client=$1
shift
case $client in
    mysql) word=source safe=(--ssl-mode=REQUIRED) open="SET GLOBAL super_read_only = 0, GLOBAL read_only = 0" ;;
    *) word=master safe=(--ssl --skip-ssl-verify-server-cert) open="SET GLOBAL read_only = 0" ;;
esac
ask() { "$client" "${safe[@]}" --host="$1" --user=root --password="$ROOT_PASSWORD" --batch --skip-column-names --execute="$2" 2>/dev/null; }

for server in "$@"; do
    used=$(ask "$server" "SELECT @@global.read_only = 0 OR EXISTS (SELECT * FROM information_schema.tables WHERE table_schema = 'dbproxy')")
    if [ "$used" != 0 ]; then
        echo "$server has been in use: dbproxy decides who is opened"
        exit 0
    fi
done
first=$1
ask "$first" "SET GLOBAL rpl_semi_sync_${word}_enabled = 1"
until [ "$(ask "$first" "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_${word}_clients'" | cut -f 2)" = $(($# - 1)) ]; do
    echo "waiting for $(($# - 1)) replicas that acknowledge"
    sleep 1
done
ask "$first" "$open"
echo "$first is open for writes"
