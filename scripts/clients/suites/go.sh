# Go's go-sql-driver/mysql 1.5.0, the release that Debian's compiler builds without fetching modules, with its own tests.

prepare() {
    packages golang-go
    debian_source g/golang-github-go-sql-driver-mysql/golang-github-go-sql-driver-mysql_1.5.0.orig.tar.gz
}
databases() { printf '%s;\n' "DROP DATABASE IF EXISTS gotest" "CREATE DATABASE gotest DEFAULT CHARACTER SET utf8mb4"; }
outcomes() {
    MYSQL_TEST_ADDR=$1:$2 MYSQL_TEST_USER=app MYSQL_TEST_PASS=app-secret MYSQL_TEST_DBNAME=gotest MYSQL_TEST_CONCURRENT=1 \
        GOFLAGS=-mod=mod GOCACHE=$CACHE/go-build GOPATH=$CACHE/go go test -v -count=1 -timeout 10m ./... </dev/null 2>&1 |
        tee /dev/stderr | sed -nE 's/^ *--- (PASS|FAIL|SKIP): ([^ ]*).*/\1 \2/p'
}
