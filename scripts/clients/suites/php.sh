# PHP's mysqli (mysqlnd) as Debian builds it, with the suite of PHP's source.
connection_ids=server
# Some of its tests write by one connection and read by another.
consistency=global

prepare() {
    packages php-cli php-mysql xz-utils
    debian_source p/php8.2/php8.2_8.2.32.orig.tar.xz
    find "$work/src" -mindepth 1 -maxdepth 1 ! -name ext ! -name run-tests.php -exec rm -rf {} +
    find "$work/src/ext" -mindepth 1 -maxdepth 1 ! -name mysqli -exec rm -rf {} +
}
databases() { printf '%s;\n' "DROP DATABASE IF EXISTS php_test" "CREATE DATABASE php_test DEFAULT CHARACTER SET utf8mb4"; }
outcomes() {
    local php
    php=$(command -v php)
    MYSQL_TEST_HOST=$1 MYSQL_TEST_PORT=$2 MYSQL_TEST_USER=app MYSQL_TEST_PASSWD=app-secret MYSQL_TEST_DB=php_test \
        NO_INTERACTION=1 TEST_PHP_EXECUTABLE=$php "$php" run-tests.php -q --no-color --set-timeout 60 --offline ext/mysqli/tests \
        </dev/null 2>&1 | tee /dev/stderr | tr '\r' '\n' |
        sed -nE 's/^(PASS|FAIL|SKIP|XFAIL|BORK|WARN|LEAK)(.*\[ext\/[^]]*\]).*/\1\2/p'
}
