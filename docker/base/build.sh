#!/usr/bin/env bash
# Images made on this machine, for where none can be pulled: servers from Debian's packages, dbproxy from a local build.
#
#   docker/base/build.sh mysql|mariadb    dbproxy-local/mysql or dbproxy-local/mariadb, and dbproxy-local/dbproxy
#
#   DBPROXY_BIN    the dbproxy to put in (default: the release build of this checkout, made if need be)
#   DBPROXY_CACHE  where root filesystems are kept (default: .cache in the checkout)
#
# Wants debootstrap and the network while the root filesystem is not in the cache. `docker rmi` dbproxy-local/PRODUCT-rootfs, and
# remove it there, for another.
set -euo pipefail
cd "$(dirname "$0")/../.."

product=$1
case $product in
    mysql) suite=sid package=mysql-server,mysql-router ;;
    mariadb) suite=trixie package=mariadb-server ;;
    *) echo "neither mysql nor mariadb: $product" >&2; exit 2 ;;
esac

here() { docker image inspect "$1" >/dev/null 2>&1; }

if ! here "dbproxy-local/$product-rootfs"; then
    cache=${DBPROXY_CACHE:-$PWD/.cache}
    mkdir -p "$cache"
    scripts/rootfs.sh "$cache/$product-rootfs" "$suite" "$package"
    tar -C "$cache/$product-rootfs" -c . | docker import - "dbproxy-local/$product-rootfs"
fi
docker build --quiet --file docker/base/server.Dockerfile --build-arg "ROOTFS=dbproxy-local/$product-rootfs" \
    --tag "dbproxy-local/$product" docker/base

if [ -z "${DBPROXY_BIN:-}" ]; then
    cargo build --release --bin dbproxy
    DBPROXY_BIN=${CARGO_TARGET_DIR:-target}/release/dbproxy
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/root/usr/local/bin" "$context/root/tmp" "$context/data"
cp "$DBPROXY_BIN" "$context/root/usr/local/bin/dbproxy"
# The loader, the C library and what else it names.
ldd "$DBPROXY_BIN" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$context/root$(dirname "$library")"
    cp -L "$library" "$context/root$library"
done
docker build --quiet --file docker/base/proxy.Dockerfile --tag dbproxy-local/dbproxy "$context"
