#!/bin/sh
# Puts Debian's Alertmanager, Prometheus, VictoriaMetrics, PgBouncer, Redis and Chromium under
# .venv/debian for the tests that run them, without root and without touching the system. The tests
# that need one are skipped where it cannot be had, so every failure here is a message and exit
# status 0.
set -u

skip() {
    echo "fetch-debian: $1; the tests that need it will be skipped"
    exit 0
}

cd "$(dirname "$0")/.." || exit 0
[ -d .venv ] || skip "there is no .venv yet"
root=$PWD/.venv/debian

missing=
# package:program
for each in prometheus-alertmanager:usr/bin/prometheus-alertmanager prometheus:usr/bin/prometheus \
    victoria-metrics:usr/bin/vmalert pgbouncer:usr/sbin/pgbouncer redis-server:usr/bin/redis-server \
    chromium:usr/lib/chromium/chromium; do
    program=${each#*:}
    [ -e "$root/$program" ] && continue
    command -v "$(basename "$program")" >/dev/null 2>&1 && continue
    missing="$missing ${each%%:*}"
done
case $missing in *pgbouncer*) missing="$missing libc-ares2" ;; esac # which it needs
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null 2>&1 || skip "apt-get is missing"
command -v dpkg-deb >/dev/null 2>&1 || skip "dpkg-deb is missing"

work=$(mktemp -d "$root.XXXXXX") || skip "no temporary directory"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$root" "$work/package"
cp -R "$root/." "$work/package/"

apt() {
    # With an empty sandbox user apt downloads as whoever runs this.
    apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User= -o Acquire::Retries=1 -o Acquire::http::Timeout=15 \
        -o Acquire::https::Timeout=15 -o Acquire::Languages=none "$@" >>"$work/log" 2>&1
}

apt update || skip "apt-get update failed (offline?)"
get() {
    case $1 in
    chromium | redis-server) # with what it needs and this machine has not, and a font for pictures
        apt --download-only --no-install-recommends --yes -o Debug::NoLocking=1 \
            install "$1" fonts-inter && mv "$work"/cache/archives/*.deb "$work/$1"
        ;;
    *) (cd "$work/$1" && apt download "$1") ;;
    esac
}

unpack() (
    for each in "$work/$1"/*.deb; do
        dpkg-deb -x "$each" "$work/package" >>"$work/log" 2>&1 || exit 1
    done
)

for package in $missing; do
    mkdir "$work/$package"
    if get "$package" && unpack "$package"; then
        echo "fetch-debian: unpacked $package into $root"
    else
        echo "fetch-debian: $package cannot be had; the tests that need it will be skipped"
    fi
done
# large programs that no test runs
(cd "$work/package/usr/bin" &&
    rm -f amtool promtool vmagent vmauth vmbackup vmctl vmrestore)

# One step on one file system: an interrupted run leaves nothing half done.
rm -rf "$root"
mv "$work/package" "$root" || skip "$root cannot be written"
