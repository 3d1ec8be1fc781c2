# PHP's PDO_MySQL (mysqlnd) as Debian builds it, with the suite of PHP's source, the tests that all of PDO's drivers share among it.
connection_ids=server

prepare() {
    packages php-cli php-mysql xz-utils
    debian_source p/php8.2/php8.2_8.2.32.orig.tar.xz
    find "$work/src" -mindepth 1 -maxdepth 1 ! -name ext ! -name run-tests.php -exec rm -rf {} +
    find "$work/src/ext" -mindepth 1 -maxdepth 1 ! -name 'pdo' ! -name pdo_mysql -exec rm -rf {} +
}
databases() { fresh php_test; }
outcomes() {
    local php
    php=$(command -v php)
    PDO_MYSQL_TEST_DSN="mysql:host=$1;port=$2;dbname=php_test" PDO_MYSQL_TEST_HOST=$1 PDO_MYSQL_TEST_PORT=$2 PDO_MYSQL_TEST_DB=php_test \
        PDO_MYSQL_TEST_USER=app PDO_MYSQL_TEST_PASS=app-secret NO_INTERACTION=1 TEST_PHP_EXECUTABLE=$php \
        "$php" run-tests.php -q --no-color --set-timeout 60 --offline ext/pdo_mysql/tests </dev/null 2>&1 | tee /dev/stderr | tr '\r' '\n' |
        sed -nE 's/^(PASS|FAIL|SKIP|XFAIL|BORK|WARN|LEAK)(.*\[ext\/[^]]*\]).*/\1\2/p'
}
