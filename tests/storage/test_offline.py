"""Objects while no network is to be used: every request is refused at once, by an error without secrets."""

import inspect

import pytest

from artfs.errors import OfflineError
from artfs.storage.offline import OfflineObjects
from artfs.storage.port import Locator, Objects

URI = "https://user:secret@host/object?X-Amz-Signature=secret"
CALLS = {
    "read": (Locator(URI), 0, 1),
    "describe": (URI,),
    "list": (URI,),
    "write": (URI, [b""]),
    "upload": (URI, None),
    "remove": (URI,),
}


@pytest.mark.parametrize(
    "name", [name for name, _ in inspect.getmembers(Objects, inspect.isfunction) if name in CALLS or name[0] != "_"]
)
def test_every_request_is_refused(name):
    objects = OfflineObjects()
    if name == "close":
        objects.close()
        return
    with pytest.raises(OfflineError, match="artfs is offline, and https://host/object") as caught:
        getattr(objects, name)(*CALLS[name])
    assert "secret" not in str(caught.value)
