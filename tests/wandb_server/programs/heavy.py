"""Log one sparse file of some bytes or many small files, or download and verify what others have logged."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import wandb

job, name, *rest = sys.argv[1:]
seen = {}
if job == "log":
    artifact = wandb.Artifact(name, "dataset")
    artifact.add_dir(rest[0], skip_cache=True, policy="immutable")
    with wandb.init(entity="me", project="heavy") as run:
        run.log_artifact(artifact).wait()
    seen["digest"] = artifact.digest
else:
    found = wandb.Api().artifact(f"me/heavy/{name}:latest")
    root = Path(found.download(root="got", skip_cache=True))
    found.verify(str(root))
    paths = [path for path in root.rglob("*") if path.is_file()]
    seen = {"digest": found.digest, "count": len(paths), "size": sum(path.stat().st_size for path in paths)}
    wanted = Path(rest[0])
    seen["different"] = [
        str(path) for path in paths
        if hashlib.file_digest(path.open("rb"), "md5").digest()
        != hashlib.file_digest((wanted / path.relative_to(root)).open("rb"), "md5").digest()
    ]  # fmt: skip
    shutil.rmtree(root)  # pytest keeps the directories of its last runs
print(json.dumps(seen))
