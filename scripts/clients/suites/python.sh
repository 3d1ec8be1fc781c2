# What the Python suites share: pytest's summary as `OUTCOME TEST - MESSAGE`, one line a test.

# Runs pytest of the suite's environment; object addresses and connection ids are taken out of messages.
pytest_outcomes() {
    COLUMNS=1000 PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 timeout 1500 "$CACHE/${suite%%-*}-venv/bin/python" -m pytest -p no:cacheprovider -q -rA --tb=no \
        "$@" </dev/null 2>&1 | tee /dev/stderr | grep -E '^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) ' |
        sed -E 's/0x[0-9a-f]{6,}/ADDRESS/g'
}
databases() { :; }
