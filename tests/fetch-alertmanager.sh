#!/bin/sh
# Puts Debian's Alertmanager under .venv/debian for the tests in tests/fake, without root and
# without touching the system. The tests that need it are skipped where it cannot be had, so
# every failure here is a message and exit status 0.
set -u

cd "$(dirname "$0")/.." || exit 0
root=$PWD/.venv/debian
binary=$root/usr/bin/prometheus-alertmanager

skip() {
    echo "fetch-alertmanager: $1; tests that need Alertmanager will be skipped"
    exit 0
}

[ -x "$binary" ] && exit 0
command -v prometheus-alertmanager >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || skip "apt-get is missing"
command -v dpkg-deb >/dev/null 2>&1 || skip "dpkg-deb is missing"

work=$(mktemp -d) || skip "no temporary directory"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/deb" "$root"

apt() {
    # The sandbox user `_apt` cannot read a private directory, so root stays root here.
    apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User= -o Acquire::Retries=1 -o Acquire::http::Timeout=15 \
        -o Acquire::https::Timeout=15 -o Acquire::Languages=none "$@"
}

apt update >"$work/log" 2>&1 || skip "apt-get update failed (offline?)"
(cd "$work/deb" && apt download prometheus-alertmanager) >>"$work/log" 2>&1 ||
    skip "the package could not be downloaded"
dpkg-deb -x "$work"/deb/prometheus-alertmanager_*.deb "$work/tree" >>"$work/log" 2>&1 ||
    skip "the package could not be unpacked"

# Moved in one step, so that an interrupted run never leaves half a binary behind.
mkdir -p "$root/usr/bin"
mv "$work/tree/usr/bin/prometheus-alertmanager" "$binary.new" && mv "$binary.new" "$binary" ||
    skip "$root is not writable"
echo "fetch-alertmanager: $binary"
