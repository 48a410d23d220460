#!/bin/sh
# Debian packages that Palladion uses: installed where we may, else the one line to run is printed.
#
#   sh scripts/system-packages.sh            what running submissions needs
#   sh scripts/system-packages.sh browser    and the browser that the tests of pages look through
set -eu
packages=""
command -v bwrap >/dev/null 2>&1 || packages="bubblewrap"
if [ "${1:-}" = browser ]; then
    command -v chromium >/dev/null 2>&1 || packages="$packages chromium fonts-dejavu-core"
fi
[ -z "$packages" ] && exit 0
line="apt-get install -y --no-install-recommends $packages"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { $line >/dev/null 2>&1 || { apt-get update -qq && $line >/dev/null; }; } && exit 0
    echo "could not install $packages" >&2
else
    echo "Palladion needs $packages; run once: sudo $line" >&2
fi
echo "without bubblewrap there is no sandbox, and without chromium tests of pages are skipped" >&2
