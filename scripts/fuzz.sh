#!/usr/bin/env bash
# Fuzzes every target for SECONDS each (default 20), or those that are named as arguments. What is found
# is put into target/fuzz/found/TARGET; the committed corpus is read and never written.
#
# libFuzzer is built from its crate with the C++ compiler at hand, and the counters that guide it are
# ordinary code generation: a stable rustc does. There is no address sanitizer in it, because there is no
# unsafe code in what is fuzzed.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-20}
target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
counters="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"

# The versions are the host's; only what libFuzzer needs is added to them.
cp Cargo.lock fuzz/libfuzzer/Cargo.lock

# With --target, the flags are for what is fuzzed and not for the programs that build it.
RUSTFLAGS="$counters" CARGO_TARGET_DIR="$target" "${CARGO:-cargo}" build --release --target "$host" \
  --manifest-path fuzz/libfuzzer/Cargo.toml ${FUZZ_JOBS:+-j "$FUZZ_JOBS"}

if [ $# -eq 0 ]; then
  set -- $(cd fuzz/corpus && echo *)
fi
failed=()
for name in "$@"; do
  corpus=fuzz/corpus/$name
  if [ ! -d "$corpus" ]; then
    printf 'fuzz: there is no target %s; there are: %s\n' "$name" "$(cd fuzz/corpus && echo *)" >&2
    exit 2
  fi
  mkdir -p "$target/corpus/$name" "$target/found/$name"
  printf '\n== %s, %s s\n' "$name" "$seconds"
  NEXUS_FUZZ_TARGET=$name "$target/$host/release/fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -max_len=16384 -print_final_stats=1 -verbosity=0 -artifact_prefix="$target/found/$name/" \
    "$target/corpus/$name" "$corpus" 2>&1 | grep -vE '^(WARNING: Failed to find function|INFO: )' || failed+=("$name")
done
echo
if [ ${#failed[@]} -gt 0 ]; then
  printf 'fuzz: FOUND something in: %s; see %s\n' "${failed[*]}" "$target/found"
  exit 1
fi
echo 'fuzz: nothing found'
