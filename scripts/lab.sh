# A cluster and a proxy for the length of one script, sourced by demo.sh and bench.sh. Whatever way the script ends, the
# processes are ended and the files removed.
#
#   lab_open NAME          makes $lab, the directory of this run
#   lab_build              builds what is needed
#   lab_ports FROM         prints the first of 13 free ports
#   lab_cluster FLAVOR [durable|failover]   starts a cluster on $port, $port+1, $port+2; sets $flavor
#   lab_kill N SIGNAL      ends server N; lab_restart N starts it again as it was started
#   lab_proxy              starts dbproxy on $port+10 (admin +11, HTTP +12), waits for both replicas; sets $proxy_pid

lab=
proxy_pid=

lab_open() {
    lab=$(mktemp -d "${TMPDIR:-/tmp}/$1.XXXXXX")
    trap lab_close EXIT
    # A signal must end the script, not only what it is waiting for.
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# Only processes whose command line names the directory, or that this shell started, are ended.
lab_close() {
    local status=$? attempt pids
    trap '' HUP INT TERM
    trap - EXIT
    # The starters first: they must not start anything more.
    pids=$(jobs -p)
    [ -z "$pids" ] || kill -TERM $pids 2>/dev/null
    for attempt in {1..100}; do
        pids=$(lab_processes)
        [ -n "$pids" ] || break
        if [ "$attempt" = 1 ]; then kill -TERM $pids 2>/dev/null; fi
        if [ "$attempt" -ge 40 ]; then kill -KILL $pids 2>/dev/null; fi
        sleep 0.1
    done
    if [ -n "${LAB_KEEP:-}" ]; then echo "kept: $lab" >&2; else rm -rf "$lab"; fi
    exit "$status"
}

lab_processes() {
    local line
    for line in /proc/[0-9]*/cmdline; do
        if { tr "\0" "\n" <"$line"; } 2>/dev/null | grep -qF -- "$lab"; then
            line=${line#/proc/}
            [ "${line%/cmdline}" = "$$" ] || echo "${line%/cmdline}"
        fi
    done
}

# Waits for a command in such a way that a signal is heard at once.
lab_run() {
    "$@" &
    wait $!
}

lab_build() {
    if [ -z "${DBPROXY_BIN:-}" ]; then
        lab_run cargo build --release --bin dbproxy
        DBPROXY_BIN=${CARGO_TARGET_DIR:-target}/release/dbproxy
    fi
    lab_run cargo build --example cluster
}

dbproxy() { "$DBPROXY_BIN" "$@"; }

# The loader of the cached root filesystem of MySQL, which its programs are run by.
rootfs=${DBPROXY_CACHE:-$PWD/.cache}/mysql-rootfs
rootfs_loader() {
    local loader
    for loader in "$rootfs"/lib64/ld-linux-x86-64.so.2 "$rootfs"/lib/ld-linux-aarch64.so.1; do
        if [ -x "$loader" ]; then
            echo "$loader"
            return
        fi
    done
    return 1
}
rootfs_libraries=$rootfs/usr/lib/$(uname -m)-linux-gnu

# MariaDB's client or MySQL's, whichever there is.
client() {
    local loader name
    for name in mariadb mysql; do
        if command -v "$name" >/dev/null 2>&1; then
            "$name" --no-defaults "$@"
            return
        fi
    done
    if loader=$(rootfs_loader); then
        "$loader" --library-path "$rootfs_libraries" "$rootfs/usr/bin/mysql" --no-defaults "$@"
        return
    fi
    echo "no mysql or mariadb client here" >&2
    return 1
}

lab_ports() {
    local base offset
    for ((base = $1; base < $1 + 2000; base += 20)); do
        for ((offset = 0; offset < 13; offset++)); do
            if (: <"/dev/tcp/127.0.0.1/$((base + offset))") 2>/dev/null; then continue 2; fi
        done
        echo "$base"
        return
    done
    echo "no free ports from $1 on" >&2
    return 1
}

# MySQL where it can be had, unless told which.
lab_cluster() {
    local wanted
    for wanted in ${1:-mysql mariadb}; do
        if lab_run scripts/cluster.sh start "$wanted" "$lab" "$port" ${2:-} >"$lab/cluster.log" 2>"$lab/cluster.err"; then
            flavor=$wanted
            return
        fi
        echo "no $wanted cluster: $(tail -n 3 "$lab/cluster.err")" >&2
    done
    return 1
}

# Whoever started it may be gone: what it was started with is kept.
lab_kill() {
    local pid
    pid=$(cat "$lab/s$1/pid")
    cp "/proc/$pid/cmdline" "$lab/s$1.command"
    kill "-$2" "$pid"
    while kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null; do sleep 0.05; done
}

lab_restart() {
    local command
    mapfile -d '' command <"$lab/s$1.command"
    "${command[@]}" >/dev/null 2>&1 </dev/null &
    echo "$!" >"$lab/s$1/pid"
}

replicas_up() { dbproxy status --config "$lab/dbproxy.toml" 2>/dev/null | awk '$2 == "replica" && $3 == "up" { n++ } END { print n + 0 }'; }

lab_proxy() {
    local attempt
    "$DBPROXY_BIN" run --config "$lab/dbproxy.toml" >"$lab/dbproxy.log" 2>&1 &
    proxy_pid=$!
    for attempt in {1..150}; do
        [ "$(replicas_up)" != 2 ] || return 0
        kill -0 "$proxy_pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "dbproxy does not see its cluster:" >&2
    tail -n 20 "$lab/dbproxy.log" >&2
    return 1
}
