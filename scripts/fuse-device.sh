#!/usr/bin/env bash
# Let every user of this machine open /dev/fuse, as udev does: the tests mount as an ordinary user too. Some containers have it with the
# mode 0600. Usage: scripts/fuse-device.sh [DEVICE]
set -euo pipefail
device=${1:-/dev/fuse}
mode=$(stat -c %a "$device")
[ $((0$mode & 0006)) = 6 ] && exit 0
if [ "$(id -u)" = 0 ]; then
    printf 'setup: chmod 0666 %s (its mode was %04o)\n' "$device" "0$mode"
    chmod 0666 "$device"
else
    printf 'setup: warning: %s has the mode %04o; as root: chmod 0666 %s (its mode on every system with udev)\n' "$device" "0$mode" "$device" >&2
fi
