#!/usr/bin/env bash
# Services in Python and C++ share the records of operations with effects: one begins a payment and
# dies, the other resumes it, in each order; the provider's ledger then has every payment once.
#
#   with_postgres languages_test.sh PAYMENTS.PY BIN
#
# BIN is the folder with payment_service and outseal-migrate.
set -euo pipefail
example=$(realpath "$1") bin=$(realpath "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

for python in python3 /usr/bin/python3 ''; do
  [[ -n $python ]] || {
    echo "SKIPPED: examples/payments.py: no Python has psycopg2 (Debian: python3-psycopg2)" >&2
    exit 77
  }
  "$python" -c 'import psycopg2' 2>/dev/null && break
done

fail() { echo "FAILED: $*" >&2; cat ledger >&2; exit 1; }
expect() { [[ $2 == "$1" ]] || fail "expected '$1', got '$2'"; }
sql() { psql -AtXqc "$1"; }

"$bin/outseal-migrate" up --db "$OUTSEAL_TEST_PG" >/dev/null
sql "CREATE TABLE payment (key text PRIMARY KEY, amount bigint NOT NULL);
     CREATE ROLE shop LOGIN PASSWORD '$PGPASSWORD' IN ROLE outseal_producer;
     GRANT INSERT ON payment TO shop"
in_python() { PGUSER=shop "$python" "$example" ledger "$@"; }
in_cpp() { PGUSER=shop "$bin/payment_service" ledger "$@"; }

count=0
for first in in_python in_cpp; do
  for second in in_python in_cpp; do
    for death in die-before-call die-after-call; do
      # A UUIDv7 too, whose hash begins with its time.
      key=$first-$second-$death
      [[ $death == die-after-call ]] || key=0189dc1a-5b6e-7cc2-8f43-00000000000$count
      count=$((count + 1))
      code=0; "$first" "$key" 500 "$death" || code=$?
      expect 9 "$code"
      expect '409 in_progress' "$("$second" "$key" 500)"
      expect '422 mismatch' "$("$second" "$key" 501)"
      # As if the lease had ended.
      sql "UPDATE outseal.idempotency SET lease_until = clock_timestamp()
           WHERE state = 'in_progress'"
      answer=$("$second" "$key" 500)
      expect "201 {\"charge\": \"ch_$count\"}" "$answer"
      expect "$answer" "$("$first" "$key" 500)"
    done
  done
done
expect "$count" "$(wc -l <ledger)"
expect "$count" "$(sort -u ledger | wc -l)"
expect "$count|$((count * 500))" "$(sql 'SELECT count(*), sum(amount) FROM payment')"
expect "$count" "$(sql 'SELECT count(*) FROM outseal.outbox')"
expect confirmed "$(sql 'SELECT DISTINCT state FROM outseal.effect')"
echo "$count payments, begun and resumed in two languages: each charged once"
