"""Download one entry of an artifact, by the URL that the SDK makes itself."""

import json
import sys
from pathlib import Path

import wandb

found = wandb.Api().artifact(sys.argv[1])
text = Path(found.get_entry(sys.argv[2]).download(root=str(Path.cwd() / "one"))).read_text()
refs = [entry.ref for entry in found.manifest.entries.values() if entry.ref]
print(
    json.dumps({
        "text": text, "metadata": found.metadata, "tags": found.tags, "ttl": found.ttl and found.ttl.total_seconds(), "refs": refs,
    })
)  # fmt: skip
