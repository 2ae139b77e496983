#!/usr/bin/env bash
# examples_test.sh BIN_DIR: runs the small examples and checks what they did and printed.
set -euo pipefail
bin=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# same WHAT ACTUAL EXPECTED
same() {
  [[ $2 == "$3" ]] && return
  printf '%s differs\n--- is\n%s\n--- should be\n%s\n' "$1" "$2" "$3" >&2
  exit 1
}

# Without a schema the example says what to do, and the business row is not charged either.
status=0
"$bin/01_append" shop.db 2>error.txt || status=$?
same "exit code without schema" "$status" 3
grep -q outseal-migrate error.txt || { cat error.txt >&2; exit 1; }
same "balance without schema" "$(sqlite3 shop.db 'SELECT balance FROM account')" 100

"$bin/outseal-migrate" up --db sqlite:shop.db >/dev/null 2>&1
"$bin/01_append" shop.db >/dev/null
same "01_append" "$(sqlite3 shop.db 'SELECT balance, topic, key, type, payload
                                       FROM account, outseal_outbox')" \
  '95|payments|account-7|payment.charged|{"account": 7, "amount": 5}'

# The other service bills what the relay has carried to it, once.
"$bin/outseal-migrate" up --db sqlite:billing.db >/dev/null 2>&1
for run in first second; do
  "$bin/outseal-relay" run --db sqlite:shop.db --sink sqlite:billing.db --drain >/dev/null 2>&1
  "$bin/03_inbox" billing.db >"$run.txt"
done
same "03_inbox" "$(cat first.txt second.txt)" 'billed 1 event
billed 0 events'
same "invoices" "$(sqlite3 billing.db 'SELECT * FROM invoice')" \
  '1|account-7|payment.charged|{"account": 7, "amount": 5}'

same "02_execute, first run" "$("$bin/02_execute" shop.db)" \
  'key-1 pays 30: executed, 201 {"paid": 30}
key-1 pays 30: replayed, 201 {"paid": 30}
key-1 pays 31: mismatch
key-2 pays 500: executed, 402 {"error": "insufficient_funds"}
key-2 pays 500: replayed, 402 {"error": "insufficient_funds"}'
same "02_execute, second run" "$("$bin/02_execute" shop.db | cut -d: -f2- | sort -u)" \
  ' mismatch
 replayed, 201 {"paid": 30}
 replayed, 402 {"error": "insufficient_funds"}'
same "04_observe" "$("$bin/04_observe" shop.db)" \
  'orders_executed 1
orders_replayed 2
orders_failed 1
events_appended 3
commits 1
commits_failed 0'
same "events of both" "$(sqlite3 shop.db 'SELECT key FROM outseal_outbox ORDER BY seq')" \
  'account-7
account-8
order-1
order-1
order-1'
