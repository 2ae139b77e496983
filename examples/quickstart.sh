#!/usr/bin/env bash
# The whole of outseal in one go, on SQLite and a file, in two acts: a payment service, the relay
# and the reconciler, with service and relay killed by SIGKILL in the middle of their work, twice;
# then a service that charges cards at a provider, both of which die again and again.
#
#   examples/quickstart.sh             installs what is missing (Debian 12), builds, runs
#   examples/quickstart.sh --bin DIR   runs the programs in DIR, in a temporary folder
#
# Every number that it prints is counted in the database and in the published file, and compared
# with what the request file demands. The exit code is 0 only if all of them are right.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requests=$root/examples/requests.tsv
readonly requests_per_second=400 kills=2 run_seconds_max=300

main() {
  case "${1:-}" in
    "") build_programs ;;
    --bin) use_programs "${2:?--bin needs a folder}" ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
  esac
  cd "$work"
  expect_from_requests
  deadline=$((SECONDS + run_seconds_max))

  say "schema: outseal-migrate up"
  "$bin/outseal-migrate" up --db sqlite:shop.db >migrate.log 2>&1 || fail "migrate" migrate.log
  for ((kill = 1; kill <= kills; ++kill)); do
    start_relay
    start_service
    kill_in_the_middle "$kill"
  done
  start_relay
  start_service
  say "service: started again from the first request, now to the end"
  wait "$service" || fail "the service" service.log
  service=
  kill -TERM "$relay"
  wait "$relay" || fail "the relay, asked to stop," relay.log
  relay=
  say "relay: draining"
  "$bin/outseal-relay" run --drain "${relay_options[@]}" >>relay.log 2>&1 ||
    fail "draining" relay.log
  say "reconciler: comparing database and file"
  "$bin/outseal-reconcile" run --db sqlite:shop.db >reconcile.log 2>&1 ||
    fail "reconciling" reconcile.log
  count
  report
  charge_cards
  report_charges
  [[ $wrong -eq 0 ]] || give_up
  say "all numbers right, after $((2 * kills + server_kills)) kills"
}

say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }

