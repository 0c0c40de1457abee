#!/usr/bin/env bash
# Measures. Arguments name the measurements to run; none runs all.
set -euo pipefail
cd "$(dirname "$0")/.."

"${CARGO:-cargo}" build --release --locked --workspace --bins
target=${CARGO_TARGET_DIR:-$PWD/target}
NEXUS_TEST_BINARY=$target/release/nexus exec "$target/release/bench" "$@"
