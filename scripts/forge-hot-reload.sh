#!/bin/sh
# Creates a skill on a running host, as the published guide does:
#
#   forge-hot-reload.sh [--enable-hot-reload] NAME DESCRIPTION [PARAMS]
#
# PARAMS is a JSON list such as [{"name":"location","type":"string","required":true}].
# The host is GATEWAY_URL, else NEXUS_ENDPOINT, else the one that runs from the data directory
# (NEXUS_DATA), else http://127.0.0.1:7420. The token is NEXUS_TOKEN, else the data directory's own,
# which is sent to this machine only.
# Prints the host's answer. Exits with 0 if the skill is created, with 17 if a person has to accept its
# permissions first, with 1 if it is not.
set -eu

usage() {
  sed -n '4s/^# *//p' "$0" >&2
  exit 2
}
fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

enable=
while [ $# -gt 0 ]; do
  case $1 in
    --enable-hot-reload) enable=yes; shift ;;
    -h|--help) usage ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
  esac
done
if [ $# -lt 2 ] || [ $# -gt 3 ]; then usage; fi
name=$1 description=$2 params=${3:-[]}
command -v curl >/dev/null || fail 'curl is not there; install it'

data=${NEXUS_DATA:-${XDG_DATA_HOME:-$HOME/.local/share}/nexus}
url=${GATEWAY_URL:-${NEXUS_ENDPOINT:-}}
if [ -z "$url" ] && [ -r "$data/endpoint" ]; then url=$(cat "$data/endpoint"); fi
url=${url:-http://127.0.0.1:7420}
url=${url%/}

token=${NEXUS_TOKEN:-}
if [ -z "$token" ] && [ -r "$data/operator.token" ]; then
  case $url in
    http://127.0.0.1|http://127.0.0.1[:/]*|http://localhost|http://localhost[:/]*|'http://[::1]'*) token=$(cat "$data/operator.token") ;;
    *) fail "$url is not on this machine; give the token to call it with in NEXUS_TOKEN" ;;
  esac
fi
[ -n "$token" ] || fail "there is no token in $data; is \`nexus serve\` running? NEXUS_TOKEN gives another"

# A text as JSON: what is no text is left out, lines are kept.
text() {
  printf '%s' "$1" | tr -d '\000-\010\013\014\016-\037' | tr '\t\r' '  ' |
    sed 's/\\/\\\\/g; s/"/\\"/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }'
}

# The token goes in by a file descriptor: arguments can be read by others.
post() { # post PATH BODY
  printf 'header = "Authorization: Bearer %s"\n' "$token" |
    curl --silent --show-error --config - --header 'Content-Type: application/json' --data-binary "$2" \
      --write-out '\n%{http_code}' "$url/api/v1/forge/$1"
}

if [ -n "$enable" ]; then
  answer=$(post hot-reload/enable '{}')
  [ "${answer##*
}" = 200 ] || fail "hot-reload is not enabled: $answer"
fi

body=$(printf '{"name":"%s","description":"%s","params":%s}' "$(text "$name")" "$(text "$description")" "$params")
answer=$(post create "$body")
code=${answer##*
}
answer=${answer%
*}
printf '%s\n' "$answer"
[ "$code" = 200 ] || fail "the host answered with $code"
case $answer in
  *'"approval":'*) exit 17 ;;
  *'"success":true'*) exit 0 ;;
  *) exit 1 ;;
esac
