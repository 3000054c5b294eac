"""Credentials and clients of S3, from the usual places (environment, profiles, instance roles, ``AWS_ENDPOINT_URL_S3``).

boto3 finds all of it; obstore is told everything, so that both talk to the same place as the same user whatever obstore would have
found in the environment. Without credentials requests are not signed, which public buckets allow.
"""

from __future__ import annotations

import contextlib
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artfs.errors import (
    ArtfsError,
    IntegrityError,
    InvalidInputError,
    NoSpaceError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.storage.bucket_uris import shown
from artfs.storage.spans import TOKEN_CODES, client_options, has_stores
from artfs.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREDENTIAL_LIFE = timedelta(minutes=5)  # after which botocore is asked again; it renews those that expire
_TRIES = 5  # of what boto3 does: writes and listings
_USER_AGENT = f"artfs/{__version__}"
_AMAZON = re.compile(r"https://(s3(?:-fips)?(?:\.dualstack)?)\.(?:[a-z0-9\-]+\.)?(amazonaws\.com(?:\.cn)?)")


class S3Session:
    """The present credentials, a boto3 client (``client``), and an obstore store of each bucket, all made with them. Thread-safe.

    PermissionDeniedError if there are credentials that cannot be used.
    """

    def __init__(self) -> None:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        self._lock = threading.Lock()
        self._stores: dict[str, Any] = {}
        has_stores(self)
        settings = Config(
            user_agent_extra=_USER_AGENT, connect_timeout=5, read_timeout=30, max_pool_connections=64,
            retries={"mode": "standard", "max_attempts": _TRIES},
        )  # fmt: skip
        try:
            session = boto3.Session()
            bundle = session._session.get_config_variable("ca_bundle")  # noqa: SLF001 - it has no other name
            self._authorities = Path(bundle).read_bytes() if bundle else None
            self._credentials = session.get_credentials()
            if self._credentials is None:
                settings = settings.merge(Config(signature_version=UNSIGNED))
            self.client: Any = session.client("s3", config=settings)
        except (BotoCoreError, ValueError, OSError) as error:  # ValueError: an endpoint that is no URL
            raise PermissionDeniedError(
                f"the AWS configuration cannot be used: {type(error).__name__}",
                hint="check AWS_PROFILE, ~/.aws and the other settings of AWS",
            ) from error

    def store(self, bucket: str) -> Any:  # noqa: ANN401 - an obstore store
        """Return the store of a bucket. UnreachableError if its region cannot be found out."""
        with self._lock:
            store = self._stores.get(bucket)
        if store is None:
            store = self._open_store(bucket)
            with self._lock:
                store = self._stores.setdefault(bucket, store)
        return store

    def _open_store(self, bucket: str) -> Any:  # noqa: ANN401
        from obstore.store import S3Store

        endpoint = str(self.client.meta.endpoint_url)
        settings: dict[str, Any] = {"region": self.client.meta.region_name or "us-east-1"}
        amazon = _AMAZON.fullmatch(endpoint)
        if amazon:
            settings["region"] = self._region(bucket, settings["region"])
            endpoint = f"{amazon[1]}.{settings['region']}.{amazon[2]}"
            endpoint = f"https://{endpoint}" if "." in bucket else f"https://{bucket}.{endpoint}"
        settings["virtual_hosted_style_request"] = amazon is not None and "." not in bucket
        settings["aws_endpoint_url_s3"] = endpoint  # by the name that outdoes the environment
        settings["skip_signature"] = self._credentials is None
        if self._credentials is not None:
            settings["credential_provider"] = self._frozen
        options = client_options(
            _USER_AGENT,
            allow_http=endpoint.startswith("http://"),
            authorities=self._authorities,
        )
        return S3Store(bucket, client_options=options, retry_config={"max_retries": 0}, **settings)  # type: ignore[arg-type]

    def _region(self, bucket: str, own: str) -> str:
        """Return the region of a bucket, which need not be that of the configuration."""
        from botocore.exceptions import ClientError

        with converted(f"s3://{bucket}"):
            try:
                answer = self.client.head_bucket(Bucket=bucket)
            except ClientError as error:
                answer = error.response  # a refusal says the region too
                if answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500:
                    raise
        return str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", own))

    def _frozen(self) -> Any:  # noqa: ANN401 - credentials of obstore
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIAL_LIFE,
        }

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()
        with self._lock:
            self._stores.clear()


@contextlib.contextmanager
def converted(uri: str) -> Iterator[None]:
    """Turn the errors of boto3 into those of artfs."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _error_of(error, uri) from error
    except exceptions.ParamValidationError as error:
        raise InvalidInputError(f"{shown(uri)} cannot be an object of S3") from error
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.TokenRetrievalError,
        exceptions.SSOError,
    ) as error:
        raise PermissionDeniedError(
            f"there are no valid credentials for {shown(uri)}: {type(error).__name__}", hint="aws configure"
        ) from error
    except (exceptions.BotoCoreError, Boto3Error) as error:
        raise UnreachableError(f"{shown(uri)} cannot be reached: {type(error).__name__}") from error


def _error_of(error: Any, uri: str) -> ArtfsError:  # noqa: ANN401 - ClientError
    details, answer = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    status, code = answer.get("HTTPStatusCode"), str(details.get("Code", ""))
    match status:
        case 404 if code == "NoSuchBucket":
            return NotFoundError(f"{shown(uri)}: there is no such bucket")
        case 404:
            return NotFoundError(f"{shown(uri)} does not exist")
        case 401 | 403:
            return PermissionDeniedError(f"access to {shown(uri)} was refused: {code}", hint="check the credentials")
        case 400 if code in TOKEN_CODES or error.operation_name == "HeadObject":  # to HEAD there is no code
            return PermissionDeniedError(f"access to {shown(uri)} was refused: {code}", hint="check the credentials")
        case 400 if code in {"BadDigest", "InvalidDigest"}:
            return IntegrityError(f"{shown(uri)} was not written: its bytes do not match their digest")
        case 405 | 501:
            return NotSupportedError(f"{shown(uri)}: the service cannot do that ({code})")
        case 507:
            return NoSpaceError(f"no space left for {shown(uri)}")
    after = str(answer.get("HTTPHeaders", {}).get("retry-after", ""))
    return UnreachableError(
        f"{shown(uri)} cannot be reached: status {status}, {code}",
        retry_after=float(after) if after.isascii() and after.isdigit() else None,
    )
