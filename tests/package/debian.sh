#!/usr/bin/env bash
# debian.sh BUILD_DIR CXX: makes the Debian packages of BUILD_DIR, checks what they depend on and
# where their files are, installs them below a folder of its own and uses them there.
set -euo pipefail
build=$1 cxx=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "debian.sh: $*" >&2; exit 1; }

# Everything is built: for this generator cpack does not have it built again.
cpack -G DEB -B "$work" --config "$build/CPackConfig.cmake" -D CPACK_CMAKE_GENERATOR=Ninja \
  >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
tools=$(find "$work" -maxdepth 1 -name 'outseal-tools_*.deb')
dev=$(find "$work" -maxdepth 1 -name 'liboutseal-dev_*.deb')

# depends PACKAGE NAME...: it depends on these packages, and no other of ours.
depends() {
  local package=$1 on
  on=$(dpkg-deb --field "$package" Depends)
  shift
  for name in "$@"; do
    [[ ", $on," =~ ", $name"[\ ,] ]] || fail "$package does not depend on $name: $on"
  done
}
depends "$tools" libc6 libstdc++6 libpq5 libsqlite3-0
depends "$dev" libpq-dev libsqlite3-dev libssl-dev libsoci-dev libboost-dev

# Each file is in the package where it belongs.
names() { dpkg-deb --fsys-tarfile "$1" | tar -t | grep -v '/$' | sed 's/^\.//' | sort; }
own_tools='^/usr/(bin/outseal-|share/(man/man1|bash-completion|outseal/migrations)/)'
own_dev='^/usr/(include/outseal/|lib/)'
strays=$(names "$tools" | grep -vE "$own_tools"; names "$dev" | grep -vE "$own_dev") || true
[[ -z $strays ]] || fail "files in the wrong package: $strays"

for package in "$tools" "$dev"; do
  dpkg-deb --extract "$package" "$work/root"
done
"$here/use.sh" "$work/root/usr" "$cxx"
if command -v lintian >/dev/null; then
  lintian --fail-on error --suppress-tags no-copyright-file,no-changelog "$tools" "$dev"
fi
