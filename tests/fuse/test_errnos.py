"""The boundary: every error leaves as an errno, nothing else leaves at all, and the log says what somebody must act upon."""

import contextlib
import errno
import importlib
import inspect
import logging
import pkgutil

import pyfuse3
import pytest
import trio

import artfs
from artfs import errors
from artfs.errors import ArtfsError
from artfs.fuse.errnos import ERRNOS, errno_of
from artfs.fuse.operations import Operations
from tests.fuse.fakes import CTX, FakeFileSystem
from tests.fuse.test_operations import PASSED_ON

TABLE = {
    "ArtfsError": "EIO",
    "InvalidInputError": "EINVAL",
    "NotFoundError": "ENOENT",
    "VersionDeletedError": "ESTALE",
    "ExistsError": "EEXIST",
    "NotEmptyError": "ENOTEMPTY",
    "BusyError": "EBUSY",
    "ConflictError": "EBUSY",
    "CollectedError": "EBUSY",
    "PermissionDeniedError": "EACCES",
    "CredentialsError": "EACCES",
    "ReadOnlyError": "EROFS",
    "IntegrityError": "EIO",
    "ChangedError": "EIO",
    "UnreachableError": "EIO",
    "OfflineError": "ENETUNREACH",
    "NoSpaceError": "ENOSPC",
    "NotSupportedError": "EOPNOTSUPP",
    "SchemaError": "EIO",
    "ArtifactStatusError": "EINVAL",
    "ArtifactNotLoggedError": "EINVAL",
    "ArtifactFinalizedError": "EINVAL",
    "WaitTimeoutError": "EIO",
}


def all_subclasses(cls):
    return {cls}.union(*(all_subclasses(sub) for sub in cls.__subclasses__()))


def test_every_error_of_the_tree_has_its_errno():
    tree = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, ArtfsError)}
    found = {cls.__name__: errno.errorcode[errno_of(cls("message"))] for cls in tree}
    names = {"ENOTSUP": "EOPNOTSUPP"}  # one number, two names
    assert {name: names.get(code, code) for name, code in found.items()} == TABLE


def test_every_error_in_any_module_has_an_errno_and_never_enosys():
    for module in pkgutil.walk_packages(artfs.__path__, "artfs."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ModuleNotFoundError):  # a backend whose library is not installed
                importlib.import_module(module.name)
    for cls in all_subclasses(ArtfsError):
        number = errno_of(cls("message"))
        assert number > 0
        assert number != errno.ENOSYS, cls
    assert errno.ENOSYS not in ERRNOS.values()


def test_an_error_without_an_errno_of_its_own_has_that_of_its_nearest_base():
    class Special(errors.VersionDeletedError):
        pass

    assert errno_of(Special("message")) == errno.ESTALE


async def errno_when(error, request_name="getattr"):
    """Return the errno with which a request ends when the vfs raises an error."""
    call, method, *_ = PASSED_ON[request_name]
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await call(Operations(FakeFileSystem(**{method: error})))
    assert caught.value.__cause__ is error
    return caught.value.errno


@pytest.mark.trio
@pytest.mark.expects_warning("message")
@pytest.mark.parametrize("cls", list(ERRNOS), ids=lambda cls: cls.__name__)
async def test_an_error_leaves_a_handler_as_its_errno(cls):
    assert await errno_when(cls("message")) == ERRNOS[cls]


@pytest.mark.trio
@pytest.mark.expects_warning("unexpected")
@pytest.mark.parametrize("request_name", PASSED_ON)
async def test_no_handler_lets_anything_but_an_errno_out(request_name):
    assert await errno_when(errors.ReadOnlyError("message"), request_name) == errno.EROFS
    assert await errno_when(OSError(errno.EXDEV, "message"), request_name) == errno.EXDEV
    assert await errno_when(KeyError("a mistake"), request_name) == errno.EIO


@pytest.mark.trio
async def test_statfs_lets_nothing_out_either():
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Operations(FakeFileSystem(statvfs=OSError(errno.EACCES, "message"))).statfs(CTX)
    assert caught.value.errno == errno.EACCES


@pytest.mark.trio
@pytest.mark.parametrize("number", [errno.ENOSYS, None])
async def test_enosys_and_errors_without_a_number_leave_as_eio(number):
    assert await errno_when(OSError() if number is None else OSError(number, "message")) == errno.EIO


@pytest.mark.trio
@pytest.mark.parametrize(
    "number", [errno.ENOENT, errno.ENOTEMPTY, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ELOOP]
)
async def test_a_failure_of_the_system_leaves_as_it_is(number):
    assert await errno_when(OSError(number, "message")) == number


@pytest.mark.trio
async def test_an_errno_of_the_adapter_itself_leaves_as_it_is():
    fs = FakeFileSystem(getattr=pyfuse3.FUSEError(errno.ENODATA))
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Operations(fs).getattr(7, CTX)
    assert caught.value is fs.answers["getattr"]


@pytest.mark.trio
async def test_a_request_that_is_cancelled_is_cancelled():
    class Waiting(FakeFileSystem):
        async def getattr(self, ino):
            await trio.sleep_forever()

    with trio.CancelScope() as scope:
        scope.cancel()
        await Operations(Waiting()).getattr(7, CTX)
    assert scope.cancelled_caught


# What is logged ---------------------------------------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.expects_warning("unexpected error in read(9, 4096, 100)")
async def test_what_is_unexpected_is_logged_with_its_traceback_each_time(caplog):
    fs = FakeFileSystem(read=KeyError("a mistake"))
    for _ in range(2):
        with pytest.raises(pyfuse3.FUSEError):
            await Operations(fs).read(9, 4096, 100)
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info[0] for record in records] == [KeyError, KeyError]


LEVELS = {
    "NotFoundError": logging.DEBUG,
    "ExistsError": logging.DEBUG,
    "NotEmptyError": logging.DEBUG,
    "NotSupportedError": logging.DEBUG,
    "ReadOnlyError": logging.DEBUG,
    "InvalidInputError": logging.INFO,
    "BusyError": logging.INFO,
    "PermissionDeniedError": logging.INFO,
    "CredentialsError": logging.INFO,
    "IntegrityError": logging.WARNING,
    "ChangedError": logging.WARNING,
    "UnreachableError": logging.WARNING,
    "NoSpaceError": logging.WARNING,
    "VersionDeletedError": logging.WARNING,
    "SchemaError": logging.WARNING,
}


@pytest.mark.trio
@pytest.mark.expects_warning("getattr: what went wrong")
@pytest.mark.parametrize("name", LEVELS)
async def test_the_level_says_who_has_to_act(caplog, name):
    await errno_when(getattr(errors, name)("what went wrong"))
    assert [record.levelno for record in caplog.records if "what went wrong" in record.getMessage()] == [LEVELS[name]]


@pytest.mark.trio
@pytest.mark.expects_warning("is damaged")
async def test_each_failure_is_given_to_the_log_which_says_each_cause_once(caplog):
    fs = FakeFileSystem()
    ops = Operations(fs)
    for message in ("blob a is damaged", "blob b is damaged") * 3:
        fs.answers["read"] = errors.IntegrityError(message)
        with pytest.raises(pyfuse3.FUSEError):
            await ops.read(9, 0, 1)
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == ["read: blob a is damaged", "read: blob b is damaged"] * 3
