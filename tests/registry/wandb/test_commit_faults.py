"""A commit to a W&B server where something goes wrong on the way: it goes on, or it can go on later. Large files go in parts."""

import os

import pytest

from artfs.errors import BusyError, IntegrityError, InvalidInputError, PermissionDeniedError, UnreachableError
from artfs.staging.journal import Journal
from artfs.staging.progress import CommitInterrupted, Progress
from artfs.storage import wandb_parts, wandb_upload
from tests.registry.wandb.conftest import pending, uploads
from tests.servers.faults import Reset, Status
from tests.staging.test_commit import commit, content, make
from tests.wandb_server.blobs import UploadError
from tests.wandb_server.faults import ExpiredURLs, GraphQLError

FILES = {f"f{number}": b"%d" % number * 100 for number in range(30)}
BIG = os.urandom(5 * 65536 + 17)


@pytest.fixture
def hasty(environment, monkeypatch):
    """Have `services` give up sooner than after a minute."""
    monkeypatch.setenv("ARTFS_RETRY_SECONDS", "4")


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(wandb_parts, "FROM", 3 * 65536)
    monkeypatch.setattr(wandb_parts, "PART", 65536)


def parts(server):
    return server.requests("PUT", "partNumber=")


@pytest.mark.parametrize(
    ("fault", "path", "hits"),
    [
        (Status(500), "/wandb_artifacts/", 1),
        (Status(429, retry_after=0), "/wandb_artifacts/", 1),
        (Status(403), "/wandb_artifacts/", 1),
        (Reset(None), "/wandb_artifacts/", 1),
        (Status(500), "/wandb_manifests/", 1),
        (Status(403), "/wandb_manifests/", 1),
        (Reset(None), "/wandb_manifests/", 1),
    ],
    ids=["file 500", "file 429", "file 403", "file cut", "manifest 500", "manifest 403", "manifest cut"],
)
def test_a_transfer_that_fails_once_is_made_again(server, services, fresh, fault, path, hits):
    injection = server.inject(fault, method="PUT", path=path)
    version = commit(services, make(services, FILES)).version
    assert injection.hits == hits
    assert content(fresh, version) == FILES


@pytest.mark.parametrize(
    "fault", [Status(503), Reset(None), Reset(before_reply=True)], ids=["503", "cut", "answer lost"]
)
def test_questions_that_fail_once_are_asked_again(server, services, fault):
    for operation in ("CreateArtifact", "CreateArtifactManifest", "CreateArtifactFiles", "CommitArtifact"):
        server.inject(fault, operation=operation)
    version = commit(services, make(services, FILES), "best").version
    assert (version.index, version.aliases) == (0, ("best", "latest"))
    assert len(server.project("me", "demo").collections["data"].members) == 1
    assert pending(server) == []


def test_expired_urls_are_asked_for_again_for_the_files_that_need_them(server, services, fresh):
    server.inject(ExpiredURLs(), operation="CreateArtifactFiles")
    version = commit(services, make(services, FILES)).version
    assert [
        len(one.variables["input"]["artifactFiles"]) for one in server.requests(operation="CreateArtifactFiles")
    ] == [30, 30]
    assert content(fresh, version) == FILES


def test_some_urls_that_expire_early_are_asked_for_again(server, services):
    server.inject(Status(403), times=7, method="PUT", path="/wandb_artifacts/")
    commit(services, make(services, FILES))
    assert [
        len(one.variables["input"]["artifactFiles"]) for one in server.requests(operation="CreateArtifactFiles")
    ] == [30, 7]


def test_urls_that_are_always_refused_end_the_commit_and_the_draft_stays(server, services):
    server.inject(Status(403), times=None, method="PUT", path="/wandb_artifacts/")
    draft = make(services, FILES)
    with pytest.raises(Exception, match="403"):
        commit(services, draft)
    assert "403" in draft.error
    assert server.count(operation="CreateArtifactFiles") == 3
    assert pending(server) == []
    server.clear()
    assert commit(services, draft).created


