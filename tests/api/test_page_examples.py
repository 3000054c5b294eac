"""The examples of the page that defines the ``Artifact`` class, word for word, with the name of the package changed; on every
kind of registry and store."""

import socket
import textwrap

import pytest

import artfs
from artfs.errors import NotFoundError
from tests.harness import tree_of

WORLDS = ["sqlite+files", "sqlite+s3", "sqlite+gcs", "postgresql+files", "postgresql+s3", "postgresql+gcs"]


@pytest.fixture(params=WORLDS)
def world(request, place, monkeypatch):
    registry, _, store = request.param.partition("+")
    environment = {}
    if registry == "postgresql":
        server = request.getfixturevalue("postgres_server")
        environment["ARTFS_REGISTRY"] = server.database()
    if store != "files":
        server = request.getfixturevalue(f"{store}_server")
        environment |= server.environment()
        scheme = {"s3": "s3", "gcs": "gs"}[store]
        environment["ARTFS_STORE"] = f"{scheme}://{server.bucket()}/store"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return request.getfixturevalue("fresh")


def example(text, **names):
    """Run an example of the page, and return the names that it has set."""
    names |= {"artfs": artfs}
    exec(compile(textwrap.dedent(text).replace("wandb", "artfs"), "<page>", "exec"), names)
    return names


def make(name, files, project=None, kind="dataset", aliases=()):
    artifact = artfs.Artifact(name, kind)
    for path, data in files.items():
        with artifact.new_file(path, "xb") as file:
            file.write(data)
    with artfs.init(project=project) as run:
        run.log_artifact(artifact, aliases=list(aliases))
    return artifact


def test_basic_usage(world):
    made = make("artifact", {"a": b"1"}, "project", aliases=["alias"])
    found = example("""
        api = wandb.Api()
        artifact = api.artifact('project/artifact:alias')

        # Get information about the artifact...
        artifact.digest
        artifact.aliases
    """)["artifact"]
    assert (found.digest, found.aliases) == (made.digest, ["alias", "latest"])


def test_updating_an_artifact(world):
    make("artifact", {"a": b"1"}, "project", aliases=["alias"])
    api = artfs.Api()
    example(
        """
        artifact = api.artifact('project/artifact:alias')

        # Update the description
        artifact.description = 'My new description'

        # Selectively update metadata keys
        artifact.metadata["oldKey"] = "new value"

        # Replace the metadata entirely
        artifact.metadata = {"newKey": "new value"}

        # Add an alias
        artifact.aliases.append('best')

        # Remove an alias
        artifact.aliases.remove('latest')

        # Completely replace the aliases
        artifact.aliases = ['replaced']

        # Persist all artifact modifications
        artifact.save()
        """,
        api=api,
    )
    found = api.artifact("project/artifact:replaced")
    assert (found.description, found.metadata, found.aliases) == (
        "My new description",
        {"newKey": "new value"},
        ["replaced"],
    )
    assert not api.artifact_exists("project/artifact:latest")


def test_artifact_graph_traversal(world):
    made = make("artifact", {"a": b"1"}, "project", aliases=["alias"])
    run = artfs.init(project="project")
    run.use_artifact("artifact:alias")
    found = example(
        """
        artifact = api.artifact('project/artifact:alias')

        # Walk up and down the graph from an artifact:
        producer_run = artifact.logged_by()
        consumer_runs = artifact.used_by()

        # Walk up and down the graph from a run:
        logged_artifacts = run.logged_artifacts()
        used_artifacts = run.used_artifacts()
        """,
        api=artfs.Api(),
        run=run,
    )
    assert found["producer_run"].id == made.logged_by().id != run.id
    assert [one.id for one in found["consumer_runs"]] == [run.id]
    assert list(found["logged_artifacts"]) == []
    assert [one.id for one in found["used_artifacts"]] == [made.id]


def test_deleting_an_artifact(world):
    make("artifact", {"a": b"1"}, "project")
    make("artifact", {"a": b"2"}, "project")
    api = artfs.Api()
    example("""
        artifact = api.artifact('project/artifact:v0')
        artifact.delete()
    """, api=api)  # fmt: skip
    with pytest.raises(NotFoundError):
        api.artifact("project/artifact:v0")


def test_deleting_all_the_models_that_a_run_has_logged(world, monkeypatch):
    monkeypatch.setenv("ARTFS_ENTITY", "my_entity")
    make("net", {"a": b"1"}, "my_project", "model")
    make("data", {"a": b"2"}, "my_project")
    api = artfs.Api()
    example(
        """
        runs = api.runs(path="my_entity/my_project")
        for run in runs:
         for artifact in run.logged_artifacts():
          if artifact.type == "model":
           artifact.delete(delete_aliases=True)
        """,
        api=api,
    )
    assert not api.artifact_exists("my_project/net:v0")
    assert api.artifact_exists("my_project/data:v0")


def test_add_and_get(world):
    artfs.init()
    example("""
        artifact = wandb.Artifact('my_table', 'dataset')
        table = wandb.Table(columns=["a", "b", "c"], data=[[i, i*2, 2**i] for i in range(3)])
        artifact.add(table, "my_table")

        wandb.log_artifact(artifact)
    """)
    artfs.run.finish()
    artfs.init()
    table = example("""
        artifact = wandb.use_artifact('my_table:latest')
        table = artifact.get("my_table")
    """)["table"]
    assert table.data == [[0, 0, 1], [1, 2, 2], [2, 4, 4]]


