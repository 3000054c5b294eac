"""What wraps objects passes everything on."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from artfs.storage.limits import ByteLimit, Limited
from artfs.storage.metrics import Metered
from artfs.storage.port import Locator, ObjectInfo
from artfs.storage.retry import Retrying
from artfs.storage.wrapper import ObjectsWrapper

INFO = ObjectInfo("uri", 5)
CALLS = {
    "read": ((Locator("uri"), 1, 2), b"data"),
    "describe": (("uri", "version"), INFO),
    "list": (("prefix",), [INFO, INFO]),
    "write": (("uri", [b"data"], "digest"), INFO),
    "upload": (("uri", Path("path"), "digest"), INFO),
    "remove": (("uri",), None),
    "close": ((), None),
}
WRAPPERS = {
    "plain": ObjectsWrapper,
    "retrying": Retrying,
    "limited": lambda inner: Limited(inner, ByteLimit(1)),
    "metered": Metered,
    "all": lambda inner: Retrying(Limited(Metered(inner), ByteLimit(1))),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", CALLS)
def test_a_wrapper_passes_a_question_and_its_answer_on(name, wrapper):
    arguments, answer = CALLS[name]
    inner = Mock()
    getattr(inner, name).return_value = iter(answer) if name == "list" else answer
    got = getattr(WRAPPERS[wrapper](inner), name)(*arguments)
    assert (list(got) if name == "list" else got) == answer
    assert [call[:2] for call in inner.method_calls] == [(name, arguments)]
