"""Download and verify with the real SDK what the test has committed, and tell what came. Run by ``tests.wandb_server.programs.run``."""

import hashlib
import json
import sys
from pathlib import Path

import wandb

api = wandb.Api()
seen = {}
for number, name in enumerate(sys.argv[1:]):
    artifact = api.artifact(name)
    root = Path(artifact.download(root=f"got-{number}"))  # skip_cache would leave references where they are
    artifact.verify(str(root))
    seen[name] = {
        "files": {
            str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest()
            for path in root.rglob("*") if path.is_file()
        },
        "digest": artifact.digest, "version": artifact.version, "aliases": sorted(artifact.aliases), "type": artifact.type,
        "description": artifact.description, "metadata": artifact.metadata, "tags": sorted(artifact.tags),
        "size": artifact.size, "count": artifact.file_count, "logged_by": getattr(artifact.logged_by(), "id", None),
        "config": getattr(artifact.logged_by(), "config", None),
        "refs": {path: entry.ref for path, entry in artifact.manifest.entries.items() if entry.ref},
        "sizes": sum(entry.size or 0 for entry in artifact.manifest.entries.values()),
        "manifest": artifact.manifest.digest(),
    }  # fmt: skip
with wandb.init(entity="me", project="demo") as run:
    used = run.use_artifact(api.artifact(sys.argv[1]))
    draft = used.new_draft()
    with draft.new_file("added by the SDK") as file:
        file.write("added")
    seen["draft"] = run.log_artifact(draft).wait().version
# By a URL that the SDK makes itself. Once, and last: after a download with skip_cache its cache serves wrong bytes.
artifact = api.artifact(sys.argv[1])
path = Path(artifact.get_entry("nested/deep/leaf.bin").download(root="entry", skip_cache=True))
seen["leaf"] = hashlib.md5(path.read_bytes()).hexdigest()
print(json.dumps(seen))