@pytest.mark.expects_warning("the registry is away")
def test_a_server_that_goes_away_in_the_middle_is_waited_for_and_what_came_is_not_sent_again(
    server, hasty, services, fresh, monkeypatch
):
    monkeypatch.setattr(wandb_upload, "BATCH", 10)
    draft, count = make(services, FILES), 0
    real = type(services.backends._wandb()).ask

    def ask(self, operation, variables):
        nonlocal count
        count += operation.name == "CreateArtifactFiles"
        if count == 2:
            server.inject(GraphQLError(status=503), times=None, operation="CreateArtifactFiles")
            count += 10
        return real(self, operation, variables)

    monkeypatch.setattr(type(services.backends._wandb()), "ask", ask)
    with pytest.raises(UnreachableError):
        commit(services, draft)
    assert (len(uploads(server)), draft.error) == (10, None)
    server.clear()
    server.forget()
    version = services.committer().run(draft, Progress()).version
    assert len(uploads(server)) == 20
    assert version.index == 0
    assert content(fresh, version) == FILES


def test_an_answer_that_is_not_about_each_file_is_refused(server, services, monkeypatch):
    draft = make(services, FILES)
    with monkeypatch.context() as patch:
        session = type(services.backends._wandb())
        real = session.ask

        def ask(self, operation, variables):
            answer = real(self, operation, variables)
            if operation.name == "CreateArtifactFiles":
                answer["createArtifactFiles"]["files"]["edges"].pop()
            return answer

        patch.setattr(session, "ask", ask)
        with pytest.raises(IntegrityError, match="each of the files"):
            commit(services, draft)
    assert commit(services, draft).created


def test_a_commit_that_is_interrupted_goes_on_later(server, services):
    draft, progress = make(services, FILES), Progress()
    committer = services.committer(lambda step: progress.cancelled.set() if step == "reserved" else None)
    committer.freeze(draft, Journal())
    with pytest.raises(CommitInterrupted):
        committer.run(draft, progress)
    assert committer.is_frozen(draft)
    assert services.committer().run(draft, Progress()).version.index == 0


