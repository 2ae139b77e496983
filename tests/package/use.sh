#!/usr/bin/env bash
# use.sh PREFIX CXX: uses all that is installed there: the programs, their man pages and completion,
# the library as pkg-config finds it, and the migrations.
set -euo pipefail
prefix=$1 cxx=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "use.sh: $*" >&2; exit 1; }

pc=$(find "$prefix" -name outseal.pc)
export PKG_CONFIG_PATH=${pc%/*}
version=$(pkg-config --modversion outseal)
for program in outseal-migrate outseal-relay outseal-reconcile; do
  said=$("$prefix/bin/$program" --version)
  [[ $said == "$program $version" ]] || fail "$program says '$said', outseal.pc $version"
  complaints=$(groff -ww -man -Tascii -P-cbou "$prefix/share/man/man1/$program.1" \
    2>&1 >"$work/page")
  [[ -z $complaints ]] || fail "man page of $program: $complaints"
  grep -q 'EXIT STATUS' "$work/page" || fail "the man page of $program has no exit codes"
  bash -n "$prefix/share/bash-completion/completions/$program"
done

read -ra flags <<<"$(pkg-config --cflags --libs outseal)"
"$cxx" -std=c++20 "$here/stranger.cc" -o "$work/stranger" "${flags[@]}"
cat >"$work/version.cc" <<'CC'
#include <outseal/outseal.h>
#include <cstdio>
int main() { std::puts(OUTSEAL_VERSION); }
CC
"$cxx" -std=c++20 "$work/version.cc" -o "$work/version" "${flags[@]}"
said=$("$work/version")
[[ $said == "$version" ]] || fail "the headers say '$said', outseal.pc $version"

database=$work/stranger.db
cat "$prefix"/share/outseal/migrations/sqlite/*.up.sql | sqlite3 "$database"
"$prefix/bin/outseal-migrate" up --db "sqlite:$database"
id=$("$work/stranger" "$database")
stored=$(sqlite3 "$database" 'SELECT event_id FROM outseal_outbox')
[[ -n $id && $id == "$stored" ]] || fail "appended '$id', stored '$stored'"
echo "the stranger's event is stored: $id"
