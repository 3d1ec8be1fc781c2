# aiomysql 0.3.2 (Python's asyncio) with the tests of its source.
# shellcheck source=python.sh
. "$here/suites/python.sh"
connection_ids=server
# Its SQLAlchemy tests write by one connection and read by another.
consistency=global

prepare() {
    venv pytest cryptography uvloop PyMySQL==1.1.2 SQLAlchemy==1.3.24 aiomysql==0.3.2
    debian_source a/aiomysql/aiomysql_0.3.2.orig.tar.gz
    # It creates its databases itself, as root.
    sed -i "s/'user': 'root'/'user': 'app'/" "$work/src/tests/conftest.py"
    rm -rf "$work/src/aiomysql"
}
# Left out: whether a connection that was killed is still in the process list a moment later is chance.
outcomes() {
    MYSQL_ROOT_PASSWORD=app-secret pytest_outcomes tests --mysql-address "server=$1:$2" --deselect tests/test_issues.py::test_issue_36
}
