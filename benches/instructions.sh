#!/usr/bin/env bash
# User instructions that a data thread spends per request, counted by callgrind: the same every time, whatever else the machine does.
#
#   benches/instructions.sh [ROW...]          rows: get post services tls h2; default: all
#
# Fails where a row costs over 3% more than benches/instructions.ceiling has for it. TIDEGATE names another binary than the release
# build, which is made first. One thread serves what h2load asks for over 16 connections that stay open; what 6,000 requests
# cost beyond 1,000, divided by 5,000, leaves out the connections. Only the data thread is counted: what the control thread does
# meanwhile depends on the time. Over TLS it is what valgrind's processor has of AES, which is more than newer ones need.
set -euo pipefail
cd "$(dirname "$0")/.."
rows=("$@")
((${#rows[@]})) || rows=(get post services tls h2)
for tool in valgrind callgrind_control h2load curl; do
  command -v "$tool" >/dev/null || { echo "missing: $tool (apt-get install valgrind nghttp2-client curl)" >&2; exit 2; }
done
if [[ -z ${TIDEGATE:-} ]]; then
  cargo build --release --locked --quiet
  TIDEGATE=${CARGO_TARGET_DIR:-target}/release/tidegate
fi
work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
fail() { echo "$*" >&2; tail -n 20 "$work/log" >&2; exit 1; }

port=$((20000 + RANDOM % 8000))
while ss -Hltn 2>/dev/null | grep -qE ":($port|$((port + 1))) "; do port=$((20000 + RANDOM % 8000)); done
backend=$port ours=$((port + 1))
PORT=$backend "$TIDEGATE" demo >"$work/demo" 2>&1 & pids+=($!)
head -c 200 /dev/zero | tr '\0' x >"$work/body"

config() { # SERVICES
  local folder=$work/config-$1/services n
  mkdir -p "$folder"
  printf 'listen: {http: "127.0.0.1:%s"}\nthreads: 1\nlog: {level: warn}\n' "$ours" >"$work/config-$1/tidegate.yaml"
  printf 'domains: [127.0.0.1]\nversions: {bench-001: {urls: ["http://127.0.0.1:%s"]}}\n' "$backend" >"$folder/bench.yaml"
  for ((n = 1; n < $1; n++)); do
    printf 'versions: {s%s-001: {urls: ["http://127.0.0.1:9"]}}\n' "$n" >"$folder/s$n.yaml"
  done
}
tls_config() {
  mkdir -p "$work/config-tls/services" "$work/config-tls/certificates"
  cp tests/fixtures/tls/shop.{pem,key} "$work/config-tls/certificates"
  printf 'listen: {https: "127.0.0.1:%s"}\ntls: {certificates: certificates}\nthreads: 1\nlog: {level: warn}\n' \
    "$ours" >"$work/config-tls/tidegate.yaml"
  printf 'domains: [shop.example.com]\nversions: {bench-001: {urls: ["http://127.0.0.1:%s"]}}\n' "$backend" \
    >"$work/config-tls/services/bench.yaml"
}
load() { # REQUESTS URL h2load's words
  local requests=$1 url=$2
  shift 2
  h2load -c 16 -n "$requests" "$@" "$url" >"$work/h2load" 2>&1
  grep -q " $requests succeeded, 0 failed" "$work/h2load" || { cat "$work/h2load" >&2; fail "not every request was served"; }
}
# The instructions since the last dump, of the thread that proxies.
spent() { # NAME PID
  callgrind_control -d "$1" "$2" >/dev/null 2>&1 || fail "callgrind does not answer"
  grep -l "^desc: Trigger: .*$1" "$work"/callgrind.* | xargs grep -l 'tidegate::proxy::handler' >"$work/parts" || fail "no counts of $1"
  xargs grep -h '^totals:' <"$work/parts" | awk '{sum += $2} END {print sum}'
}
measure() { # ROW; the result is in `count`
  local row=$1 config=1 url="http://127.0.0.1:$ours/bytes?n=1024" words=(--h1) few many server
  local ready="http://127.0.0.1:$ours/healthz" secure=(--tls13-ciphers=TLS_AES_128_GCM_SHA256 --connect-to="127.0.0.1:$ours")
  case $row in
    get) ;;
    post) url="http://127.0.0.1:$ours/echo" words+=(-d "$work/body") ;;
    services) config=10000 ;;
    tls) config=tls words+=("${secure[@]}") ;;
    h2) config=tls words=(-m 32 "${secure[@]}") ;;
    *) echo "no such row: $row" >&2; exit 2 ;;
  esac
  if [[ $config == tls ]]; then
    url="https://shop.example.com/bytes?n=1024" ready="https://shop.example.com/healthz"
    tls_config
  elif [[ ! -d $work/config-$config ]]; then
    config "$config"
  fi
  rm -f "$work"/callgrind.*
  valgrind --tool=callgrind --separate-threads=yes --callgrind-out-file="$work/callgrind" \
    "$TIDEGATE" serve "$work/config-$config/tidegate.yaml" >"$work/log" 2>&1 &
  server=$!
  pids+=("$server")
  for _ in $(seq 600); do
    curl -sfk -m 60 -o /dev/null --connect-to "::127.0.0.1:$ours" "$ready" && break
    kill -0 "$server" 2>/dev/null || fail "tidegate has ended"
    sleep 0.5
  done
  load 500 "$url" "${words[@]}"
  spent warm-up "$server" >/dev/null
  load 1000 "$url" "${words[@]}"
  few=$(spent few "$server")
  load 6000 "$url" "${words[@]}"
  many=$(spent many "$server")
  kill -TERM "$server"
  wait "$server" || true
  count=$(((many - few) / 5000))
}

worst=0
for row in "${rows[@]}"; do
  measure "$row"
  ceiling=$(awk -v row="$row" '$1 == row {print $2}' benches/instructions.ceiling)
  verdict="no ceiling"
  if [[ -n $ceiling ]]; then
    verdict="ceiling $ceiling: kept"
    if ((count * 100 > ceiling * 103)); then
      verdict="ceiling $ceiling: EXCEEDED" worst=1
    elif ((count * 103 < ceiling * 100)); then
      verdict="ceiling $ceiling: lower it"
    fi
  fi
  printf '%-9s %6d instructions per request (%s)\n' "$row" "$count" "$verdict"
done
exit "$worst"
