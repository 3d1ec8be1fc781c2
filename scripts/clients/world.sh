# A cluster and a proxy of a script's own, for sourcing. Wants $root, $work (a directory to be removed at the end), $flavor
# and $port (the first of 13); says $proxy, the proxy's process id. The caller sets `trap end_world EXIT`.

proxy=
# The last words of the proxy, when it is no longer there.
proxy_lives() {
    kill -0 "$proxy" 2>/dev/null && return 0
    echo "the proxy ended:"
    tail -n 20 "$work/proxy.log"
    return 1
}

end_world() {
    if [ -n "$proxy" ]; then
        kill "$proxy" 2>/dev/null || true
        wait "$proxy" 2>/dev/null || true
    fi
    if [ -e "$work/cluster/s1" ]; then "$cluster" stop "$work/cluster" || true; fi
    rm -rf "$work"
}

# Builds what is needed; $1 is `debug` or `release`. DBPROXY_BINARY is taken as it is.
build() {
    local target=${CARGO_TARGET_DIR:-$root/target} options=(--quiet --manifest-path "$root/Cargo.toml")
    binary=${DBPROXY_BINARY:-$target/$1/dbproxy} cluster=$target/debug/examples/cluster
    cargo build "${options[@]}" --example cluster
    if [ -z "${DBPROXY_BINARY:-}" ]; then
        if [ "$1" = release ]; then options+=(--release); fi
        cargo build "${options[@]}" --bin dbproxy
    fi
}

# Starts the servers, which leaves a configuration to add to.
start_cluster() { "$cluster" start "$flavor" "$work/cluster" "$port" >"$work/cluster.log"; }

start_proxy() {
    "$binary" run --config "$work/cluster/dbproxy.toml" >"$work/proxy.log" 2>&1 &
    proxy=$!
    for _ in $(seq 100); do
        curl -sf "http://127.0.0.1:$((port + 12))/readyz" >/dev/null && return 0
        proxy_lives || return 1
        sleep 0.1
    done
    echo "the proxy is not ready after 10 s"
    return 1
}

# Statements on the primary, past the proxy, as root.
as_root() { mariadb --no-defaults --skip-ssl -h 127.0.0.1 -P "$port" -u root "$@"; }

# One address of the proxy's HTTP interface.
proxy_http() { curl -sf "http://127.0.0.1:$((port + 12))/$1"; }
