"""The secrets that the tests use: none of them may be in a log, in what a command prints, or in what the control socket answers.

`tests.harness.Artfs` looks at the output of every command and, at its end, at the logs of its mounts; `tests/conftest.py` at what is logged
in the process of the tests.
"""

import base64
import re
from functools import cache
from pathlib import Path

from tests.servers import postgres, seaweed

NAMES = re.compile(r"^(AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|WANDB_API_KEY|PGPASSWORD)$")
SIGNATURES = re.compile(
    r"(?:X-(?:Amz|Goog)-Signature|X-(?:Amz|Goog)-Credential|\bSignature)=(?!\*\*\*)[^\s&'\"]{8,}"
    r"|authorization['\"]?\s*[:=]\s*['\"]?(?:Basic|Bearer|AWS4-HMAC-SHA256)\s+(?!\*\*\*)\S{8,}",
    re.IGNORECASE,
)


@cache
def fixed():
    """Return the secrets that are the same in every run: those of the servers of `tests.servers`."""
    identities = (seaweed.OWNER, seaweed.READER)
    return frozenset({postgres.PASSWORD, *(identity.secret_key for identity in identities)})


def secrets_of(environment):
    """Return the secrets that an environment gives to a program, by its variables and by the files that they name."""
    found = {value for name, value in environment.items() if NAMES.match(name)}
    for name in ("NETRC", "AWS_SHARED_CREDENTIALS_FILE", "WANDB_IDENTITY_TOKEN_FILE"):
        path = Path(environment.get(name) or "/nonexistent")
        if path.is_file():
            text = path.read_text(errors="replace")
            found |= set(re.findall(r"(?:password|aws_secret_access_key\s*=)\s*(\S+)", text))
            if name == "WANDB_IDENTITY_TOKEN_FILE":
                found.add(text.strip())
    found |= {base64.b64encode(f"api:{key}".encode()).decode() for key in found if key}
    return {secret for secret in found if len(secret) >= 8}


def leaks(text, environment=()):
    """Return the secrets that are in a text, and what looks like a signature of a URL or an Authorization header."""
    secrets = fixed() | secrets_of(dict(environment))
    return [secret for secret in secrets if secret in text] + SIGNATURES.findall(text)
