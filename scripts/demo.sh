#!/usr/bin/env bash
# The main job of artfs on a temporary mount, with the iris and digits data that scikit-learn ships. Prints each command
# and what it showed; leaves nothing behind.
set -euo pipefail

work=$(mktemp -d "${TMPDIR:-/tmp}/artfs-demo.XXXXXX")
export ARTFS_DATA_DIR=$work/data ARTFS_CACHE_DIR=$work/cache ARTFS_STATE_DIR=$work/state ARTFS_RUNTIME_DIR=$work/run
export ARTFS_ENTITY=me
cleanup() {
    cd /
    if mountpoint -q "$work/artifacts" 2>/dev/null; then artfs umount --force "$work/artifacts" || true; fi
    rm -rf "$work"
}
trap cleanup EXIT

run() {
    printf '\n\033[1m$ %s\033[0m\n' "${1//$work\//}"
    bash -euo pipefail -c "$1"
}

examples=$(realpath "$(dirname "$0")/../docs/examples")
cd "$work"
python "$examples/iris.py" source
cp "$examples/train.py" .

echo "artfs demo: a registry, a store and a mount in $work, gone when this ends"
run "artfs mount $work/artifacts"
run "mkdir -p artifacts/me/demo/iris/.staging/first"
run "cp -r source/. artifacts/me/demo/iris/.staging/first/"
run "artfs commit artifacts/me/demo/iris/.staging/first --alias best"
run "ls -l artifacts/me/demo/iris/"
run "python train.py --data artifacts/me/demo/iris/latest"
run "getfattr -d artifacts/me/demo/iris/v0"
run "artfs stage me/demo/iris:v0 --name fix"
run "echo 'iris flowers of 1936' > artifacts/me/demo/iris/.staging/fix/README"
run "mv artifacts/me/demo/iris/.staging/fix artifacts/me/demo/iris/.commit/tuned"
run "until [ -e artifacts/me/demo/iris/tuned ]; do ls artifacts/me/demo/iris/.commit >/dev/null; done; ls -l artifacts/me/demo/iris/"
run "diff -rq artifacts/me/demo/iris/v0 artifacts/me/demo/iris/v1 || true"
run "ln -sfn v1 artifacts/me/demo/iris/best && readlink artifacts/me/demo/iris/best"
run "artfs show me/demo/iris:best"
run "artfs umount $work/artifacts"
echo
echo "That is all: versions are directories, aliases are symlinks, a commit is a move."
