# The same with autocommit: by itself SQLAlchemy reads in transactions, which are the primary's. The tests that roll back fail
# both ways.
sqlalchemy_options='&autocommit=1'
# shellcheck source=sqlalchemy.sh
. "$here/suites/sqlalchemy.sh"
