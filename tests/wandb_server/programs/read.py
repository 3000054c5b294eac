"""Read all that ``log`` logged, with directories of its own: nothing comes from a cache."""

import json
from pathlib import Path

import wandb

api = wandb.Api()
seen = {}


def contents(root):
    return {str(path.relative_to(root)): path.read_text("latin-1") for path in Path(root).rglob("*") if path.is_file()}


files = api.artifact("my-team/first/files:v0")
root = files.download()
files.verify(root)
seen["files"] = contents(root)
seen["attributes"] = {
    "name": files.name, "version": files.version, "type": files.type, "aliases": sorted(files.aliases),
    "description": files.description, "metadata": files.metadata, "tags": sorted(files.tags),
    "ttl": files.ttl.total_seconds(), "size": files.size, "digest": files.digest, "state": files.state,
    "count": files.file_count, "commit": files.commit_hash, "entity": files.entity, "project": files.project,
    "logged_by": files.logged_by().id, "used_by": [run.id for run in files.used_by()], "collection": files.collection.name,
    "linked": [one.qualified_name for one in files.linked_artifacts],
}  # fmt: skip
seen["latest"] = api.artifact("my-team/first/files:latest").version
seen["without alias"] = api.artifact("my-team/first/files").version
seen["exists"] = [api.artifact_exists(f"my-team/first/{name}") for name in ("files:v1", "files:v9", "nothing:v0")]
seen["entry"] = Path(files.get_entry("odd names/with space & (x).txt").download(root=str(Path("single")))).read_text()
seen["prefix"] = sorted(contents(files.download(root="part", path_prefix="nested/", skip_cache=True)))
seen["listed"] = [[file.name, file.size, file.digest] for file in files.files()]
seen["one listed"] = [file.name for file in files.files(names=["empty"])]
file = files.files(names=["plain.txt"])[0].download(root="by-file")
seen["by file"] = Path(file.name).read_text()

references = api.artifact("my-team/first/references:latest")
seen["references"] = contents(references.download(allow_missing_references=True, path_prefix="from-files"))
seen["remote"] = contents(references.download(path_prefix="remote", root="remote"))
seen["local"] = contents(references.download(path_prefix="local", root="local"))
seen["refs"] = {path: entry.ref for path, entry in references.manifest.entries.items()}

table = api.artifact("my-team/first/tables:latest").get("results")
seen["table"] = [[number, picture.image.getpixel((0, 0))[0]] for _, (number, picture) in table.iterrows()]

seen["growing"] = contents(api.artifact("my-team/first/growing:latest").download())
seen["shared"] = contents(api.artifact("my-team/first/shared:latest").download())
seen["shelf"] = [api.artifact("my-team/first/shelf:shelved").qualified_name, files.source_qualified_name]
seen["shelf files"] = len(contents(api.artifact("my-team/first/shelf:shelved").download(root="shelf")))
seen["shelf entry"] = Path(api.artifact("my-team/first/shelf:v0").get_entry("plain.txt").download(root="e")).read_text()

seen["types"] = sorted(one.name for one in api.artifact_types("my-team/first"))
seen["collections"] = sorted(one.name for one in api.artifact_collections("my-team/first", "dataset"))
seen["of type"] = sorted(one.name for one in api.artifact_type("dataset", "my-team/first").collections())
seen["versions"] = [one.version for one in api.artifacts("dataset", "my-team/first/files", per_page=1)]
seen["tagged"] = [one.version for one in api.artifacts("dataset", "my-team/first/files", tags="gold")]
seen["ordered"] = [one.version for one in api.artifacts("dataset", "my-team/first/files", order="createdAt")]
collection = api.artifact_collection("dataset", "my-team/first/files")
seen["collection"] = [collection.name, collection.type, sorted(collection.aliases)]
run = api.run("my-team/first/run-one")
seen["run"] = [run.id, run.state, run.config]
seen["logged"] = sorted(one.name for one in run.logged_artifacts())
seen["used"] = sorted(one.name for one in run.used_artifacts())
seen["runs"] = sorted(one.id for one in api.runs("my-team/first"))
seen["projects"] = sorted(one.name for one in api.projects("my-team"))
seen["viewer"] = [api.viewer.entity, api.viewer.teams]
print(json.dumps(seen))
