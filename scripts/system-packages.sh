#!/bin/sh
# Debian packages that Palladion uses: installed where we may, else the one line to run is printed.
set -eu
command -v bwrap >/dev/null 2>&1 && exit 0
line="apt-get install -y --no-install-recommends bubblewrap"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { $line >/dev/null 2>&1 || { apt-get update -qq && $line >/dev/null; }; } && exit 0
    echo "could not install bubblewrap; the sandbox will not be available until it is" >&2
else
    echo "the sandbox needs bubblewrap; run once: sudo $line" >&2
fi
