#!/usr/bin/env bash
# Install the units of systemd: as root for this machine and every user of it, else for this user. Says what to do next.
# Usage: scripts/install-units.sh
set -euo pipefail
cd "$(dirname "$0")/../systemd"

if [ "$(id -u)" = 0 ]; then
    install -D -m 644 -t /usr/local/lib/systemd/system ./*.service ./*.timer
    install -D -m 644 -t /usr/local/lib/systemd/user user/*.service user/*.timer
    systemctl daemon-reload
    echo "units: installed below /usr/local/lib/systemd"
    echo "units: a mount for one user:    systemctl enable --now artfs@USER"
    [ -x /usr/local/bin/artfs ] || [ -x /usr/bin/artfs ] ||
        echo "units: artfs is not in /usr/local/bin: it is looked for in ~/.local/bin of that user, and by fstab not at all"
else
    install -D -m 644 -t "${XDG_DATA_HOME:-$HOME/.local/share}/systemd/user" user/*.service user/*.timer
    systemctl --user daemon-reload
    echo "units: installed in ${XDG_DATA_HOME:-$HOME/.local/share}/systemd/user"
fi
echo "units: a mount of your own at ~/artifacts:    systemctl --user enable --now artfs@artifacts"
