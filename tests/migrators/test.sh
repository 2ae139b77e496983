#!/usr/bin/env bash
# test.sh TOOL BIN_DIR MIGRATIONS FOLDER: applies the installed files with another migration tool
# (psql, sqlite3, golang-migrate, dbmate or alembic), takes them back and applies them again;
# outseal's programs must go on from each state. A tool that this machine does not have is fetched
# into FOLDER once. Where that fails, it says so and ends with 77, which ctest shows as skipped.
#
# Beside a PostgreSQL server of its own, which PGHOST and its like name (with_postgres).
set -euo pipefail
tool=$1 bin=$(realpath "$2") files=$(realpath "$3") folder=$4/$1
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
db=postgresql:///shop
url="postgres://$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/shop?sslmode=disable"

skip() {
  echo "SKIPPED: the migrations are not applied with $tool: $1" >&2
  exit 77
}
need() { command -v "$1" >/dev/null || skip "there is no $1"; }

fetch() {
  case $tool in
    golang-migrate)
      GOBIN=$folder timeout 600 go install -tags postgres \
        github.com/golang-migrate/migrate/v4/cmd/migrate@v4.18.1 ;;
    dbmate) GOBIN=$folder timeout 600 go install github.com/amacneil/dbmate/v2@v2.23.0 ;;
    alembic) timeout 300 python3 -m pip install --target "$folder" alembic psycopg2-binary ;;
  esac && touch "$folder/ready"
}

run_files() {  # run_files FILE...
  for file in "$@"; do
    case $tool in
      psql) psql -qX1v ON_ERROR_STOP=1 -f "$file" ;;
      sqlite3) sqlite3 -bail "$work/shop.db" <"$file" ;;
    esac
  done
}
run_migrate() { "$folder/migrate" -path "$files/postgresql" -database "$url" "$@"; }
run_dbmate() { "$folder/dbmate" --url "$url" --no-dump-schema -d "$work/dbmate" "$1"; }

apply() {
  case $tool in
    psql) run_files "$files"/postgresql/*.up.sql ;;
    sqlite3) run_files "$files"/sqlite/*.up.sql ;;
    golang-migrate) run_migrate up ;;
    dbmate) run_dbmate migrate ;;
    alembic) (cd "$work/alembic" && python3 -m alembic upgrade head) ;;
  esac
}
revert() {
  case $tool in
    psql) run_files $(ls -r "$files"/postgresql/*.down.sql) ;;
    sqlite3) run_files $(ls -r "$files"/sqlite/*.down.sql) ;;
    golang-migrate) run_migrate down -all ;;
    dbmate) for _ in "$work"/dbmate/*; do run_dbmate rollback; done ;;
    alembic) (cd "$work/alembic" && python3 -m alembic downgrade base) ;;
  esac
}

# Its own form of a project, made of the files as they are.
prepare() {
  case $tool in
    sqlite3) db=sqlite:$work/shop.db ;;
    dbmate)
      mkdir "$work/dbmate"
      for up in "$files"/postgresql/*.up.sql; do
        { echo '-- migrate:up'; cat "$up"; echo '-- migrate:down'; cat "${up%.up.sql}.down.sql"; } \
          >"$work/dbmate/$(basename "${up%.up.sql}").sql"
      done ;;
    alembic)
      export PYTHONPATH=$folder
      (cd "$work" && python3 -m alembic init alembic >/dev/null && mv alembic.ini alembic/)
      sed -i "s|^sqlalchemy.url.*|sqlalchemy.url = ${url/postgres:/postgresql+psycopg2:}|;
              s|^script_location.*|script_location = .|" "$work/alembic/alembic.ini"
      local before=None number
      for up in "$files"/postgresql/*.up.sql; do
        number=$(basename "$up" | cut -c1-4)
        cat >"$work/alembic/versions/$number.py" <<PYTHON
from alembic import op
revision, down_revision = "$number", $before
def upgrade(): op.execute(open("$up").read())
def downgrade(): op.execute(open("${up%.up.sql}.down.sql").read())
PYTHON
        before="\"$number\""
      done ;;
  esac
}

goes_on() {
  [[ $("$bin/outseal-migrate" up --db "$db" 2>/dev/null) == "nothing to do, version "* ]]
  "$bin/outseal-relay" status --db "$db" >/dev/null
  [[ $("$bin/outseal-migrate" adopt --db "$db") == "nothing to do, version "* ]]
}

case $tool in
  psql | sqlite3) need "$tool" ;;
  golang-migrate | dbmate) need go ;;
  alembic) need python3 ;;
esac
if [[ $tool != psql && $tool != sqlite3 && ! -e $folder/ready ]]; then
  (fetch) >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; skip "it cannot be fetched"; }
fi
prepare
apply
goes_on
revert
"$bin/outseal-migrate" up --db "$db" >"$work/out" 2>/dev/null
grep -q '^applied 0001_outbox' "$work/out"
"$bin/outseal-migrate" down --db "$db" --to 0 >/dev/null
if [[ $tool == psql || $tool == sqlite3 ]]; then  # The others remember for themselves.
  apply
  goes_on
fi
echo "$tool applies the files and takes them back, and outseal goes on"
