#!/usr/bin/env bash
# Runs a test on a PostgreSQL server of another version than the machine's:
#
#   on_postgres.sh FOLDER VERSION COMMAND ARGUMENT...
#
# FOLDER is where fetch_postgres.sh puts them. The exit code is the command's, or 77 if there is no
# such server that can be used: ctest then counts the test as skipped, by name.
set -euo pipefail
folder=$1 version=$2
shift 2
programs=$folder/$version/bin

skip() { echo "SKIPPED: PostgreSQL $version: $1"; exit 77; }

[[ -x $programs/postgres ]] ||
  skip "not in $folder; tests/support/fetch_postgres.sh $folder $version fetches it"
# As root, the server is run by a user who may read less; see support/program.cc.
as_server=()
if [[ $(id -u) -eq 0 ]]; then
  user=$(id -u postgres 2>/dev/null || id -u nobody)
  as_server=(setpriv --reuid "$user" --clear-groups)
fi
"${as_server[@]}" "$programs/postgres" --version >/dev/null 2>&1 ||
  skip "$programs/postgres cannot be run by the user of the tests' servers"
export OUTSEAL_POSTGRES=$programs OUTSEAL_POSTGRES_VERSION=$version
exec "$@"
