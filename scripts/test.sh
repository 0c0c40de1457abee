#!/usr/bin/env bash
# Runs every test of the workspace and ends with one line: how many passed and how many failed.
# Further arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p target
log=target/test.log
status=0
# The end-to-end tests run the binary that is built with them, and not one of their own.
cargo=${CARGO:-cargo}
"$cargo" test --workspace --locked --no-run
NEXUS_TEST_BINARY=${NEXUS_TEST_BINARY:-${CARGO_TARGET_DIR:-$PWD/target}/debug/nexus}
export NEXUS_TEST_BINARY
"$cargo" test --workspace --locked --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

failures=$(awk '/^test .* \.\.\. FAILED$/ && !seen[$0]++' "$log")
if [ -n "$failures" ]; then
  printf '\n%s\n' "$failures"
fi
# Counts the lines of the test runner: "test result: ok. 3 passed; 0 failed; ...".
counts=$(awk '/^test result: / { passed += $4; failed += $6 } END { printf "%d %d", passed, failed }' "$log")
passed=${counts% *} failed=${counts#* }
if [ "$passed" -eq 0 ] && [ "$status" -eq 0 ]; then
  printf 'test: no test ran\n' >&2
  status=1
fi
printf '\n%d passed, %d failed\n' "$passed" "$failed"
exit "$status"
