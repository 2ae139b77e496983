#!/usr/bin/env bash
# Installs the Debian 12 packages that a task needs and that are missing. Needs root or sudo, and a
# network, only if there is something to install.
#
#   install_packages.sh build      what the library, the programs and the examples are built with
#   install_packages.sh tests      that, and what tests/run.sh needs
set -euo pipefail

# libboost-dev: SOCI's headers include Boost's, but Debian's libsoci-dev does not depend on it.
build=(g++ cmake ninja-build libsoci-dev libboost-dev libsqlite3-dev libpq-dev libssl-dev
       libcli11-dev libspdlog-dev libtomlplusplus-dev libsimdjson-dev nlohmann-json3-dev sqlite3
       libcurl4-openssl-dev libnats-dev pkg-config libcpp-httplib-dev)
tests=("${build[@]}" doctest-dev clang libclang-rt-14-dev clang-tidy clang-format
       postgresql pgbouncer nats-server groff-base dpkg-dev python3-psycopg2)

case "${1:-}" in
  build) wanted=("${build[@]}") ;;
  tests) wanted=("${tests[@]}") ;;
  *) echo "usage: install_packages.sh build|tests" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

echo "installing: ${missing[*]}"
as_root=(env DEBIAN_FRONTEND=noninteractive)
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || {
    echo "these packages are missing, and neither root nor sudo is at hand: ${missing[*]}" >&2
    exit 2
  }
  as_root=(sudo "${as_root[@]}")
fi

# Debian's servers would be running from now on. Tests start their own, so these two files keep
# the installation from creating a cluster and from starting services; both are gone at the end.
no_cluster=/etc/postgresql-common/createcluster.d/outseal.conf
no_services=/usr/sbin/policy-rc.d
added=()
trap '[[ ${#added[@]} -eq 0 ]] || "${as_root[@]}" rm -f "${added[@]}"' EXIT
if [[ " ${missing[*]} " =~ " postgresql " ]]; then
  added+=("$no_cluster")
  echo 'create_main_cluster = false' | "${as_root[@]}" install -D -m 644 /dev/stdin "$no_cluster"
fi
with_service=' (postgresql|pgbouncer|nats-server) '
if [[ " ${missing[*]} " =~ $with_service && ! -e $no_services ]]; then
  added+=("$no_services")
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$no_services"
fi

"${as_root[@]}" apt-get -qq -o Acquire::Retries=3 update
"${as_root[@]}" apt-get -qq -y --no-install-recommends -o Acquire::Retries=3 \
  -o Dpkg::Use-Pty=0 install "${missing[@]}" >/dev/null
