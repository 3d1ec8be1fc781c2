#!/usr/bin/env bash
# A long-lived test cluster: one primary and two GTID replicas on loopback.
#
#   scripts/cluster.sh start mysql|mariadb DIR BASEPORT [durable|failover]
#   scripts/cluster.sh stop DIR
#
# Relative DIRs are taken from where this is called. See examples/cluster.rs.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
exec cargo run --quiet --manifest-path "$root/Cargo.toml" --example cluster -- "$@"
