#!/usr/bin/env bash
# Runs the image's steps (docker/steps.sh) in a clean Debian root, without Docker, and asks the service there for grasps.
# Needs root, mmdebstrap and a Python with pip. Mirror and index are those of apt and pip here; the root reads wheels only.
#   docker/prove.sh [folder that keeps the wheels]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for tool in mmdebstrap python3 tar; do
  command -v $tool >/dev/null || { echo "prove.sh: $tool is missing. Run: apt-get install $tool" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "prove.sh: a clean root is made by root only. Run it by sudo." >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wheels=${1:-$work/wheels}

# bookworm's Python is 3.11, whatever this one is.
fetch() { python3 -m pip download -q --no-deps --python-version 3.11 -d "$wheels" "$@"; }
fetch --require-hashes -r docker/requirements.lock
fetch "$(grep '^torch==' constraints.txt)"

sed 's|^|./|' .dockerignore >"$work/ignored"
tar -c --anchored --exclude-from="$work/ignored" -f "$work/src.tar" .

in_root() { printf -- '--customize-hook=chroot "$1" env -C /src %s' "$1"; }
pip="PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels"
mmdebstrap --quiet --format=null --variant=minbase \
  --customize-hook="mkdir \"\$1/src\" \"\$1/wheels\"" \
  --customize-hook="tar -x -C \"\$1/src\" -f '$work/src.tar'" \
  --customize-hook="cp '$wheels'/* \"\$1/wheels\"" \
  "$(in_root 'sh docker/steps.sh system')" \
  "$(in_root "$pip sh docker/steps.sh packages")" \
  "$(in_root "$pip sh docker/steps.sh project")" \
  --customize-hook="rm -r \"\$1/wheels\"" \
  "$(in_root 'sh docker/steps.sh user')" \
  "$(in_root '/opt/sceneleap/bin/python docker/ask.py')" \
  bookworm /dev/null
