#!/bin/sh
# Installs the system packages that the build needs, by name, through the system's package manager.
# Where it cannot (no root, another system) it names them and stops.
set -eu
packages="gcc make pkg-config libopenblas-openmp-dev libhdf5-dev libyaml-dev libpng-dev libjpeg-dev libwebp-dev libjansson-dev libxxhash-dev
          libpcre2-dev libutf8proc-dev libarchive-dev zlib1g-dev check"

missing=""
for p in $packages; do
    case "$p" in
        gcc|make) command -v "$p" >/dev/null 2>&1 || missing="$missing $p" ;;
        *) dpkg -s "$p" >/dev/null 2>&1 || missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    cat >&2 <<EOF
blip2 needs these libraries with their headers (Debian's names):
  $packages
Other systems have them under names of their own; the Makefile's PACKAGES, BLAS_DIR and INCLUDE say where they are looked for. Linux is needed.
Continuing: if one is missing, the compiler will name its header.
EOF
    exit 0
fi
run=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        run="sudo"
    else
        echo "blip2: these packages are missing and installing them needs root. Please run:" >&2
        echo "  sudo apt-get install$missing" >&2
        exit 1
    fi
fi
echo "blip2: installing system packages:$missing"
log=$(mktemp)
if ! { $run apt-get update && DEBIAN_FRONTEND=noninteractive $run apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "blip2: apt-get could not install:$missing (its last lines stand above)" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
