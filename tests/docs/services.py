"""Services that documents speak of, with servers of the tests in their places.

A document asks for them by a comment of HTML, ``<!-- with: s3, postgres -->``. Each gives variables of the environment, and stand-ins: what the
document writes, and what is really there.
"""

import contextlib
import re
from dataclasses import dataclass, field

_WITH = re.compile(r"^<!-- with: ([\w, ]+) -->$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Service:
    """``names`` are pairs of what is in the document and what stands for it."""

    environment: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)


def wanted(text):
    """Return the names of the services that a document asks for."""
    found = _WITH.search(text)
    return found[1].replace(",", " ").split() if found else []


def s3(request, home):
    """An S3 server with the buckets of the documents: an empty one for the store, and one with raw data."""
    server = request.getfixturevalue("s3_server")
    store, raw = server.bucket(), server.bucket()
    with contextlib.closing(server.client()) as client:
        for name in ("a.csv", "b.csv"):
            client.put_object(Bucket=raw, Key=f"raw/2024/{name}", Body=f"content of {name}\n".encode())
    return Service(
        server.environment(), {"s3://bucket/prefix": f"s3://{store}/prefix", "s3://data/raw": f"s3://{raw}/raw"}
    )


def postgres(request, home):
    """A PostgreSQL server with an empty database."""
    return Service({}, {"postgresql://user@host/artfs": request.getfixturevalue("postgres_server").database()})


def wandb(request, home):
    """A double of the W&B server, with a project that has a dataset. The key is in the environment."""
    server = request.getfixturevalue("wandb_server")
    server.team("my-team")
    server.log_artifact("my-team", "my-project", "mnist", files={"train.csv": b"0,1\n", "test.csv": b"1,1\n"})
    environment = {name: value for name, value in server.environment(home).items() if name != "WANDB_BASE_URL"}
    return Service(environment | {"ARTFS_ENTITY": ""}, {"https://api.wandb.ai": server.url})


def login(request, home):
    """A double of the W&B server to log in to. The key is in the file ``key-file``."""
    server = request.getfixturevalue("wandb_server")
    (home / "key-file").write_text(server.key)
    return Service({}, {"https://wandb.example.com": server.url, "wandb.example.com": server.url.split("//")[1]})


SERVICES = {"s3": s3, "postgres": postgres, "wandb": wandb, "login": login}
