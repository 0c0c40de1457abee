#!/usr/bin/env bash
# Prints the path of a `buf`: the one in PATH, or one that npm puts into target/. Fails if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=1.75.0
if command -v buf; then exit 0; fi

dir=$PWD/target/tools/buf
buf=$dir/node_modules/.bin/buf
if [ "$("$buf" --version 2>/dev/null || true)" != "$VERSION" ]; then
  command -v npm >/dev/null || exit 1
  mkdir -p "$dir"
  limit=()
  if command -v timeout >/dev/null; then limit=(timeout 180); fi
  ${limit[@]+"${limit[@]}"} npm install --prefix "$dir" --no-audit --no-fund --no-save --loglevel=error \
    "@bufbuild/buf@$VERSION" >"$dir/npm.log" 2>&1 || exit 1
  [ "$("$buf" --version 2>/dev/null || true)" = "$VERSION" ] || exit 1
fi
printf '%s\n' "$buf"
