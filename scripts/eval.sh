#!/usr/bin/env bash
# Has a model write the agents of tests/forge-eval, tries each, and reports. MODEL is the model's name,
# BASE_URL its endpoint up to /v1 (Ollama's on this machine if unset), KEY_ENV the environment variable
# that holds its key, if it takes one. Arguments name the cases; none runs all.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${MODEL:-}" ]; then
  printf 'eval: say which model: make eval MODEL=NAME [BASE_URL=http://localhost:11434/v1] [KEY_ENV=VARIABLE]\n' >&2
  exit 2
fi
"${CARGO:-cargo}" build --release --locked --workspace --bins
target=${CARGO_TARGET_DIR:-$PWD/target}
NEXUS_TEST_BINARY=$target/release/nexus exec "$target/release/eval" \
  "${BASE_URL:-http://localhost:11434/v1}" "$MODEL" "${KEY_ENV:-}" "$@"
