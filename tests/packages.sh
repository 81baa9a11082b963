#!/bin/sh
# Sees to it that the named Debian packages are there: packages.sh PACKAGE...
# As root or through sudo it installs what is missing; with NO_INSTALL=1, or without either, it only
# says what to install.
set -u

missing=
for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
[ -z "$missing" ] && exit 0

command="apt-get install -y --no-install-recommends$missing"
if [ "${NO_INSTALL:-}" = 1 ] || ! command -v apt-get >/dev/null; then
    echo "missing Debian packages; install them with: $command" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "missing Debian packages, and neither root nor sudo; as root run: $command" >&2
    exit 1
fi
echo "installing missing Debian packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q >&2 || exit 1
$as_root $command -q >&2
