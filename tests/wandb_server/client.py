"""A plain client of the double, for tests that speak the protocol by hand."""

import base64
import hashlib
import http.client
import json
import urllib.parse
from dataclasses import dataclass
from typing import Any

FILES = """query Files($alias: String!, $first: Int, $after: String, $names: [String!]) {
  project(name: "p", entityName: "me") { artifactCollection(name: "c") { artifactMembership(aliasName: $alias) {
    files(first: $first, after: $after, names: $names) { totalCount pageInfo { endCursor hasNextPage }
      edges { node { name directUrl sizeBytes } } } } } } }"""


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Requests to a server, each on a connection of its own."""

    def __init__(self, server) -> None:
        self.server = server

    def request(
        self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def basic(self, key: str | None = None) -> dict[str, str]:
        text = f"api:{self.server.key if key is None else key}"
        return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}

    def post(self, query: str, headers: dict[str, str] | None = None, /, **variables: Any) -> Answer:
        """Ask GraphQL."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        return self.request("POST", self.server.url + "/graphql", body, self.basic() if headers is None else headers)

    def ask(self, query: str, /, **variables: Any) -> Any:
        """Ask GraphQL for what must work, and return the data."""
        answer = self.post(query, **variables)
        assert answer.status == 200, answer.body
        return answer.json()["data"]

    def fail(self, query: str, /, **variables: Any) -> str:
        """Ask GraphQL for what must be refused, and return the message."""
        answer = self.post(query, **variables)
        assert 400 <= answer.status < 500, answer.body
        return answer.json()["errors"][0]["message"]


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def urls_of(client, **variables):
    """Return the URLs of a page of the files of me/p/c:latest by path, and where the next page begins."""
    found = client.ask(FILES, alias="latest", **variables)["project"]["artifactCollection"]["artifactMembership"][
        "files"
    ]
    return {edge["node"]["name"]: edge["node"]["directUrl"] for edge in found["edges"]}, found["pageInfo"]
