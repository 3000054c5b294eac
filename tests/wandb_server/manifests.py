"""Manifests: how they are read and written, how a new one is merged onto an old one, and what a commit demands.

The real server's checks are not known; these are strict, so that a client that gets it wrong finds out.
"""

import base64
import hashlib
import json

import xxhash

from tests.wandb_server.blobs import Memory
from tests.wandb_server.models import Artifact, Entry, Manifest, RefusalError
from tests.wandb_server.state import State

NAMES = {
    "FULL": "wandb_manifest.json",
    "INCREMENTAL": "wandb_manifest.incremental.json",
    "PATCH": "wandb_manifest.patch.json",
}


def digest_of(entries: dict[str, Entry], algorithm: str = "MANIFEST_MD5") -> str:
    """Return the digest of an artifact with these entries."""
    state = hashlib.md5() if algorithm == "MANIFEST_MD5" else xxhash.xxh3_128()
    state.update(b"wandb-artifact-manifest-v1\n")
    for path in sorted(entries):
        state.update(f"{path}:{entries[path].digest}\n".encode())
    return state.hexdigest()


def render(entries: dict[str, Entry], layout: str | None, region: str | None = None) -> bytes:
    """Return the JSON of a manifest, as the real SDK uploads it."""
    contents = {}
    for path in sorted(entries):
        entry = entries[path]
        fields = {"digest": entry.digest, "ref": entry.ref, "size": entry.size, "birthArtifactID": entry.birth}
        found = {key: value for key, value in fields.items() if value is not None}
        found["skip_cache"] = False
        if entry.extra:
            found["extra"] = entry.extra
        contents[path] = found
    config = {"storageLayout": layout} if layout else {}
    if region:
        config["storageRegion"] = region
    whole = {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": config,
        "contents": contents,
    }
    return json.dumps(whole, separators=(",", ":")).encode()


def parse(data: bytes) -> tuple[dict[str, Entry], str]:
    """Return the entries of a manifest and its storage layout."""
    try:
        whole = json.loads(data)
        if whole["version"] != 1 or whole["storagePolicy"] != "wandb-storage-policy-v1":
            raise RefusalError("manifest of another version or policy")
        layout = (whole.get("storagePolicyConfig") or {}).get("storageLayout", "V1")
        entries = {}
        for path, found in whole["contents"].items():
            entries[path] = Entry(
                path,
                found["digest"],
                found.get("size") or 0,
                found.get("ref") or None,
                found.get("birthArtifactID") or None,
                found.get("extra") or {},
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusalError(f"invalid manifest: {error!r}") from error
    if layout not in ("V1", "V2"):
        raise RefusalError(f"invalid storage layout: {layout!r}")
    return entries, layout


def commit(state: State, artifact: Artifact) -> None:
    """Make a pending artifact a version, from the manifests that were uploaded. Again: nothing happens."""
    if artifact.state == "COMMITTED":
        return
    if artifact.state != "PENDING":
        raise RefusalError(f"the artifact is {artifact.state}")
    uploaded = [manifest for manifest in artifact.manifests if state.bucket.get(manifest.key)]
    if not uploaded:
        raise RefusalError("the artifact has no manifest")
    last = uploaded[-1]
    entries, layout = _parsed(state, last)
    if last.type == "FULL":
        if state.verify_digests and digest_of(entries, artifact.digest_algorithm) != artifact.digest:
            raise RefusalError(f"the manifest does not have the artifact's digest {artifact.digest}")
    else:
        merged = _base_entries(state, last)
        for manifest in uploaded if last.type == "PATCH" else [last]:
            merged |= _parsed(state, manifest)[0]
        entries = merged
        artifact.digest = digest_of(entries, artifact.digest_algorithm)
    check_stored(state, artifact, entries, layout)
    finish(state, artifact, entries, layout, layout)


def finish(
    state: State, artifact: Artifact, entries: dict[str, Entry], layout: str, written_layout: str | None = None
) -> None:
    """Set what a committed artifact has, and the manifest that is downloaded: always a full one (inferred).

    ``written_layout``: what a manifest made here says; None leaves it out, which means V1.
    """
    artifact.entries = dict(sorted(entries.items()))
    artifact.layout = layout
    artifact.size = sum(entry.size for entry in entries.values())
    artifact.storage_bytes = sum(entry.size for entry in entries.values() if not entry.ref)
    last = artifact.manifests[-1] if artifact.manifests else None
    if last is None or last.type != "FULL" or not state.bucket.get(last.key):
        data = render(artifact.entries, written_layout, artifact.storage_region)
        artifact.current_manifest = store_manifest(state, artifact, data)
    else:
        artifact.current_manifest = last
    state.activate(artifact)


def store_manifest(state: State, artifact: Artifact, data: bytes) -> Manifest:
    """Put a full manifest into the bucket."""
    digest = base64.b64encode(hashlib.md5(data).digest()).decode()
    manifest = state.add(Manifest(artifact, NAMES["FULL"], digest, "FULL"))
    state.bucket.put(manifest.key, Memory(data))
    return manifest


def check_stored(state: State, artifact: Artifact, entries: dict[str, Entry], layout: str) -> None:
    """Refuse entries whose bytes are not there, or that name a birth artifact which did not bring them."""
    for path, entry in entries.items():
        if path.startswith("/") or ".." in path.split("/") or not path:
            raise RefusalError(f"invalid path: {path!r}")
        if entry.ref:
            continue
        key = state.has(artifact.entity, entry.digest, entry.birth if layout == "V2" else None)
        if key is None:
            raise RefusalError(f"the bytes of {path!r} ({entry.digest}, born in {entry.birth}) were not uploaded")
        size = state.bucket.objects[key].content.size
        if size != entry.size:
            raise RefusalError(f"{path!r} has {size} bytes, not {entry.size}")


def _parsed(state: State, manifest: Manifest) -> tuple[dict[str, Entry], str]:
    stored = state.bucket.objects[manifest.key]
    if manifest.digest and stored.content.digest() != manifest.digest:
        raise RefusalError("the manifest does not have the digest that was announced")
    return parse(stored.content.read(0, stored.content.size))


def _base_entries(state: State, manifest: Manifest) -> dict[str, Entry]:
    """Return what an incremental manifest is merged onto: the base it names, or else the latest version.

    Patches are joined with each other only (inferred), though the SDK names the latest version as their base too.
    """
    if manifest.type != "INCREMENTAL":
        return {}
    base = state.node(manifest.base_id, Artifact) or state.latest(manifest.artifact.sequence)
    return dict(base.entries) if base is not None else {}
