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

# Statements past the proxy, as root: on one server, and on the primary.
root_at() { mariadb --no-defaults --skip-ssl -h 127.0.0.1 -P "$1" -u root "${@:2}"; }
as_root() { root_at "$port" "$@"; }

# From now on both replicas apply everything at least so many seconds late. MariaDB counts from the second in which it was written.
lag_behind() {
    local server change="CHANGE REPLICATION SOURCE TO SOURCE_DELAY = $1"
    [ "$flavor" = mysql ] || change="CHANGE MASTER TO MASTER_DELAY = $(($1 + 1))"
    for server in $((port + 1)) $((port + 2)); do root_at "$server" -e "STOP REPLICA; $change; START REPLICA"; done
}

# Waits until both replicas have what the primary has now.
caught_up() {
    local server position wait
    if [ "$flavor" = mysql ]; then
        position=$(as_root -BN -e 'SELECT REPLACE(@@gtid_executed, "\n", "")') wait=WAIT_FOR_EXECUTED_GTID_SET
    else
        position=$(as_root -BN -e 'SELECT @@gtid_binlog_pos') wait=MASTER_GTID_WAIT
    fi
    for server in $((port + 1)) $((port + 2)); do
        [ "$(root_at "$server" -BN -e "SELECT $wait('$position', 300)")" = 0 ] && continue
        echo "the replica on port $server does not get as far as the primary:"
        root_at "$server" -e 'SHOW REPLICA STATUS\G' | grep -iE '(error|running|behind).*: *[^ ]'
        return 1
    done
}

# One address of the proxy's HTTP interface.
proxy_http() { curl -sf "http://127.0.0.1:$((port + 12))/$1"; }
