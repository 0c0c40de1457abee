#!/usr/bin/env bash
# Checks format, lints, the proto contract and the dependencies; runs all of them and fails if one did.
# Says which checks it skipped, and why.
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
failed=() skipped=()

check() {  # check NAME COMMAND...
  local name=$1; shift
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" || failed+=("$name")
}
skip() {  # skip NAME REASON
  printf '\n== %s: SKIPPED: %s\n' "$1" "$2"
  skipped+=("$1 ($2)")
}

check format "$CARGO" fmt --all --check
check clippy "$CARGO" clippy --workspace --all-targets --locked -- -D warnings
check dependencies "$CARGO" test --locked --quiet --workspace --test house

if buf=$(scripts/find-buf.sh); then
  check proto "$buf" lint
  check proto-format "$buf" format --diff --exit-code --path proto/nexus
else
  skip proto 'buf is not there and npm could not bring it; the tests of proto/ check the main rules'
fi

if "$CARGO" deny --version >/dev/null 2>&1; then
  check deny "$CARGO" deny --locked check bans licenses sources
else
  skip deny 'cargo-deny is not installed; the check "dependencies" covers the bans'
fi

echo
for name in ${skipped[@]+"${skipped[@]}"}; do printf 'lint: SKIPPED %s\n' "$name"; done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'lint: FAILED: %s\n' "${failed[*]}"
  exit 1
fi
echo 'lint: ok'
