#!/usr/bin/env bash
# Runs `nexus demo`. Where nobody can be asked, it answers yes for them and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

answer=()
if [ ! -t 0 ]; then
  printf 'demo: standard input is no terminal, so nobody can be asked: passing --yes, which approves the order for you\n' >&2
  answer=(--yes)
fi
exec "${CARGO:-cargo}" run --release --locked -p nexus-server --bin nexus -- demo ${answer[@]+"${answer[@]}"}
