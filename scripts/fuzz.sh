#!/usr/bin/env bash
# Runs targets of fuzz/, one after the other: all that a peer's bytes meet first. Ends with status 1 when one found something.
#
#   scripts/fuzz.sh [SECONDS [TARGET ...]]     default: 60 seconds each, all targets
#
# Wants a nightly toolchain and cargo-fuzz, which it installs when it is missing; where it cannot be had, the targets are built
# with the same sanitizers without it.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
targets=("$@")
if [ "${#targets[@]}" = 0 ]; then
    for target in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$target" .rs)"); done
fi
if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    echo "fuzz: installing the nightly toolchain"
    rustup toolchain install nightly --profile minimal
fi
host=$(rustc -vV | sed -n 's/^host: //p')
command -v cargo-fuzz >/dev/null 2>&1 || cargo install --quiet --locked cargo-fuzz || echo "fuzz: going on without cargo-fuzz"
if command -v cargo-fuzz >/dev/null 2>&1; then
    cargo +nightly fuzz build
else
    RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
        cargo +nightly build --release --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --target "$host"
fi
status=0
for name in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$name" "fuzz/artifacts/$name"
    if "fuzz/target/$host/release/$name" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$name/" \
        "fuzz/corpus/$name" >"fuzz/artifacts/$name.log" 2>&1; then
        echo "fuzz: $name: clean: $(sed -n 's/^stat::number_of_executed_units: *//p' "fuzz/artifacts/$name.log") inputs in $seconds s"
    else
        echo "fuzz: $name: FOUND SOMETHING: $(grep -m 1 'panicked at\|ERROR:\|SUMMARY' "fuzz/artifacts/$name.log"), see fuzz/artifacts/$name.log"
        status=1
    fi
done
exit "$status"
