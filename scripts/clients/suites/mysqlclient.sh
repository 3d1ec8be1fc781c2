# mysqlclient (the C client library under Python) with the suite of its source distribution.
# shellcheck source=python.sh
. "$here/suites/python.sh"

prepare() {
    packages gcc pkg-config libmariadb-dev
    venv pytest sqlalchemy mysqlclient==2.3.1
    pypi_source mysqlclient 2.3.1
}

databases() {
    printf '%s;\n' "DROP DATABASE IF EXISTS mysqldb_test" "CREATE DATABASE mysqldb_test DEFAULT CHARACTER SET utf8mb4"
}

outcomes() {
    printf '%s\n' '[MySQLdb-tests]' "host = $1" "port = $2" 'user = app' 'password = app-secret' 'database = mysqldb_test' \
        'default-character-set = utf8mb4' >tests/default.cnf
    pytest_outcomes tests
}
