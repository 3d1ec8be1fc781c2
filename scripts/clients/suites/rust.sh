# Rust's mysql_async, the release that dbproxy itself is built with, with the tests of its published source.

prepare() {
    local manifest
    manifest=$(cargo metadata --format-version 1 --manifest-path "$root/Cargo.toml" |
        python3 -c 'import json, sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "mysql_async"))')
    mkdir -p "$work/src"
    cp -a "${manifest%/*}/." "$work/src/"
    # A package of its own, whatever stands above the directory.
    printf '\n[workspace]\n' >>"$work/src/Cargo.toml"
    cargo_test --no-run
}
# Built once for both ways: only the source's path would differ.
cargo_test() { CARGO_TARGET_DIR=$CACHE/rust-target cargo test --manifest-path "$work/src/Cargo.toml" --lib --tests "$@"; }
databases() { printf '%s;\n' "DROP DATABASE IF EXISTS rusttest" "CREATE DATABASE rusttest DEFAULT CHARACTER SET utf8mb4"; }
outcomes() {
    # By TCP only: a Unix socket would lead past the proxy. Left out are two that create users and log in as them.
    DATABASE_URL="mysql://app:app-secret@$1:$2/rusttest?prefer_socket=false" cargo_test --no-fail-fast -- --test-threads=1 --exact \
        --skip conn::test::should_connect --skip conn::test::should_change_user </dev/null 2>&1 |
        tee /dev/stderr | sed -nE 's/^test ([^ ]+).* \.\.\. (ok|FAILED|ignored).*/\2 \1/p'
}
