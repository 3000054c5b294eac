"""Log many files by the algorithm of the first argument, and download them again into another cache."""

import json
import os
import sys
import time
from pathlib import Path

import wandb

algorithm, count = sys.argv[1], int(sys.argv[2])
many = Path("many")
for number in range(count):
    path = many / f"{number % 10}" / f"{number:06}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"file {number}")

began = time.monotonic()
with wandb.init(entity="me", project=f"many-{algorithm.lower()}") as run:
    artifact = wandb.Artifact("many", "dataset", digest_algorithm=algorithm)
    artifact.add_dir(str(many), policy="immutable")
    run.log_artifact(artifact).wait()
    name = artifact.qualified_name
logged = time.monotonic() - began

os.environ["WANDB_CACHE_DIR"] = str(Path("other-cache").absolute())
began = time.monotonic()
found = wandb.Api().artifact(name)
root = Path(found.download(root="got"))
downloaded = time.monotonic() - began
found.verify(str(root))
same = all((root / path.relative_to(many)).read_bytes() == path.read_bytes() for path in many.rglob("*.txt"))
entry = next(iter(found.manifest.entries.values()))
print(
    json.dumps({
        "same": same, "count": len(found.manifest.entries), "digest": found.digest, "extra": entry.extra,
        "algorithm": str(found.digest_algorithm), "logged": logged, "downloaded": downloaded,
    })
)  # fmt: skip
