"""Log artifacts of every sort for a mount to read; print what the SDK says of each, and the bytes' digests."""

import hashlib
import json
import sys
from pathlib import Path

import numpy
import wandb

http_url = sys.argv[1]
here = Path.cwd()
many = here / "many"
ODD = (
    "empty", "sp ace/ünï (x) & y.txt", "dollar$.txt", "back\\slash", "percent%41.txt", "name:colon", ".hidden/.file", "new\nline",
    "quo'te\"s", "#hash?query=1", "tab\tin", "日本/語", "-dash", "very/" + "d/" * 20 + "deep", "n" * 200,
)  # fmt: skip
for number in range(1000):
    path = many / f"d{number % 7}" / f"{number:04}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"{number}".encode() * (number % 50))
for name in ODD:
    path = many / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"" if name == "empty" else f"contents of {name}".encode())
(many / "large.bin").write_bytes(bytes(range(256)) * 50_000)
(here / "outside.txt").write_text("outside")

seen = {}


def note(artifact):
    artifact.wait()
    seen[artifact.name.partition(":")[0]] = {
        "version": artifact.version, "digest": artifact.digest, "type": artifact.type, "aliases": sorted(artifact.aliases),
        "size": artifact.size, "description": artifact.description, "metadata": artifact.metadata,
        "tags": sorted(artifact.tags), "id": artifact.id,
        "entries": {
            path: {"digest": entry.digest, "size": entry.size or 0, "ref": entry.ref, "extra": entry.extra}
            for path, entry in artifact.manifest.entries.items()
        },
    }  # fmt: skip


with wandb.init(entity="me", project="all", id="run-all", config={"rate": 0.1}) as run:
    files = wandb.Artifact(
        "files", "dataset", description="some files", metadata={"rows": 3, "nested": {"a": [1, None]}}
    )
    files.add_dir(str(many))
    run.log_artifact(files, aliases=["best", "with.dot"], tags=["gold", "two words"])
    note(files)

    other = wandb.Artifact("other", "dataset", digest_algorithm="XXH128")
    other.add_dir(str(many / "d1"))
    run.log_artifact(other)
    note(other)

    table = wandb.Table(columns=["n", "picture"])
    for shade in range(3):
        table.add_data(shade, wandb.Image(numpy.full((4, 4, 3), shade * 50, dtype=numpy.uint8)))
    tables = wandb.Artifact("tables", "predictions")
    tables.add(table, "results")
    run.log_artifact(tables)  # not waited for: the reference below has a client id only
    again = wandb.Artifact("again", "predictions")
    again.add(table, "same")
    seen["client ref"] = next(iter(again.manifest.entries.values())).ref
    run.log_artifact(again)
    note(tables)
    note(again)

    references = wandb.Artifact("references", "dataset")
    references.add_reference((here / "outside.txt").as_uri(), name="local.txt")
    references.add_reference(many.joinpath("d2").as_uri(), name="directory", checksum=False)
    references.add_reference(http_url, name="remote.txt")
    references.add_reference("strange://somewhere/else", name="strange")
    references.add_reference(files.get_entry("d1/0001.bin"), name="from-files.bin")
    references.add_reference(other.get_entry("0008.bin").ref_url(), name="from-other.bin")
    run.log_artifact(references)
    note(references)

    growing = wandb.Artifact("growing", "dataset")
    growing.add_file(str(many / "dollar$.txt"), "one.txt")
    run.log_artifact(growing).wait()
    more = wandb.Artifact("growing", "dataset", incremental=True)
    more.add_file(str(here / "outside.txt"), "two.txt")
    run.log_artifact(more)
    note(more)

    run.link_artifact(files, "me/all/shelf", aliases=["shelved"])
    run.link_artifact(files, "wandb-registry-model/cool", aliases=["staging"])
    run.use_artifact("files:v0")

seen["bytes"] = {
    str(path.relative_to(many)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in many.rglob("*")
    if path.is_file()
}
print(json.dumps(seen))
