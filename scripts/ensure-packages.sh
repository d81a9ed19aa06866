#!/bin/sh
# Install Debian packages that are missing, where that is allowed; else name the command and stop.
set -eu
if ! command -v dpkg-query >/dev/null; then
    echo "Not Debian: what is called $* there must be installed" >&2
    exit 0
fi
missing=""
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then
    apt="apt-get"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    apt="sudo -n apt-get"
else
    echo "Missing system packages:$missing. Install them first: sudo apt-get install$missing" >&2
    exit 1
fi
echo "Installing system packages:$missing"
# shellcheck disable=SC2086
if ! { $apt update -qq && DEBIAN_FRONTEND=noninteractive \
    $apt install -y -qq --no-install-recommends $missing >/dev/null; }; then
    echo "apt-get could not install$missing: install them by hand and start again" >&2
    exit 1
fi
