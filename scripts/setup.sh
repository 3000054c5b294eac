#!/usr/bin/env bash
# Set up a machine for artfs: distribution packages, a virtual environment, the project in it. Says what it does, and
# does only what is missing. Usage: scripts/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then say "sudo $*"; sudo "$@"
    else fail "needs root for: $* (there is no sudo here; run it as root, then try again)"
    fi
}

is_installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

install_packages() {
    local missing=() package
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing from the distribution: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Install servers that the tests start by themselves, on ports of their own: the services of the distribution stay off.
install_servers() {
    local package missing=() policy=/usr/sbin/policy-rc.d
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    if [ -e "$policy" ]; then # the machine has its own rule; in a container it forbids services
        install_packages "${missing[@]}"
    else
        (
            trap 'as_root rm -f "$policy"' EXIT
            as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
            install_packages "${missing[@]}"
        )
    fi
    if [ -d /run/systemd/system ]; then
        for package in "${missing[@]}"; do
            if systemctl cat "$package.service" >/dev/null 2>&1; then as_root systemctl disable --quiet "$package.service"; fi
        done
    fi
}

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "needs Python 3.11 or newer, which is not installed here"
}

command -v dpkg-query >/dev/null || fail "knows Debian and Ubuntu only; elsewhere install fuse3 with its headers, pkg-config, a C compiler and Python headers, and for the tests systemd, dbus, openssl, nginx with its Lua module and PostgreSQL, then: pip install -e '.[dev]'"
install_packages fuse3 libfuse3-dev pkg-config gcc libc6-dev python3-dev attr rsync git ca-certificates openssl xfsprogs systemd dbus libpam-systemd
install_servers nginx libnginx-mod-http-lua postgresql

python=$(find_python)
if ! [ -x .venv/bin/python ]; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        install_packages "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    say "making a virtual environment in .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
if ! cmp -s pyproject.toml .venv/installed.toml; then
    say "installing artfs and its dependencies into .venv (pyfuse3 is compiled, which takes a minute)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
    cp pyproject.toml .venv/installed.toml
fi

if ! [ -e /dev/fuse ]; then
    say "loading FUSE: /dev/fuse is not there"
    as_root modprobe fuse || fail "the kernel has no FUSE: mounts cannot work here"
fi
scripts/fuse-device.sh
if ! [ -r /dev/fuse ] || ! [ -w /dev/fuse ]; then
    fail "/dev/fuse cannot be opened by $(id -un): as root, chmod 0666 /dev/fuse (its mode on every system with udev)"
fi
