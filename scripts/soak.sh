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

# The tests of single crates: a million seals of the vault, and ten thousand answers of a name server that
# changes its mind.
crates=(--lib --test effects)
names=(nonces_do_not_repeat rebinding::)

"$cargo" build --workspace --locked --bins
"$cargo" test --workspace --locked --no-run "${arguments[@]}"
if [ "$#" -eq 0 ]; then
  "$cargo" test --workspace --locked --no-run "${crates[@]}"
fi
NEXUS_TEST_BINARY=${NEXUS_TEST_BINARY:-${CARGO_TARGET_DIR:-$PWD/target}/debug/nexus}
export NEXUS_TEST_BINARY NEXUS_SOAK=1
end=$((SECONDS + seconds))
status=0
within() {  # within COMMAND...: in what is left of the time
  timeout "$((end > SECONDS ? end - SECONDS : 1))" "$@" || status=$?
}
within "$cargo" test --workspace --locked --no-fail-fast "${arguments[@]}"
if [ "$#" -eq 0 ] && [ "$status" -eq 0 ]; then
  within "$cargo" test --workspace --locked --no-fail-fast "${crates[@]}" -- "${names[@]}"
fi
if [ "$status" -eq 124 ]; then
  printf 'soak: stopped after %s s; NEXUS_SOAK_SECONDS gives it more\n' "$seconds" >&2
fi
exit "$status"
