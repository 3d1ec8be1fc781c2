#!/usr/bin/env bash
# Runs drills, all or those whose name has one of the arguments in it (`drill_01`, `switchover`), one at a time, and prints what
# clients saw in each. Their histories are in target/drills/. Wants scripts/setup-servers.sh run before; as root, also those
# that cut networks.
#
#   DBPROXY_DRILL_ROUNDS   how many times the drills that measure do it again (default: see each)
#   DBPROXY_TEST_BINARY    a dbproxy to drill, such as a release build, instead of cargo's debug build
set -euo pipefail
cd "$(dirname "$0")/.."

filters=()
for name in "$@"; do
    # A number is that drill: 1 is drill_01.
    [[ $name =~ ^[0-9]+$ ]] && name=$(printf 'drill_%02d' "$((10#$name))")
    filters+=("$name")
done
[ ${#filters[@]} -gt 0 ] || filters=(drill_)
exec cargo test --test drills -- --include-ignored --nocapture --test-threads=1 "${filters[@]}"
