"""Log references to buckets, or download and verify them; print what the SDK says of them, and the bytes' digests."""

import hashlib
import json
import sys
from pathlib import Path

import wandb

job, name, *uris = sys.argv[1:]
if job == "log":
    with wandb.init(entity="me", project="demo") as run:
        artifact = wandb.Artifact(name, "dataset")
        for number, uri in enumerate(uris):
            artifact.add_reference(uri, name=f"r{number}")
        run.log_artifact(artifact).wait()
artifact = wandb.Api().artifact(f"me/demo/{name}:latest")
root = Path(artifact.download(root="got"))
artifact.verify(str(root))
seen = {
    "files": {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in root.rglob("*") if path.is_file()
    },
    "entries": {
        path: [entry.ref, entry.digest, entry.size, entry.extra] for path, entry in artifact.manifest.entries.items()
    },
    "digest": artifact.digest,
    "size": artifact.size,
}  # fmt: skip
print(json.dumps(seen))
