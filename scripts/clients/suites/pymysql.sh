# PyMySQL 0.10.1 with its own suite: the last release whose source distribution has it.
# shellcheck source=python.sh
. "$here/suites/python.sh"
library=PyMySQL==0.10.1
connection_ids=server

prepare() {
    venv pytest cryptography "$library"
    pypi_source PyMySQL 0.10.1
}

databases() {
    printf '%s;\n' "DROP DATABASE IF EXISTS test1" "CREATE DATABASE test1 DEFAULT CHARACTER SET utf8mb4" \
        "DROP DATABASE IF EXISTS test2" "CREATE DATABASE test2 DEFAULT CHARACTER SET utf8mb4"
}

outcomes() {
    local login="\"host\": \"$1\", \"port\": $2, \"user\": \"app\", \"passwd\": \"app-secret\""
    echo "[{$login, \"db\": \"test1\", \"use_unicode\": true, \"local_infile\": true}, {$login, \"db\": \"test2\"}]" \
        >pymysql/tests/databases.json
    pytest_outcomes pymysql/tests
}