def test_setitem_and_getitem(world):
    artfs.init()
    example("""
        artifact = wandb.Artifact('my_table', 'dataset')
        table = wandb.Table(columns=["a", "b", "c"], data=[[i, i*2, 2**i] for i in range(3)])
        artifact["my_table"] = table

        wandb.log_artifact(artifact)
    """)
    artfs.run.finish()
    artfs.init()
    table = example("""
        artifact = wandb.use_artifact('my_table:latest')
        table = artifact["my_table"]
    """)["table"]
    assert table.columns == ["a", "b", "c"]


def test_get_through_a_run(world):
    table = example("""
        # Run logging the artifact
        with wandb.init() as r:
         artifact = wandb.Artifact('my_dataset', type='dataset')
         table = wandb.Table(columns=["a", "b", "c"], data=[[i, i*2, 2**i] for i in range(3)])
         artifact.add(table, "my_table")
         wandb.log_artifact(artifact)

        # Run using the artifact
        with wandb.init() as r:
         artifact = r.use_artifact('my_dataset:latest')
         table = r.get('my_table')
    """)["table"]
    assert table.data[2] == [2, 4, 4]


def test_get_path(world, place):
    (place / "path/to").mkdir(parents=True)
    (place / "path/to/file.txt").write_bytes(b"content")
    example("""
        # Run logging the artifact
        with wandb.init() as r:
         artifact = wandb.Artifact('my_dataset', type='dataset')
         artifact.add_file('path/to/file.txt')
         wandb.log_artifact(artifact)

        # Run using the artifact
        with wandb.init() as r:
         artifact = r.use_artifact('my_dataset:latest')
         path = artifact.get_path('file.txt')

         # Can now download 'file.txt' directly:
         path.download()
    """)
    assert tree_of(place / "artifacts/my_dataset:v0") == {"file.txt": b"content"}


def test_new_file(world):
    artfs.init()
    artifact = example("""
        artifact = wandb.Artifact('my_data', type='dataset')
        with artifact.new_file('hello.txt') as f:
         f.write('hello!')
        wandb.log_artifact(artifact)
    """)["artifact"]
    artifact.wait()
    assert tree_of(artifact.download()) == {"hello.txt": b"hello!"}


def test_add_dir(world, place):
    (place / "my_dir/sub").mkdir(parents=True)
    (place / "my_dir/sub/f").write_bytes(b"f")
    artifact = artfs.Artifact("data", "dataset")
    example("""
        # All files in `my_dir/` are added at the root of the artifact.
        artifact.add_dir('my_dir/')

        # All files in `my_dir/` are added under `destination/`.
        artifact.add_dir('my_dir/', name='destination')
    """, artifact=artifact)  # fmt: skip
    assert list(artifact.manifest.entries) == ["sub/f", "destination/sub/f"]


def test_add_file(world, place):
    (place / "path/to").mkdir(parents=True)
    (place / "path/to/file.txt").write_bytes(b"content")
    artifact = artfs.Artifact("data", "dataset")
    example("""
        # Add as `file.txt'
        artifact.add_file('path/to/file.txt')

        # Add as 'new/path/file.txt'
        artifact.add_file('path/to/file.txt', name='new/path/file.txt')
    """, artifact=artifact)  # fmt: skip
    assert list(artifact.manifest.entries) == ["file.txt", "new/path/file.txt"]


@pytest.fixture
def myserver(http_server, monkeypatch):
    """Let the name ``myserver.com`` lead to a server on this machine."""
    ask = socket.getaddrinfo

    def answer(host, port, *arguments, **named):
        if host == "myserver.com":
            return ask("127.0.0.1", int(http_server.url.rpartition(":")[2]), *arguments, **named)
        return ask(host, port, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    (http_server.files / "file.txt").write_bytes(b"from the web")


def test_add_reference_to_http(place, fresh, myserver):
    artifact = artfs.Artifact("data", "dataset")
    example("""
        # Adds `file.txt` to the root of the artifact as a reference.
        artifact.add_reference("http://myserver.com/file.txt")
    """, artifact=artifact)  # fmt: skip
    with artfs.init() as run:
        run.log_artifact(artifact)
    assert tree_of(artifact.download()) == {"file.txt": b"from the web"}


def test_add_reference_to_s3(place, s3_server, monkeypatch, request):
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    request.getfixturevalue("fresh")
    bucket = s3_server.bucket(name="mybucket")
    for key in ("a", "d/b"):
        s3_server.client().put_object(Bucket=bucket, Key=f"prefix/{key}", Body=key.encode())
    artifact = artfs.Artifact("data", "dataset")
    example("""
        # All objects under `prefix/` will be added at the root of the artifact.
        artifact.add_reference("s3://mybucket/prefix")
    """, artifact=artifact)  # fmt: skip
    with artfs.init() as run:
        run.log_artifact(artifact)
    assert tree_of(artifact.download()) == {"a": b"a", "d": None, "d/b": b"d/b"}


def test_add_reference_to_gcs(place, gcs_server, monkeypatch, request):
    for name, value in gcs_server.environment().items():
        monkeypatch.setenv(name, value)
    request.getfixturevalue("fresh")
    bucket = gcs_server.client().bucket(gcs_server.bucket(name="mybucket"))
    for key in ("a", "d/b"):
        bucket.blob(f"prefix/{key}").upload_from_string(key.encode())
    artifact = artfs.Artifact("data", "dataset")
    example("""
        # All objects under `prefix/` will be added under `path/` at the artifact root.
        artifact.add_reference("gs://mybucket/prefix", name="path")
    """, artifact=artifact)  # fmt: skip
    with artfs.init() as run:
        run.log_artifact(artifact)
    assert tree_of(artifact.download()) == {"path": None, "path/a": b"a", "path/d": None, "path/d/b": b"d/b"}
