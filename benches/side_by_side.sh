#!/usr/bin/env bash
# CPU per request of tidegate and nginx, side by side: the same backend, the same load, interleaved rounds, medians.
#
#   benches/side_by_side.sh [ROUNDS [SECONDS]]          default: 5 rounds of 10 s each
#
# Backend and load generator share the cores with the proxy, so requests per second say little; what counts is the CPU time
# (user + system, from /proc/PID/stat) of the proxy's processes, per request. tidegate runs with what it ships: all limits,
# timeouts and metrics on, the access log off; nginx with its usual tuning (upstream keep-alive, access log off).
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} seconds=${2:-10}
for tool in nginx wrk cargo curl; do
  command -v "$tool" >/dev/null || { echo "missing: $tool (apt-get install nginx-light wrk curl)" >&2; exit 2; }
done
cargo build --release --quiet
tidegate=${CARGO_TARGET_DIR:-target}/release/tidegate
work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

port=$((20000 + RANDOM % 8000))
backend=$port nginx=$((port + 1)) ours=$((port + 2))
body=$(head -c 1024 /dev/zero | tr '\0' x)

common() { # NAME
  mkdir -p "$work/$1"
  cat <<CONF
worker_processes auto; daemon off; pid $work/$1/pid; error_log stderr error;
events { worker_connections 4096; multi_accept on; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path $work/$1/b; proxy_temp_path $work/$1/p; fastcgi_temp_path $work/$1/f; uwsgi_temp_path $work/$1/u; scgi_temp_path $work/$1/s;
CONF
}
{ common backend
  echo "  server { listen 127.0.0.1:$backend; location / { default_type text/plain; return 200 \"$body\"; } } }"
} >"$work/backend.conf"
{ common nginx
  cat <<CONF
  upstream fixed { server 127.0.0.1:$backend; keepalive 256; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:$nginx; location / {
    proxy_pass http://fixed; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host \$host;
    proxy_set_header X-Forwarded-For \$remote_addr; proxy_set_header X-Forwarded-Proto \$scheme; proxy_set_header X-Forwarded-Host \$http_host; } }
}
CONF
} >"$work/nginx.conf"
mkdir -p "$work/tidegate/services"
echo "listen: {http: 127.0.0.1:$ours}" >"$work/tidegate/tidegate.yaml"
echo "versions: {bench-001: {urls: [\"http://127.0.0.1:$backend\"]}}" >"$work/tidegate/services/bench.yaml"

nginx -c "$work/backend.conf" 2>/dev/null & pids+=($!)
nginx -c "$work/nginx.conf" 2>/dev/null & pids+=($!); nginx_pid=$!
"$tidegate" serve "$work/tidegate/tidegate.yaml" 2>"$work/log" & pids+=($!); tidegate_pid=$!

ready() { # PORT
  for _ in $(seq 200); do
    curl -sf -o /dev/null -H 'Host: bench.localhost' "http://127.0.0.1:$1/" && return
    sleep 0.05
  done
  echo "nothing answers on port $1" >&2; cat "$work/log" >&2; exit 1
}
for p in "$backend" "$nginx" "$ours"; do ready "$p"; done

ticks=$(getconf CLK_TCK)
cpu() { # PID: clock ticks of a process and its children
  local pid=$1 sum=0 p t
  for p in "$pid" $(cat "/proc/$pid/task/"*/children 2>/dev/null); do
    t=$(sed 's/.*) //' "/proc/$p/stat" | awk '{print $12 + $13}')
    sum=$((sum + t))
  done
  echo "$sum"
}
round() { # NAME PID PORT
  local before after out requests errors rps p99
  before=$(cpu "$2")
  out=$(wrk -t2 -c64 -d"${seconds}s" --latency -H 'Host: bench.localhost' "http://127.0.0.1:$3/")
  after=$(cpu "$2")
  requests=$(awk '/requests in/ {print $1}' <<<"$out")
  errors=$(awk '/Socket errors|Non-2xx/ {print; found=1} END {if (!found) print "none"}' <<<"$out" | tr '\n' ' ')
  rps=$(awk '/Requests\/sec/ {print $2}' <<<"$out")
  p99=$(awk '$1 == "99%" {print $2}' <<<"$out")
  awk -v n="$1" -v c=$((after - before)) -v t="$ticks" -v r="$requests" -v s="$rps" -v p="$p99" -v e="$errors" \
    'BEGIN {printf "%-9s %7.2f us CPU/request  %9.0f requests/s  p99 %8s  errors: %s\n", n, c / t * 1e6 / r, s, p, e}' | tee -a "$work/rounds"
}
for ((i = 0; i < rounds; i++)); do
  round nginx "$nginx_pid" "$nginx"
  round tidegate "$tidegate_pid" "$ours"
done
median() { awk -v n="$1" '$1 == n {print $2}' "$work/rounds" | sort -n | awk '{a[NR]=$1} END {print a[int((NR + 1) / 2)]}'; }
echo "medians: nginx $(median nginx) us, tidegate $(median tidegate) us, ratio $(awk -v a="$(median tidegate)" -v b="$(median nginx)" 'BEGIN {printf "%.2f", a / b}')  ($(nginx -v 2>&1), $("$tidegate" --version))"
if grep -qv 'errors: none' "$work/rounds"; then echo "there were errors" >&2; exit 1; fi
