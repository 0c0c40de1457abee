#!/usr/bin/env bash
# Runs the tests that do more where there is time for it, with NEXUS_SOAK=1 and a bound on the whole:
# NEXUS_SOAK_SECONDS, an hour if unset. Arguments name the test targets to run; none runs every target
# whose source asks for an amount, and the tests of single crates that do.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
seconds=${NEXUS_SOAK_SECONDS:-3600}
if [ "$#" -gt 0 ]; then
  targets=("$@")
else
  # tests/tests/NAME.rs or tests/tests/NAME/...: the target has the name.
  mapfile -t targets < <(
    grep -rlE '\bamount\(' tests/tests | sed -E 's|^tests/tests/([^/.]+).*|\1|' | sort -u
  )
fi
arguments=()
for target in "${targets[@]}"; do
  arguments+=(--test "$target")
done
printf 'soak: %s, at most %s s\n' "${targets[*]}" "$seconds"

"$cargo" build --workspace --locked --bins
"$cargo" test --workspace --locked --no-run "${arguments[@]}"
NEXUS_TEST_BINARY=${NEXUS_TEST_BINARY:-${CARGO_TARGET_DIR:-$PWD/target}/debug/nexus}
export NEXUS_TEST_BINARY NEXUS_SOAK=1
status=0
timeout "$seconds" "$cargo" test --workspace --locked --no-fail-fast "${arguments[@]}" || status=$?
if [ "$#" -eq 0 ] && [ "$status" -eq 0 ]; then
  # A million seals of the vault, and ten thousand answers of a name server that changes its mind.
  timeout "$seconds" "$cargo" test --workspace --locked --no-fail-fast --lib --test effects -- \
    nonces_do_not_repeat rebinding:: || status=$?
fi
if [ "$status" -eq 124 ]; then
  printf 'soak: stopped after %s s; NEXUS_SOAK_SECONDS gives it more\n' "$seconds" >&2
fi
exit "$status"
