#!/usr/bin/env bash
# Checks the dependency tree against deny.toml. cargo-deny is taken from PATH or from the cache directory, and built into
# the cache (some minutes, once) when it is in neither. Where it cannot be had, this says so and lets the rest go on.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=0.20.2
CACHE=${DBPROXY_CACHE:-$PWD/.cache}
PATH=$PATH:$CACHE/tools/bin

if ! command -v cargo-deny >/dev/null 2>&1; then
    echo "deny: building cargo-deny $VERSION into $CACHE/tools"
    mkdir -p "$CACHE/tools"
    if ! timeout 1200 cargo install --quiet --locked --root "$CACHE/tools" --version "$VERSION" cargo-deny >"$CACHE/deny.log" 2>&1; then
        echo "deny: NOT CHECKED: cargo-deny cannot be built here (see $CACHE/deny.log)"
        exit 0
    fi
fi

cargo deny --log-level error check bans licenses sources
# Advisories live in a git repository that not every machine reaches.
if cargo deny --log-level off fetch db >/dev/null 2>&1; then
    cargo deny --log-level error check advisories
else
    echo "deny: advisories NOT CHECKED: their database cannot be fetched from here"
fi
