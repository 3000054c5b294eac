"""Download an artifact, and tell what came or what went wrong."""

import json
import sys
from pathlib import Path

import wandb

name = sys.argv[1]
seen = {}
try:
    artifact = wandb.Api().artifact(name)
    root = Path(artifact.download(root="got"))
    seen["files"] = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    seen["algorithm"] = str(artifact.digest_algorithm)
    artifact.verify(str(root))
    if "get_entry" in sys.argv:
        seen["entry"] = Path(artifact.get_entry("a.txt").download(root="entry", skip_cache=True)).read_text()
    if "used" in sys.argv:
        with wandb.init(entity=artifact.entity, project=artifact.project) as run:
            run.use_artifact(artifact)
            more = wandb.Artifact("more", "dataset")
            with more.new_file("more") as file:
                file.write("more")
            run.log_artifact(more).wait().link(f"{artifact.entity}/{artifact.project}/shelf")
            path = run.path
        seen["used"] = [one.qualified_name for one in wandb.Api().run(path).used_artifacts()]
except Exception as error:  # noqa: BLE001 - it is told to the test
    seen["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(seen))
