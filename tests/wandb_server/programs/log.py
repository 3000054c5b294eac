"""Log artifacts of every sort in one run, and use one."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import numpy
import wandb

http_url = sys.argv[1]
here = Path.cwd()
made = here / "made"
for name in (
    "plain.txt",
    "nested/deep/leaf.bin",
    "odd names/with space & (x).txt",
    "ünïcödé.txt",
    "dollar$.txt",
    "empty",
):
    path = made / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"" if name == "empty" else f"contents of {name}".encode())
(here / "outside.txt").write_text("outside")

seen = {}
with wandb.init(entity="my-team", project="first", id="run-one", config={"rate": 0.1}) as run:
    files = wandb.Artifact("files", "dataset", description="some files", metadata={"rows": 3, "nested": {"a": [1, 2]}})
    files.add_dir(str(made))
    files.ttl = timedelta(days=7)
    run.log_artifact(files, aliases=["best", "candidate"], tags=["gold", "two words"]).wait()
    seen["files"] = {"version": files.version, "digest": files.digest, "aliases": files.aliases, "id": files.id}

    again = wandb.Artifact("files", "dataset")
    again.add_dir(str(made))
    run.log_artifact(again, aliases=["again"]).wait()
    seen["again"] = again.version

    (made / "plain.txt").write_text("changed")
    second = wandb.Artifact("files", "dataset")
    second.add_dir(str(made))
    run.log_artifact(second).wait()
    seen["second"] = {"version": second.version, "digest": second.digest}

    references = wandb.Artifact("references", "dataset")
    references.add_reference((here / "outside.txt").as_uri(), name="local.txt")
    references.add_reference(http_url, name="remote.txt")
    references.add_reference("strange://somewhere/else", name="strange")
    references.add_reference(files.get_entry("nested/deep/leaf.bin").ref_url(), name="from-files.bin")
    run.log_artifact(references).wait()
    seen["references"] = references.digest

    table = wandb.Table(columns=["n", "picture"])
    for shade in range(3):
        table.add_data(shade, wandb.Image(numpy.full((4, 4, 3), shade * 50, dtype=numpy.uint8)))
    tables = wandb.Artifact("tables", "predictions")
    tables.add(table, "results")
    run.log_artifact(tables).wait()
    seen["tables"] = tables.version

    used = run.use_artifact("files:v0")
    seen["used"] = used.digest

    run.link_artifact(files, "my-team/first/shelf", aliases=["shelved"])

    incremental = wandb.Artifact("growing", "dataset")
    incremental.add_file(str(made / "plain.txt"), "one.txt")
    run.log_artifact(incremental).wait()
    more = wandb.Artifact("growing", "dataset", incremental=True)
    more.add_file(str(here / "outside.txt"), "two.txt")
    run.log_artifact(more).wait()
    seen["growing"] = more.version

for part in ("a", "b"):
    with wandb.init(entity="my-team", project="first", id=f"part-{part}") as run:
        patch = wandb.Artifact("shared", "dataset")
        with patch.new_file(f"{part}.txt") as file:
            file.write(part)
        finish = run.finish_artifact if part == "b" else run.upsert_artifact
        finish(patch, distributed_id="together")

print(json.dumps(seen))
