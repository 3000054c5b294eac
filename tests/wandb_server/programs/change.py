"""Change, link, draft and delete what ``log`` logged."""

import json
from datetime import timedelta

import wandb

api = wandb.Api()
seen = {}


def failure(function):
    try:
        function()
    except Exception as error:  # noqa: BLE001 - it is told to the test
        return type(error).__name__
    return None


files = api.artifact("my-team/first/files:v0")
files.aliases = ["best", "new"]
files.description = "changed"
files.metadata = {"rows": 4}
files.tags = ["silver"]
files.ttl = timedelta(hours=1)
files.save()
again = api.artifact("my-team/first/files:new")
seen["changed"] = [
    sorted(again.aliases), again.description, again.metadata, again.tags, again.ttl.total_seconds()
]  # fmt: skip
again.ttl = wandb.ArtifactTTL.INHERIT
again.save()
seen["ttl"] = api.artifact("my-team/first/files:new").ttl

linked = files.link("wandb-registry-model/cool things", aliases=["staging"])
seen["linked"] = [linked.qualified_name, linked.version, sorted(linked.aliases), linked.is_link]
linked.aliases.append("golden")
seen["protected"] = failure(linked.save)
seen["read-only"] = failure(lambda: files.link("my-team/frozen/shelf"))
second = api.artifact("my-team/first/files:v1").link("wandb-registry-model/cool things")
seen["second"] = [second.version, sorted(second.aliases)]
for organization in ("My Org", "my-org"):
    found = api.artifact(f"{organization}/wandb-registry-model/cool things:staging")
    seen[organization] = [found.qualified_name, found.source_qualified_name, found.source_version]
found = api.artifact("wandb-registry-model/cool things:staging")  # of the one organization of who asks
seen["no organization"] = [found.qualified_name, found.source_qualified_name, found.source_version]
seen["a team"] = failure(lambda: api.artifact("my-team/wandb-registry-model/cool things:staging"))
seen["registries"] = [one.name for one in api.registries(organization="My Org")]
registry = api.registries(organization="My Org").collections()
seen["registry collections"] = [one.name for one in registry]
seen["registry versions"] = sorted(one.version for one in registry.versions())
found.download(root="linked")
found.unlink()
seen["unlinked"] = failure(lambda: api.artifact("my-org/wandb-registry-model/cool things:staging"))

with wandb.init(entity="my-team", project="first", id="drafting") as run:
    draft = run.use_artifact("files:v1").new_draft()
    draft.remove("empty")
    with draft.new_file("added.txt") as file:
        file.write("added")
    run.log_artifact(draft).wait()
    seen["draft"] = [draft.version, sorted(draft.manifest.entries)]

alone = wandb.Artifact("alone", "model")
with alone.new_file("weights") as file:
    file.write("1 2 3")
alone.save("first", wandb.Settings(entity="my-team"))
alone.wait()
seen["alone"] = alone.qualified_name

seen["kept"] = failure(lambda: api.artifact("my-team/first/files:v0").delete())
api.artifact("my-team/first/files:v0").delete(delete_aliases=True)
seen["deleted"] = failure(lambda: api.artifact("my-team/first/files:v0"))

collection = api.artifact_collection("dataset", "my-team/first/growing")
collection.description = "it grows"
collection.name = "grown"
collection.tags = ["tall"]
collection.save()
renamed = api.artifact_collection("dataset", "my-team/first/grown")
seen["renamed"] = [renamed.name, renamed.description, list(renamed.tags)]
renamed.change_type("moved")
seen["moved"] = api.artifact("my-team/first/grown:v1").type
api.artifact_collection("dataset", "my-team/first/shared").delete()
seen["removed"] = failure(lambda: api.artifact_collection("dataset", "my-team/first/shared"))
print(json.dumps(seen))