class TestParts:
    def test_a_large_file_goes_in_parts_and_comes_back(self, server, services, fresh, small_parts):
        files = {"big": BIG, "same": BIG, "exact": BIG[: 4 * 65536], "small": b"x"}
        version = commit(services, make(services, files)).version
        assert len(parts(server)) == 6 + 4
        assert server.count(operation="CompleteMultipartUploadArtifact") == 2
        assert server.count(operation="CreateArtifactFiles") == 1
        assert content(fresh, version) == files

    def test_a_large_file_that_the_server_has_is_not_sent(self, server, services, small_parts):
        commit(services, make(services, {"big": BIG}))
        server.forget()
        assert commit(services, make(services, {"big": BIG, "new": b"1"})).created
        assert (len(parts(server)), len(uploads(server))) == (0, 1)

    @pytest.mark.parametrize("fault", [Status(500), Status(403), Reset(None)], ids=["500", "403", "cut"])
    def test_a_part_that_fails_once_is_sent_again(self, server, services, fresh, small_parts, fault):
        server.inject(fault, method="PUT", path="partNumber=3")
        version = commit(services, make(services, {"big": BIG})).version
        assert content(fresh, version) == {"big": BIG}

    def test_an_upload_that_is_forgotten_by_the_server_is_begun_again(
        self, server, services, fresh, small_parts, monkeypatch
    ):
        bucket, forgotten = server.state.bucket, []
        real = bucket.put_part

        def put_part(upload_id, number, received):
            if not forgotten:
                forgotten.append(upload_id)
            if upload_id in forgotten:
                raise UploadError("NoSuchUpload", "The specified multipart upload does not exist.")
            return real(upload_id, number, received)

        monkeypatch.setattr(bucket, "put_part", put_part)
        version = commit(services, make(services, {"big": BIG})).version
        assert content(fresh, version) == {"big": BIG}
        assert server.count(operation="CreateArtifactFiles") == 2

    def test_an_upload_that_breaks_off_goes_on_if_the_server_knows_it_still(
        self, server, services, fresh, small_parts, monkeypatch
    ):
        bucket = server.state.bucket
        real = bucket.begin

        def begin(key, expected):
            known = [
                name for name, upload in bucket.uploads.items() if upload.key == key and upload.expected == expected
            ]
            return known[0] if known else real(key, expected)

        monkeypatch.setattr(bucket, "begin", begin)
        monkeypatch.setattr(wandb_upload, "UPLOADS", 1)
        draft = make(services, {"big": BIG})
        progress = Progress()
        arrived, put_part = [], bucket.put_part

        def stopping(upload_id, number, received):
            arrived.append(number)
            if len(arrived) == 3:
                progress.cancelled.set()
            return put_part(upload_id, number, received)

        monkeypatch.setattr(bucket, "put_part", stopping)
        committer = services.committer()
        committer.freeze(draft, Journal())
        with pytest.raises(CommitInterrupted):
            committer.run(draft, progress)
        before = len(arrived)
        assert before < 6
        hashed = []
        monkeypatch.setattr(wandb_parts, "_md5", lambda *_: hashed.append(1))
        version = services.committer().run(draft, Progress()).version
        assert hashed == []
        assert len(arrived) <= 6 + 1  # the part that was on its way was not noted
        assert content(fresh, version) == {"big": BIG}

    @pytest.mark.parametrize("same", [True, False], ids=["the same upload", "another upload each time"])
    def test_urls_that_expire_again_and_again(self, server, services, fresh, small_parts, monkeypatch, same):
        bucket = server.state.bucket
        real, put_part, arrived = bucket.begin, bucket.put_part, []
        if same:
            monkeypatch.setattr(
                bucket, "begin", lambda key, expected: next(iter(bucket.uploads), None) or real(key, expected)
            )

        def expiring(upload_id, number, received):
            arrived.append(number)
            server.expire_urls()
            return put_part(upload_id, number, received)

        monkeypatch.setattr(bucket, "put_part", expiring)
        monkeypatch.setattr(wandb_upload, "UPLOADS", 1)
        draft = make(services, {"big": BIG})
        if same:
            assert content(fresh, commit(services, draft).version) == {"big": BIG}
            assert sorted(arrived) == [1, 2, 3, 4, 5, 6]
        else:
            with pytest.raises(PermissionDeniedError):
                commit(services, draft)
            assert len(arrived) < 6

    def test_the_parts_of_very_large_files_are_larger(self):
        memory = wandb_parts.Parts(None)
        assert memory.count((2 << 30) - 1) == 0
        assert (memory.count(2 << 30), wandb_parts.part_size(2 << 30)) == (21, 100 << 20)
        size = (100 << 20) * 10_000
        assert (memory.count(size), memory.count(size + 1)) == (10_000, 10_000)
        assert wandb_parts.part_size(size + 1) == (100 << 20) + 4096
        assert memory.count(5 << 40) <= 10_000
        with pytest.raises(InvalidInputError, match="5 TiB"):
            memory.count((5 << 40) + 1)


def test_a_file_that_changes_while_it_is_sent_is_named(server, services, monkeypatch):
    draft = make(services, {"a": b"0" * 1000})
    session = type(services.backends._wandb())
    real = session.put

    def put(self, url, headers, data):
        descriptor = draft.tree.open("a", os.O_WRONLY)
        os.write(descriptor, b"1" * 10)
        os.close(descriptor)
        return real(self, url, headers, data)

    monkeypatch.setattr(session, "put", put)
    with pytest.raises(BusyError, match="a has changed"):
        commit(services, draft)
