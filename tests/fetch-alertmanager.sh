#!/bin/sh
# Puts Debian's Alertmanager under .venv/debian for the tests in tests/fake, without root and
# without touching the system. The tests that need it are skipped where it cannot be had, so
# every failure here is a message and exit status 0.
set -u

skip() {
    echo "fetch-alertmanager: $1; the tests that need Alertmanager will be skipped"
    exit 0
}

cd "$(dirname "$0")/.." || exit 0
[ -d .venv ] || skip "there is no .venv yet"
root=$PWD/.venv/debian

[ -e "$root/usr/bin/prometheus-alertmanager" ] && exit 0
command -v prometheus-alertmanager >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || skip "apt-get is missing"
command -v dpkg-deb >/dev/null 2>&1 || skip "dpkg-deb is missing"

work=$(mktemp -d "$root.XXXXXX") || skip "no temporary directory"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"

apt() {
    # With an empty sandbox user apt downloads as whoever runs this.
    apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User= -o Acquire::Retries=1 -o Acquire::http::Timeout=15 \
        -o Acquire::https::Timeout=15 -o Acquire::Languages=none "$@" >>"$work/log" 2>&1
}

apt update || skip "apt-get update failed (offline?)"
(cd "$work" && apt download prometheus-alertmanager) || skip "the package cannot be downloaded"
dpkg-deb -x "$work"/prometheus-alertmanager_*.deb "$work/package" >>"$work/log" 2>&1 ||
    skip "the package cannot be unpacked"
rm -f "$work/package/usr/bin/amtool"

# One step on one file system: an interrupted run leaves nothing half done.
rm -rf "$root"
mv "$work/package" "$root" || skip "$root cannot be written"
echo "fetch-alertmanager: unpacked into $root"
