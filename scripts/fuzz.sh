#!/usr/bin/env bash
# Runs each target of fuzz/ for a number of seconds (first argument, default 60). Wants cargo-fuzz and a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
if ! [ -d fuzz/fuzz_targets ]; then echo "fuzz: there is no fuzz/fuzz_targets"; exit 1; fi
command -v cargo-fuzz >/dev/null 2>&1 || cargo install --locked cargo-fuzz
for target in fuzz/fuzz_targets/*.rs; do
    name=$(basename "$target" .rs)
    echo "fuzz: $name for $seconds s"
    cargo +nightly fuzz run "$name" -- -max_total_time="$seconds" -print_final_stats=1
done
