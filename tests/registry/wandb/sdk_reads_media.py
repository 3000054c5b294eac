"""Read with the real SDK a table with media, and references, that the test has committed. Run by ``tests.wandb_server.programs.run``."""

import hashlib
import json
from pathlib import Path

import wandb

api = wandb.Api()
seen = {}
table = api.artifact("me/demo/tables:latest").get("results")
seen["table"] = [[number, picture.image.getpixel((0, 0))[0]] for _, (number, picture) in table.iterrows()]
for name in ("references", "odd"):
    artifact = api.artifact(f"me/demo/{name}:latest")
    root = Path(artifact.download(root=name))
    artifact.verify(str(root))
    seen[name] = {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }
seen["entries"] = {
    path: [entry.ref, entry.digest, entry.size or 0]
    for name in ("references", "noted")
    for path, entry in api.artifact(f"me/demo/{name}:latest").manifest.entries.items()
}
print(json.dumps(seen))
