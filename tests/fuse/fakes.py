"""A vfs that notes what it is asked and answers what the test says, and the contexts of requests."""

from types import SimpleNamespace

from artfs.vfs.types import FOREVER, Attr, Caller, Inode

CTX = SimpleNamespace(uid=1000, gid=100, pid=4242, umask=0o027)
CALLER = Caller(uid=1000, gid=100, pid=4242, umask=0o027)


def attr(ino=7, **fields):
    """Return attributes in which every field has another value."""
    values = {
        "mode": 0o100644, "nlink": 2, "size": 1234, "blocks": 3, "uid": 10, "gid": 11, "atime_ns": 10**18 + 1, "mtime_ns": 10**18 + 2,
        "ctime_ns": 10**18 + 3, "entry_ttl": FOREVER, "attr_ttl": 2.5, "rdev": 0, **fields,
    }  # fmt: skip
    return Attr(ino=Inode(ino), **values)


class FakeFileSystem:
    """Every method notes its call and returns, or raises, what was put under its name."""

    def __init__(self, **answers):
        self.answers = answers
        self.calls = []  # (method, arguments, options)
        self.remembered = []
        self.forgotten = []

    def remember(self, ino):
        self.remembered.append(ino)

    def forget(self, ino, lookups):
        if "forget" in self.answers:
            raise self.answers["forget"]
        self.forgotten.append((ino, lookups))

    def statvfs(self):
        return self._answer("statvfs", (), {})

    def _answer(self, name, arguments, options):
        self.calls.append((name, arguments, options))
        answer = self.answers.get(name)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __getattr__(self, name):
        async def method(*arguments, **options):
            return self._answer(name, arguments, options)

        return method