fail() {
  echo "quickstart: $1 failed" >&2
  [[ $# -lt 2 ]] || tail -n 20 "$2" >&2
  exit 1
}

build_programs() {
  "$root/tests/support/install_packages.sh" build
  local build=$root/build/quickstart
  bin=$build/bin work=$build/run
  mkdir -p "$build"
  say "build: compiling into build/quickstart"
  { cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DOUTSEAL_TESTS=OFF &&
    cmake --build "$build" --parallel "$(nproc)"; } >"$build/build.log" 2>&1 ||
    fail "the build" "$build/build.log"
  rm -rf "$work"
  mkdir -p "$work"
}

use_programs() {
  bin=$(cd "$1" && pwd)
  work=$(mktemp -d)
  temporary=$work
}

service= relay= temporary=
clean_up() {
  stop_running
  [[ -z $service ]] || kill -KILL "$service" 2>/dev/null || true
  [[ -z $relay ]] || kill -KILL "$relay" 2>/dev/null || true
  [[ -z $temporary ]] || rm -rf "$temporary"
}
trap clean_up EXIT

# What the requests demand, by the file alone. An operation is a client's key; each further body
# under the same key has to be refused; lost cards and amounts above the opening balance fail.
expect_from_requests() {
  eval "$(awk -F '\t' '
    /^#/ { next }
    { ++requests; operation = $1 FS $2; body = operation FS $3 FS $4 FS $5 FS $6 FS $7 }
    !(operation in operations) { operations[operation]; ++distinct_operations }
    !(body in bodies) { bodies[body]; ++distinct_bodies }
    ($7 ~ /^tok_lost_/ || $5 > 2000000) && !(operation in failures) {
      failures[operation]; ++failed }
    END {
      printf "want_requests=%d want_refused=%d want_failed=%d want_executed=%d\n", requests,
        distinct_bodies - distinct_operations, failed, distinct_operations - failed }
  ' "$requests")"
}

relay_options=(--db sqlite:shop.db --sink file:events.ndjson)

start_relay() {
  "$bin/outseal-relay" run "${relay_options[@]}" >>relay.log 2>&1 &
  relay=$!
}

start_service() {
  "$bin/order_service" shop.db "$requests" 4 "$requests_per_second" >>service.log 2>&1 &
  service=$!
}

payments() { sqlite3 -readonly shop.db 'SELECT count(*) FROM payment' 2>/dev/null || echo 0; }
# The active file and, if there were any, the rotated ones.
published_files() { cat events.ndjson events.ndjson.[0-9]* 2>/dev/null || true; }
published() { published_files | wc -l; }

# Kills the service once the N-th share of the payments is made, and the relay as soon as it has
# published something since it was started, which mostly is the same moment.
kill_in_the_middle() {
  local goal=$((want_executed * $1 / (kills + 1))) published_before made
  published_before=$(published)
  until [[ $(payments) -ge $goal ]]; do wait_for "$service" "the service" service.log; done
  stop_dead service
  until [[ $(published) -gt $published_before ]]; do wait_for "$relay" "the relay" relay.log; done
  stop_dead relay
  made=$(payments)
  [[ $made -lt $want_executed ]] || fail "killing in the middle (all payments were made)"
  say "SIGKILL to service and relay: $made of $want_executed payments made," \
    "$(published) events published"
}

# stop_dead service|relay: SIGKILL, and bash's own word on it is swallowed.
stop_dead() {
  kill -KILL "${!1}"
  wait "${!1}" 2>/dev/null || true
  printf -v "$1" ''
}

# wait_for PID NAME LOG: a short pause, as long as the process lives and there is time.
wait_for() {
  kill -0 "$1" 2>/dev/null || fail "$2" "$3"
  [[ $SECONDS -lt $deadline ]] || fail "waiting for $2"
  sleep 0.02
}

count() {
  published_files >published.ndjson
  eval "$(sqlite3 shop.db <<'SQL'
CREATE TEMP TABLE line (json TEXT);
.mode ascii
.separator "\037" "\n"
.import published.ndjson line
.mode list
.separator " "
CREATE TEMP TABLE event AS
  SELECT json_extract(json, '$.id') AS id, json_extract(json, '$.type') AS type,
         json_extract(json, '$.subject') AS account,
         json_extract(json, '$.data.amount_minor') AS amount_minor
    FROM line;
WITH number (name, value) AS (VALUES
  ('executed', (SELECT count(*) FROM outseal_idempotency WHERE state = 'succeeded')),
  ('failed',   (SELECT count(*) FROM outseal_idempotency WHERE state = 'failed')),
  ('answered', (SELECT count(DISTINCT request) FROM answer)),
  ('refused',  (SELECT count(DISTINCT request) FROM answer WHERE outcome = 'mismatch')),
  ('replayed', (SELECT count(*) FROM answer WHERE outcome = 'replayed')),
  ('answers',  (SELECT count(*) FROM answer)),
  ('payments', (SELECT count(*) FROM payment)),
  ('reviews',  (SELECT count(*) FROM payment WHERE amount_minor >= 50000)),
  ('spent',    (SELECT sum(2000000 - balance_minor) FROM account)),
  ('paid',     (SELECT sum(amount_minor) FROM payment)),
  ('told',     (SELECT sum(amount_minor) FROM event WHERE type = 'payment.captured')),
  ('events',   (SELECT count(*) FROM event)),
  ('duplicates', (SELECT count(*) - count(DISTINCT id) FROM event)),
  ('missing',  (SELECT count(*) FROM outseal_outbox WHERE event_id NOT IN (SELECT id FROM event))),
  ('ghosts',   (SELECT count(*) FROM event WHERE id NOT IN (SELECT event_id FROM outseal_outbox))),
  ('findings', (SELECT count(*) FROM outseal_finding WHERE state = 'open')))
SELECT name || '=' || value FROM number;
SQL
)"
}

wrong=0
# row NAME VALUE WANTED TEXT: prints the number and remembers if it is wrong.
row() {
  local verdict=
  [[ $2 == "$3" ]] || { verdict="  <-- wrong, should be $3"; wrong=1; }
  printf '  %-20s %8s   %s%s\n' "$1" "$2" "$4" "$verdict"
}

report() {
  echo
  row "requests" "$answered" "$want_requests" "in the file, with client retries and duplicates"
  row "executed" "$executed" "$want_executed" "one payment per idempotency key"
  row "failed" "$failed" "$want_failed" "card declined or no money: stored, no event"
  row "refused" "$refused" "$want_refused" "a key reused with another amount"
  row "replayed" "$replayed" "$replayed" "of $answers answers, given again from the record"
  row "payments" "$payments" "$executed" "business rows"
  row "events published" "$events" "$((payments + reviews))" "one a payment, two a large one"
  row "duplicates" "$duplicates" 0 "events published twice"
  row "missing" "$missing" 0 "events committed, but not published"
  row "ghosts" "$ghosts" 0 "events published, but not committed"
  row "findings" "$findings" 0 "of the reconciler"
  row "cents paid" "$paid" "$spent" "by the payments; the accounts have spent as much"
  row "cents published" "$told" "$paid" "by the events"
  echo
  [[ $wrong -eq 0 ]] || give_up
}

give_up() {
  say "a number is wrong (database, file and logs: $work)"
  temporary=
  exit 1
}

# --- the second act: charges outside the database ------------------------------------------------

readonly clients=4 payments_of_a_client=12

# A port that nobody listens on.
free_port() {
  local port
  until port=$(shuf -n 1 -i 20000-32000) && ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    :
  done
  echo "$port"
}

# keep_running NAME COMMAND...: starts it again whenever it dies, until NAME.stop is there.
keep_running() {
  local name=$1
  shift
  until [[ -e $name.stop ]]; do
    "$@" >>"$name.log" 2>&1 &
    echo $! >"$name.pid"
    wait $! 2>/dev/null || true
    sleep 0.05
  done 2>/dev/null
}

# A keeper may be between two processes, its pid file still with the old one: kill until it ends.
declare -A keepers=()
stop_running() {
  local name
  for name in "${!keepers[@]}"; do
    touch "$name.stop"
    while kill -0 "${keepers[$name]}" 2>/dev/null; do
      kill -KILL "$(cat "$name.pid")" 2>/dev/null || true
      sleep 0.02
    done
  done
  keepers=()
}

# Each client sends each of its payments four times, two at once, and tries again as it is told to.
# Every seventh card is declined.
send_payments() {
  local client=$1 payment
  for ((payment = 1; payment <= payments_of_a_client; ++payment)); do
    local account=account-$client-$payment
    ((payment % 7 != 0)) || account+=-declined
    echo "{\"path\": \"/payments\", \"body\": \"$account $((payment * 100 + client)) EUR\"}"
  done >"client$client.ndjson"
  "$bin/outseal-reconcile" replay-check --url "http://127.0.0.1:$port" --timeout-ms 120000 \
    --requests "client$client.ndjson" --times 4 --concurrency 2 >"client$client.log" 2>&1
}

server_kills=0
charge_cards() {
  say "second act: a service that charges cards at a provider; both die again and again"
  "$bin/outseal-migrate" up --db sqlite:payments.db >>migrate.log 2>&1 || fail "migrate" migrate.log
  local provider_port client running=()
  port=$(free_port) provider_port=$(free_port)
  keep_running provider "$bin/payments_provider" ledger.db "$provider_port" &
  keepers[provider]=$!
  keep_running server "$bin/payments_server" payments.db "$port" "$provider_port" &
  keepers[server]=$!
  until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.02; done
  for ((client = 1; client <= clients; ++client)); do
    send_payments "$client" &
    running+=($!)
  done
  while kill -0 "${running[@]}" 2>/dev/null; do
    sleep 0.7
    kill -KILL "$(cat server.pid)" 2>/dev/null || continue
    server_kills=$((server_kills + 1))
    [[ $SECONDS -lt $deadline ]] || fail "charging cards" server.log
  done
  for client in "${running[@]}"; do
    wait "$client" || fail "a client (answers differ)" "client1.log"
  done
  stop_running
}

report_charges() {
  local sent=$((clients * payments_of_a_client)) declined=$((clients * (payments_of_a_client / 7)))
  local ledger shop
  ledger=$(sqlite3 -separator ' ' ledger.db "SELECT count(*), count(DISTINCT request),
    sum(status = 201) FROM charge")
  shop=$(sqlite3 -separator ' ' payments.db "SELECT (SELECT count(*) FROM payment),
    (SELECT count(*) FROM outseal_outbox),
    (SELECT count(*) FROM outseal_idempotency WHERE state NOT IN ('succeeded', 'failed'))")
  local charges requests charged rows events left
  read -r charges requests charged <<<"$ledger"
  read -r rows events left <<<"$shop"
  echo
  row "payments asked for" "$requests" "$sent" "each four times, with retries, by $clients clients"
  row "charges" "$charges" "$sent" "in the provider's own ledger"
  row "charged twice" "$((charges - requests))" 0 "by the same ledger"
  row "applied" "$charged" "$((sent - declined))" "the other cards were declined"
  row "payments" "$rows" "$charged" "business rows"
  row "events" "$events" "$charged" "one a payment"
  row "left over" "$left" 0 "operations without an outcome"
  echo
}

main "$@"
