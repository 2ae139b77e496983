#!/usr/bin/env bash
# hardening.sh PREFIX: checks that the programs and the library installed there were built as
# outseal_harden() in the top CMakeLists.txt says. Prints each shortcoming and ends with 1 if there
# is any.
set -euo pipefail
prefix=$1
complaints=0
complain() {
  echo "hardening: $1: $2" >&2
  complaints=$((complaints + 1))
}

# require FILE WHAT PATTERN TEXT: TEXT must have PATTERN.
require() { grep -q -e "$3" <<<"$4" || complain "$1" "$2"; }

# The compiler's own record in the debug information, one line per translation unit. Files of the C
# runtime have none.
check_units() {
  local file=$1 units unhardened flag
  local -a flags=(-fstack-protector-strong -fstack-clash-protection '-fPI[CE]')
  [[ $(uname -m) == x86_64 ]] && flags+=(-fcf-protection=full)
  units=$(readelf --debug-dump=info --dwarf-depth=1 "$file" 2>/dev/null | grep DW_AT_producer)
  [[ -n $units ]] || { complain "$file" "says nothing of how it was compiled"; return; }
  for flag in "${flags[@]}"; do
    unhardened=$(grep -c -v -e "$flag" <<<"$units") || true
    [[ $unhardened -eq 0 ]] || complain "$file" "$unhardened units were compiled without $flag"
  done
}

for name in outseal-migrate outseal-relay outseal-reconcile; do
  file=$prefix/bin/$name
  dynamic=$(readelf -dW "$file") segments=$(readelf -lW "$file")
  symbols=$(readelf --dyn-syms -W "$file")
  require "$name" "is not position-independent" 'FLAGS_1.*PIE' "$dynamic"
  require "$name" "binds symbols lazily (no BIND_NOW)" 'FLAGS_1.*NOW' "$dynamic"
  require "$name" "has no read-only relocations (RELRO)" GNU_RELRO "$segments"
  require "$name" "has an executable stack" 'GNU_STACK.* RW  ' "$segments"
  require "$name" "has no stack protector" __stack_chk_fail "$symbols"
  require "$name" "was built without _FORTIFY_SOURCE" '_chk@GLIBC' "$symbols"
  require "$name" "was built without _GLIBCXX_ASSERTIONS" glibcxx_assert_fail "$symbols"
  check_units "$file"
done

for library in "$prefix"/lib*/liboutseal.a "$prefix"/lib*/*/liboutseal.a; do
  [[ -e $library ]] || continue
  found=$library
  symbols=$(readelf -sW "$library")
  require "$library" "was built without _FORTIFY_SOURCE" '_chk$' "$symbols"
  require "$library" "was built without _GLIBCXX_ASSERTIONS" glibcxx_assert_fail "$symbols"
  check_units "$library"
done
[[ -n ${found:-} ]] || complain "$prefix" "there is no liboutseal.a"
[[ $complaints -eq 0 ]] && echo "the installed programs and the library are hardened"
