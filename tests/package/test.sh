#!/usr/bin/env bash
# test.sh BUILD_DIR CXX: installs BUILD_DIR into a temporary prefix, checks how that was built,
# builds the stranger's project against it and runs both it and the installed programs.
set -euo pipefail
build=$1 cxx=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
"$here/hardening.sh" "$work/prefix"
"$here/use.sh" "$work/prefix" "$cxx"

cmake -S "$here" -B "$work/build" -G Ninja -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/configure.log"
cmake --build "$work/build" >"$work/build.log" || { cat "$work/build.log"; exit 1; }

database=$work/stranger.db
"$work/prefix/bin/outseal-migrate" up --db "sqlite:$database"
id=$("$work/build/stranger" "$database")
stored=$(sqlite3 "$database" 'SELECT event_id FROM outseal_outbox')
[[ -n $id && $id == "$stored" ]] || { echo "appended '$id', stored '$stored'" >&2; exit 1; }
echo "the stranger's event is stored: $id"
