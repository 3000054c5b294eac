"""Log a sparse file that is large enough for a multipart upload, and download one in parts that the test has made."""

import json
import sys
from pathlib import Path

import wandb

SIZE = (2 << 30) + (33 << 20)
big = Path("big.bin")
with big.open("wb") as file:
    file.write(b"head")
    file.seek(SIZE - 4)
    file.write(b"tail")
with wandb.init(entity="me", project="big") as run:
    artifact = wandb.Artifact("big", "dataset")
    artifact.add_file(str(big), skip_cache=True, policy="immutable")
    run.log_artifact(artifact).wait()
big.unlink()

found = wandb.Api().artifact(sys.argv[1])
root = Path(found.download(root="got", skip_cache=True, multipart=True))
data = (root / "made.bin").read_bytes()
(root / "made.bin").unlink()  # pytest keeps the directories of its last runs
print(json.dumps({"size": len(data), "marks": [data[at : at + 4].decode() for at in range(0, len(data), 50 << 20)]}))
