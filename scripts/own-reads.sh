#!/usr/bin/env bash
# Counts stale reads among many pairs of a write and a read while replicas lag, and prints what freshness costs.
#   scripts/own-reads.sh [PAIRS]      default 100000, for each of eventual, session, global, on both products
set -euo pipefail
cd "$(dirname "$0")/.."
export DBPROXY_OWN_READS=${1:-100000}
exec cargo nextest run --no-capture --test traffic no_read_is_stale_while_one_replica_lags
