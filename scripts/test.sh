#!/usr/bin/env bash
# Runs every test; arguments go to the runner, such as a part of a test's name. Wants scripts/setup-servers.sh run before.
set -euo pipefail
cd "$(dirname "$0")/.."

if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --no-fail-fast "$@"
    # The one kind that nextest leaves out.
    cargo test --doc --quiet
else
    cargo test --no-fail-fast "$@"
fi
