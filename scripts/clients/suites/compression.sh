# Client libraries that compress: one battery of statements by each of them, with digests of what comes back.
here_files=$here/compression

prepare() {
    packages php-cli php-mysql gcc pkg-config python3-dev libmariadb-dev
    venv mysql-connector-python==9.5.0 mysqlclient==2.3.1
    mkdir -p "$work/src"
    cp "$here_files"/* "$work/src/"
}
databases() {
    fresh packed
    [ "$flavor" = mariadb ] || echo 'SET GLOBAL local_infile = 1;'
}
# MySQL's own clients lie unpacked beside its server.
mysql_client() {
    local rootfs=${DBPROXY_CACHE:-$root/.cache}/mysql-rootfs
    "$rootfs"/lib64/ld-linux-x86-64.so.2 --library-path \
        "$rootfs/usr/lib/x86_64-linux-gnu:$rootfs/lib/x86_64-linux-gnu:$rootfs/usr/lib/mysql/private" "$rootfs/usr/bin/mysql" "$@"
}
battery() {
    sed -e "s/^/$1 /" | grep -E '^[^ ]+ (PASSED|FAILED) ' | sed -E 's/^([^ ]+) ([A-Z]+) /\2 \1 /'
}
outcomes() {
    local library way options=(--no-defaults --host="$1" --port="$2" --user=app --password=app-secret --local-infile=1 --batch)
    for library in connector-python connector-python-c mysqlclient; do
        timeout 300 "$CACHE/compression-venv/bin/python" battery.py "$library" "$1" "$2" 2>&1 | tee /dev/stderr | battery "$library"
    done
    for library in mysqli pdo; do
        timeout 300 php -d mysqli.allow_local_infile=On battery.php "$library" "$1" "$2" 2>&1 | tee /dev/stderr | battery "$library"
    done
    seq 1 20000 | sed 's/$/\tline/' >lines.txt
    for way in zlib zstd mariadb; do
        case $way-$flavor in
        mariadb-*) mariadb "${options[@]}" --compress packed <battery.sql 2>&1 ;;
        # MySQL's client has no plugin for an account of MariaDB's; through dbproxy it would get in.
        *-mariadb) continue ;;
        *) mysql_client "${options[@]}" --compression-algorithms="$way" packed <battery.sql 2>&1 ;;
        esac | sha256sum | sed -e "s/^/PASSED $way-client /"
    done
}
