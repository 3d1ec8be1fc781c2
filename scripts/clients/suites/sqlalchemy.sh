# SQLAlchemy 2.0.58 by PyMySQL, with the tests of its source distribution that ask a database.
# shellcheck source=python.sh
. "$here/suites/python.sh"
lag=1

prepare() {
    venv pytest cryptography PyMySQL==1.2.4 SQLAlchemy==2.0.58
    pypi_source SQLAlchemy 2.0.58
}

databases() { fresh test test_schema; }

outcomes() {
    local name=mysql
    [ "$flavor" = mysql ] || name=mariadb
    local files
    mapfile -t files < <(echo test/dialect/test_suite.py; find test/dialect/mysql test/engine test/orm test/sql -name 'test_*.py' |
        LC_ALL=C sort | every)
    # Which of several reasons for leaving a test out is told differs from run to run.
    pytest_outcomes --dburi "$name+pymysql://app:app-secret@$1:$2/test?charset=utf8mb4${sqlalchemy_options:-}" --backend-only "${files[@]}" |
        sed '/^SKIPPED/s/ : .*//'
}
