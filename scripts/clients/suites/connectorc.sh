# MariaDB's Connector/C (under most clients in C, Python, Perl and R) as it stands in MariaDB's source, with its own tests: one
# outcome a TAP line.
connection_ids=server

prepare() {
    packages cmake gcc libssl-dev make zlib1g-dev
    local source=$CACHE/connectorc-src build=$CACHE/connectorc-build
    if [ ! -e "$build/complete" ]; then
        debian_source m/mariadb/mariadb_10.11.18.orig.tar.gz '*/libmariadb/*'
        rm -rf "$source" "$build"
        mv "$work/src/libmariadb" "$source"
        cmake -S "$source" -B "$build" -DWITH_UNIT_TESTS=ON -DWITH_CURL=OFF -DCLIENT_PLUGIN_CACHING_SHA2_PASSWORD=STATIC
        cmake --build "$build"
        touch "$build/complete"
    fi
    mkdir -p "$work/src"
}
databases() { fresh test; }
outcomes() {
    local file name
    for file in "$CACHE"/connectorc-build/unittest/libmariadb/*; do
        name=${file##*/}
        # By hand only, and a measurement.
        if [ ! -f "$file" ] || [ ! -x "$file" ] || [[ $name =~ ^(t_conc173|performance)$ ]]; then continue; fi
        echo "== $name" >&2
        MARIADB_CC_TEST=1 MYSQL_TMP_DIR=. MYSQL_TEST_HOST=$1 MYSQL_TEST_PORT=$2 MYSQL_TEST_USER=app MYSQL_TEST_PASSWD=app-secret \
            MYSQL_TEST_DB=test timeout 300 "$file" </dev/null 2>&1 | tee -a /dev/stderr |
            sed -nE "s/^(ok|not ok) ([0-9]+)(.*)/\1 $name \2\3/; t show; s/^(Bail out.*|1\.\.0.*)/SKIPPED $name \1/; t show; d; :show
                s/^not ok/NOT_OK/; /# skip/Is/^ok/SKIPPED/; s/^ok/OK/; p" || true
    done
}
