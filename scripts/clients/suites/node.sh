# Node's mysql (mysqljs) 2.18.1 as Debian carries it, with those tests of its source that ask a server: one outcome a file.
connection_ids=server

prepare() {
    packages nodejs node-after node-mysql
    debian_source "n/node-mysql/node-mysql_2.18.1+~2.3.2.orig.tar.gz"
    # The test of time zones wants a package that Debian has not.
    rm "$work/src/test/integration/connection/test-timezones.js"
}
databases() { fresh test; }
outcomes() {
    local file outcome
    for file in test/integration/connection/*.js; do
        outcome=PASSED
        CI=1 MYSQL_HOST=$1 MYSQL_PORT=$2 MYSQL_USER=app MYSQL_PASSWORD=app-secret MYSQL_DATABASE=test NODE_PATH=/usr/share/nodejs \
            timeout 60 node "$file" </dev/null >out 2>&1 || outcome=FAILED
        cat out >&2
        ! grep -q '^skipping' out || outcome=SKIPPED
        echo "$outcome ${file##*/}"
    done
}
