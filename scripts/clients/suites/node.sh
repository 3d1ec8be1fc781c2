# Node's mysql 2.18.1 (JavaScript throughout) with the integration tests of its source: one outcome a file.

prepare() {
    command -v npm >/dev/null || packages nodejs npm
    debian_source 'n/node-mysql/node-mysql_2.18.1+~2.3.2.orig.tar.gz'
    local modules=$CACHE/node-modules
    if [ ! -e "$modules/complete" ]; then
        mkdir -p "$modules"
        npm install --silent --no-audit --no-fund --prefix "$modules" bignumber.js@9.0.0 readable-stream@2.3.7 \
            safe-buffer@5.1.2 sqlstring@2.3.1 after@0.8.2 seedrandom@3.0.5 timezone-mock@0.0.7 utest@0.0.8
        touch "$modules/complete"
    fi
    ln -s "$modules/node_modules" "$work/src/node_modules"
}
# The library knows no other way to log in.
accounts() {
    if [ "$flavor" = mysql ]; then return 0; fi
    echo "SELECT 1;"
}
extra_users() { :; }
databases() { printf '%s;\n' "DROP DATABASE IF EXISTS node_test" "CREATE DATABASE node_test DEFAULT CHARACTER SET utf8mb4"; }
outcomes() {
    local file outcome
    while read -r file; do
        outcome=PASSED
        MYSQL_HOST=$1 MYSQL_PORT=$2 MYSQL_USER=app MYSQL_PASSWORD=app-secret MYSQL_DATABASE=node_test CI=1 \
            timeout 60 node "$file" </dev/null >out.txt 2>&1 || outcome=FAILED
        grep -q '^skipping' out.txt && outcome=SKIPPED
        [ "$outcome" = PASSED ] || { echo "$file"; cat out.txt; } >&2
        # The first line that names an error says why.
        echo "$outcome $file $(grep -m1 -E '^(skipping|[A-Za-z]*Error)' out.txt || true)"
    done < <(find test/integration -name 'test-*.js' | sort)
}
