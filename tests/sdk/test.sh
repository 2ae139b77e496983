#!/usr/bin/env bash
# test.sh SDK BIN_DIR FOLDER: publishes events to a file and reads the lines with the CloudEvents
# SDK for python, javascript or go, which is fetched into FOLDER once. Where that fails, it says so
# and ends with 77, which ctest shows as skipped.
set -euo pipefail
sdk=$1 bin=$(realpath "$2") folder=$3/$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export SDK_FOLDER=$folder
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip() {
  echo "SKIPPED: published lines are not read with the CloudEvents SDK for $sdk: $1" >&2
  exit 77
}
need() { command -v "$1" >/dev/null || skip "there is no $1"; }

fetch() {
  cd "$folder"
  case $sdk in
    python) timeout 200 python3 -m pip install --target . cloudevents==2.2.0 ;;
    javascript) timeout 200 npm install --no-fund --no-audit --prefix . cloudevents@10.0.0 ;;
    go)
      cp "$here/read_go.go" main.go
      rm -f go.mod go.sum
      go mod init read && timeout 200 go get github.com/cloudevents/sdk-go/v2@v2.16.2 &&
        timeout 300 go build -o read main.go
      ;;
  esac && touch ready
}

need python3
case $sdk in
  python) read_lines=(env PYTHONPATH="$folder" python3 "$here/read_python.py") ;;
  javascript) need npm && read_lines=(node "$here/read_javascript.mjs") ;;
  go) need go && read_lines=("$folder/read") ;;
esac
if [[ ! -e $folder/ready || $here/read_go.go -nt $folder/ready ]]; then
  (fetch) >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; skip "it cannot be fetched"; }
fi

# Not among the payloads, because the SDK for Go reads them otherwise: JSON that is a string, and
# JSON under another type than application/json.
cd "$work"
"$bin/outseal-migrate" up --db sqlite:shop.db >/dev/null
sqlite3 shop.db <<'SQL'
INSERT INTO outseal_outbox (topic, key, type, content_type, headers, payload) VALUES
  ('orders', 'k1', 'paid', 'application/json', '{}', '{"amount":1.5,"list":[1,"a",{}]}'),
  ('orders', '', 'paid', 'application/json', '{"tenant":"eu"}', '[1]'),
  ('orders', 'Zürich €', 'paid', 'application/json', '{"X-Id":"1","zone":"b"}', 'true'),
  ('orders/eu', 'k"\', 'payé', 'text/plain', '{"id":"mine","headers":"h","a":""}', 'one
two'),
  ('photos', 'k2', 'taken', 'image/png', '{"a":{"b":[1e3]},"c":"1","c":"2"}', X'00ff10'),
  ('orders', 'k3', 'traced', 'application/json; charset=utf-8',
   '{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"a=1"}',
   '123456789'),
  ('orders', 'k4', 'broken', 'application/json', '{}', X'7b00');
SQL
"$bin/outseal-relay" run --db sqlite:shop.db --sink file:events.ndjson --drain >/dev/null 2>log ||
  { cat log >&2; exit 1; }
[[ $(wc -l <events.ndjson) -eq 7 ]] || { echo "not all events were published" >&2; exit 1; }
python3 "$here/lines.py" <events.ndjson >expected
"${read_lines[@]}" <events.ndjson >got
diff expected got
echo "the CloudEvents SDK for $sdk reads $(wc -l <got) lines and loses nothing"
