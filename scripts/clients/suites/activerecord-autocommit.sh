# The same without `use_transactional_tests`: by itself each test runs in a transaction, which is the primary's. The fixtures are
# loaded anew for every test.
transactional_tests=false
# shellcheck source=activerecord.sh
. "$here/suites/activerecord.sh"
