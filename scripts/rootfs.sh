#!/usr/bin/env bash
# A Debian root filesystem with some packages, fetched and unpacked but never configured: that takes neither root nor chroot nor
# mounts.
#
#   scripts/rootfs.sh DIRECTORY SUITE PACKAGE,...    what is there already is left alone
#
#   DBPROXY_DEBIAN_MIRROR  Debian mirror (default: http://deb.debian.org/debian)
set -euo pipefail

into=$1 suite=$2 packages=$3
mirror=${DBPROXY_DEBIAN_MIRROR:-http://deb.debian.org/debian}
PATH=$PATH:/usr/sbin:/sbin

[ ! -d "$into" ] || exit 0
command -v debootstrap >/dev/null || { echo "debootstrap is not installed" >&2; exit 1; }
part=$into.part debs=$into.debs.part
rm -rf "$part" "$debs"
mkdir -p "$part"
debootstrap --download-only --variant=minbase --include="$packages" "$suite" "$debs" "$mirror"
# The package that holds the /lib and /lib64 links goes first, so that all others follow them.
for deb in "$debs"/var/cache/apt/archives/base-files_*.deb "$debs"/var/cache/apt/archives/*.deb; do
    dpkg-deb -x "$deb" "$part"
done
mv "$part" "$into"
rm -rf "$debs"
