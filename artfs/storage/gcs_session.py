"""Credentials and clients of Google Cloud Storage, from the usual places (application default credentials, ``STORAGE_EMULATOR_HOST``).

google-cloud-storage finds all of it, and gives obstore its tokens. Without credentials requests are not signed, which public buckets
allow.
"""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artfs.errors import (
    ArtfsError,
    ChangedError,
    IntegrityError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
)
from artfs.storage.bucket_uris import shown
from artfs.storage.spans import client_options, has_stores
from artfs.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER_AGENT = f"artfs/{__version__}"


class GcsSession:
    """The present credentials, a google-cloud-storage client (``client``), and an obstore store of each bucket, all made with them.

    Thread-safe. PermissionDeniedError if there are credentials that cannot be used.
    """

    def __init__(self) -> None:
        from google.api_core.client_info import ClientInfo
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.cloud import storage

        if "://" not in os.environ.get("STORAGE_EMULATOR_HOST", "://"):
            raise PermissionDeniedError("STORAGE_EMULATOR_HOST is not a URL", hint="write http://host:port")
        self._lock = threading.Lock()
        self._stores: dict[str, Any] = {}
        has_stores(self)
        settings: dict[str, Any] = {
            "project": os.environ.get("GOOGLE_CLOUD_PROJECT", "artfs"),  # reads and writes of objects need none
            "client_info": ClientInfo(user_agent=_USER_AGENT),
        }
        try:
            self.client: Any = storage.Client(**settings)
        except DefaultCredentialsError as error:
            if _has_credentials():
                raise _unusable(error) from error
            self.client = storage.Client(**settings, credentials=AnonymousCredentials())
        except (GoogleAuthError, ValueError, OSError) as error:
            raise _unusable(error) from error
        self._anonymous = isinstance(self._credentials, AnonymousCredentials)
        # Else it asks for every bucket in the background, for traces that nobody reads, and again when something is not found.
        self.client._bucket_metadata_cache = None  # noqa: SLF001

    @property
    def _credentials(self) -> Any:  # noqa: ANN401 - credentials of google-auth
        return self.client._credentials  # noqa: SLF001 - the client has no other name for what it signs with

    def store(self, bucket: str) -> Any:  # noqa: ANN401 - an obstore store
        """Return the store of a bucket."""
        with self._lock:
            store = self._stores.get(bucket)
            if store is None:
                store = self._stores[bucket] = self._open_store(bucket)
            return store

    def _open_store(self, bucket: str) -> Any:  # noqa: ANN401
        from obstore.store import GCSStore

        settings: dict[str, Any] = {"skip_signature": self._anonymous, "credential_provider": self._token}
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        if emulator:
            settings["base_url"] = emulator
        options = client_options(_USER_AGENT, allow_http=emulator.startswith("http://"))
        # Else the service unpacks what is stored compressed, and answers with all of it, whatever the range.
        options["default_headers"] = {"Accept-Encoding": "gzip"}
        return GCSStore(bucket, client_options=options, retry_config={"max_retries": 0}, **settings)  # type: ignore[arg-type]

    def _token(self) -> Any:  # noqa: ANN401 - credentials of obstore
        import requests
        from google.auth.transport.requests import Request

        credentials = self._credentials
        if self._anonymous:
            return {"token": "", "expires_at": None}
        if not credentials.valid:
            with requests.Session() as session:
                credentials.refresh(Request(session))
        expiry = credentials.expiry
        return {"token": credentials.token, "expires_at": None if expiry is None else expiry.replace(tzinfo=UTC)}

    def close(self) -> None:
        """Give back the connections."""
        self.client.close()
        with self._lock:
            self._stores.clear()


def _has_credentials() -> bool:
    """Whether this user has set credentials up, be they valid or not."""
    settings = Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config/gcloud")
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    return bool(named) or (settings / "application_default_credentials.json").exists()


def _unusable(error: Exception) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"the Google credentials cannot be used: {type(error).__name__}",
        hint="check GOOGLE_APPLICATION_CREDENTIALS, or gcloud auth application-default login",
    )


@contextlib.contextmanager
def converted(uri: str) -> Iterator[None]:
    """Turn the errors of the Google libraries into those of artfs."""
    import requests
    import urllib3
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.resumable_media import DataCorruption, InvalidResponse

    try:
        yield
    except (GoogleAPIError, InvalidResponse) as error:
        raise _error_of(error, uri) from error
    except DataCorruption as error:
        raise _damaged(uri) from error
    except (TransportError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise UnreachableError(f"{shown(uri)} cannot be reached: {type(error).__name__}") from error
    except GoogleAuthError as error:
        raise PermissionDeniedError(
            f"there are no valid credentials for {shown(uri)}: {type(error).__name__}",
            hint="gcloud auth application-default login",
        ) from error


def _error_of(error: Any, uri: str) -> ArtfsError:  # noqa: ANN401 - GoogleAPIError or InvalidResponse
    match getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None):
        case 404:
            return NotFoundError(f"{shown(uri)} does not exist")
        case 401 | 403:
            return PermissionDeniedError(f"access to {shown(uri)} was refused", hint="check the credentials")
        case 412:
            return ChangedError(f"{shown(uri)} has changed since it was recorded")
        case 400 if "MD5" in str(error):
            return _damaged(uri)
        case code:
            return UnreachableError(
                f"{shown(uri)} cannot be reached: {f'status {code}' if code else type(error).__name__}"
            )


def _damaged(uri: str) -> IntegrityError:
    return IntegrityError(f"{shown(uri)} was not written: its bytes do not match their digest")
