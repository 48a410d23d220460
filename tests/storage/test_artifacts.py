"""Files by what they hold: whole or not there, and gone only when nobody needs them."""

import fcntl
import hashlib
import io
import os
import stat
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palladion.errors import InputError, PalladionError
from palladion.storage import accounts, artifacts, uploads
from palladion.storage.artifacts import ArtifactStore, Stored
from palladion.storage.database import Database
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.ids import new_id
from palladion.storage.uploads import UploadLimits, Uploads, WrongOffset
from tests.storage.conftest import DAY, HOUR, NOW, World


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(params=["folder", "memory"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """A store in a folder, and one that is none."""
    if request.param == "folder":
        return ArtifactStore(tmp_path / "artifacts")
    return ArtifactStore(f"memory://bucket/{new_id()}")


def _put(store: ArtifactStore, content: bytes) -> Stored:
    return store.put_stream(io.BytesIO(content))


def test_what_is_put_can_be_read(any_store: ArtifactStore, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    stored = _put(any_store, content)
    assert stored == Stored(sha(content), len(content))
    with any_store.open(stored.sha256) as file:
        assert file.read() == content
    assert any_store.exists(stored.sha256)
    assert any_store.size(stored.sha256) == len(content)
    any_store.fetch(stored.sha256, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert [name for name, _ in any_store.all()] == [stored.sha256]
    # Twice is once.
    assert _put(any_store, content) == stored
    any_store.delete(stored.sha256)
    any_store.delete(stored.sha256)
    assert not any_store.exists(stored.sha256)
    assert list(any_store.all()) == []
    for read in (any_store.open, any_store.size, lambda name: any_store.fetch(name, tmp_path / "other")):
        with pytest.raises(NotFound):
            read(stored.sha256)
    assert not (tmp_path / "other").exists()


def test_an_empty_file_is_a_file(any_store: ArtifactStore) -> None:
    stored = _put(any_store, b"")
    with any_store.open(stored.sha256) as file:
        assert file.read() == b""


def test_what_is_not_what_was_announced_is_not_put(any_store: ArtifactStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one thing")
    with pytest.raises(InputError, match="not hold what was announced"):
        any_store.put_file(path, sha(b"another"))
    with pytest.raises(InputError, match="longer than 3 bytes"):
        any_store.put_stream(io.BytesIO(b"four"), most_bytes=3)
    with pytest.raises(InputError, match="cannot be read"):
        any_store.put_file(tmp_path / "nothing")
    assert list(any_store.all()) == []
    assert any_store.put_file(path, sha(b"one thing")).bytes == 9


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 63 + "/", "/etc/passwd"])
def test_only_checksums_are_names(any_store: ArtifactStore, name: str) -> None:
    for read in (any_store.open, any_store.size, any_store.exists, any_store.delete):
        with pytest.raises(NotFound):
            read(name)


def test_a_file_in_a_folder_lies_by_its_checksum_and_is_private(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    name = _put(store, b"content").sha256
    path = tmp_path / "artifacts" / name[:2] / name[2:4] / name
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "artifacts").stat().st_mode) == 0o700
    assert _files(tmp_path / "artifacts") == [f"{name[:2]}/{name[2:4]}/{name}"]


def test_a_damaged_file_is_told_and_can_be_put_again(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    name = _put(store, b"content").sha256
    path = tmp_path / "artifacts" / name[:2] / name[2:4] / name
    path.write_bytes(b"conten")
    with pytest.raises(PalladionError, match="damaged"):
        store.fetch(name, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert _files(tmp_path) == [f"artifacts/{name[:2]}/{name[2:4]}/{name}"]
    _put(store, b"content")
    assert path.read_bytes() == b"content"


def test_many_who_put_the_same_at_once(tmp_path: Path) -> None:
    store, content = ArtifactStore(tmp_path / "artifacts"), os.urandom(1 << 20)
    threads = [threading.Thread(target=_put, args=(store, content)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [name for name, _ in store.all()] == [sha(content)]
    assert len(_files(tmp_path)) == 1


def test_a_store_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PalladionError, match="cannot be written"):
        _put(ArtifactStore(tmp_path / "file"), b"x")
    with pytest.raises(PalladionError, match="cannot be opened"):
        ArtifactStore("nonsense://user:s3cret@host/x")


def _collect(world: World, older_than: timedelta, now: datetime) -> int:
    return artifacts.collect(world.database, world.store, older_than=older_than, now=now)


def test_only_what_nobody_needs_is_collected(world: World, tmp_path: Path) -> None:
    used = world.hand_in(b"used").submission.artifact
    uploaded = world.upload(b"uploaded, not submitted yet")
    orphan = _put(world.store, b"put by a process that was killed then").sha256
    later = datetime.now(UTC) + HOUR
    assert _collect(world, DAY, later) == 0
    assert _collect(world, timedelta(0), later) == 1
    assert {name for name, _ in world.store.all()} == {used, uploaded}
    assert not world.store.exists(orphan)
    # A day later the upload is forgotten, and so is what it brought.
    files = Uploads(world.database, world.store, tmp_path / "uploads")
    files.expire(NOW + 2 * DAY)
    assert _collect(world, timedelta(0), later) == 1
    assert {name for name, _ in world.store.all()} == {used}
    with world.database.read() as tx:
        assert artifacts.by_sha256(tx, used).bytes == 4
        with pytest.raises(NotFound):
            artifacts.by_sha256(tx, uploaded)


def test_what_a_killed_process_was_writing_is_removed(world: World) -> None:
    world.upload(b"x")
    left = Path(world.store._root) / "incoming" / "left"
    left.write_bytes(b"half of a")
    assert world.store.leftovers(datetime.now(UTC) - HOUR) == 0
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    assert world.store.leftovers(datetime.now(UTC) - HOUR) == 1
    assert not left.exists()


def test_a_file_that_was_collected_meanwhile_is_not_named(world: World) -> None:
    stored = _put(world.store, b"slow")
    world.store.delete(stored.sha256)
    with pytest.raises(Conflict, match="upload it again"):
        world.database.run(artifacts.register, world.store, stored, now=NOW)


# --- Uploads ---------------------------------------------------------------------------------------------------------


class Sender:
    """Sends files for one account."""

    def __init__(self, world: World, folder: Path, limits: UploadLimits | None = None) -> None:
        self.world, self.account = world, world.captains[0]
        self.files = Uploads(world.database, world.store, folder, limits)

    def begin(self, content: bytes, now: datetime = NOW) -> str:
        return self.files.begin(account_id=self.account, sha256=sha(content), bytes=len(content), now=now).id

    def append(self, upload: str, offset: int, data: bytes, now: datetime = NOW) -> int:
        return self.files.append(upload, offset, data, account_id=self.account, now=now)

    def offset(self, upload: str) -> int:
        return self.files.state(upload, account_id=self.account, now=NOW).offset

    def complete(self, upload: str) -> str:
        return self.files.complete(upload, account_id=self.account, now=NOW).sha256


@pytest.fixture
def sender(world: World, tmp_path: Path) -> Sender:
    return Sender(world, tmp_path / "uploads")


def test_a_file_comes_in_pieces(sender: Sender, tmp_path: Path) -> None:
    content = os.urandom(1000)
    upload = sender.begin(content)
    assert sender.append(upload, 0, content[:400]) == 400
    # The service is restarted.
    sender = Sender(sender.world, tmp_path / "uploads")
    assert sender.begin(content) == upload
    assert sender.offset(upload) == 400
    assert sender.append(upload, 400, content[400:]) == 1000
    assert sender.complete(upload) == sha(content)
    assert _files(tmp_path / "uploads") == []
    # Whoever did not hear the answer asks again, in whatever way.
    assert sender.complete(upload) == sha(content)
    assert sender.begin(content) == upload
    state = sender.files.state(upload, account_id=sender.account, now=NOW)
    assert (state.completed, state.offset) == (True, 1000)
    with pytest.raises(WrongOffset):
        sender.append(upload, 0, content)
    assert sender.world.submit(sha(content)).created


def test_a_piece_that_does_not_follow_is_refused_with_the_right_place(sender: Sender) -> None:
    upload = sender.begin(b"0123456789")
    sender.append(upload, 0, b"0123")
    for offset in (0, 3, 5, 100, -1):
        with pytest.raises(WrongOffset, match="stands at byte 4") as wrong:
            sender.append(upload, offset, b"4")
        assert wrong.value.offset == 4
    assert sender.append(upload, 4, b"") == 4
    with pytest.raises(InputError, match="announced with 10 bytes"):
        sender.append(upload, 4, b"4567890")
    with pytest.raises(Conflict, match="4 of 10 bytes have come"):
        sender.complete(upload)
    assert sender.append(upload, 4, b"456789") == 10


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    content=st.binary(max_size=60),
    attempts=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=20),
)
def test_whatever_is_sent_in_whatever_order_what_arrives_is_the_file(
    sender: Sender, content: bytes, attempts: list[tuple[int, int]]
) -> None:
    upload, told = sender.begin(content), list[tuple[int, int]]()
    if sender.files.state(upload, account_id=sender.account, now=NOW).completed:
        return
    there = sender.offset(upload)
    for offset, length in attempts:
        try:
            there = sender.append(upload, offset, content[offset : offset + length])
        except WrongOffset as wrong:
            told.append((wrong.offset, there))
    assert all(offset == right for offset, right in told)
    if there < len(content):
        sender.append(upload, there, content[there:])
    assert sender.complete(upload) == sha(content)


def test_what_is_not_what_was_announced_is_removed(sender: Sender, tmp_path: Path) -> None:
    upload = sender.begin(b"one thing")
    sender.append(upload, 0, b"other one")
    with pytest.raises(InputError, match="not hold what was announced"):
        sender.complete(upload)
    with pytest.raises(NotFound, match="begin again"):
        sender.offset(upload)
    assert _files(tmp_path / "uploads") == []
    assert list(sender.world.store.all()) == []
    assert sender.begin(b"one thing") != upload


def test_an_upload_is_its_owners(sender: Sender) -> None:
    upload = sender.begin(b"secret")
    sender.append(upload, 0, b"sec")
    other = sender.world.captains[1]
    for act in (
        lambda: sender.files.state(upload, account_id=other, now=NOW),
        lambda: sender.files.append(upload, 3, b"ret", account_id=other, now=NOW),
        lambda: sender.files.complete(upload, account_id=other, now=NOW),
        lambda: sender.files.remove(upload, account_id=other, now=NOW),
    ):
        with pytest.raises(NotFound):
            act()
    # Nor does announcing the same file find it, before or after it is complete.
    assert sender.files.begin(account_id=other, sha256=sha(b"secret"), bytes=6, now=NOW).offset == 0
    sender.append(upload, 3, b"ret")
    sender.complete(upload)
    state = sender.files.begin(account_id=other, sha256=sha(b"secret"), bytes=6, now=NOW)
    assert (state.offset, state.completed) == (0, False)
    with pytest.raises(NotFound, match="upload it first"):
        sender.world.submit(sha(b"secret"), team=1)


def test_what_an_account_may_upload_is_bounded(world: World, tmp_path: Path) -> None:
    sender = Sender(world, tmp_path / "uploads", UploadLimits(bytes=10, chunk_bytes=4, open=2))
    with pytest.raises(InputError, match="may have 10 bytes, not 11"):
        sender.begin(b"x" * 11)
    with pytest.raises(InputError):
        sender.files.begin(account_id=sender.account, sha256=sha(b""), bytes=-1, now=NOW)
    with pytest.raises(InputError, match="64 hexadecimal"):
        sender.files.begin(account_id=sender.account, sha256="../x", bytes=1, now=NOW)
    first = sender.begin(b"1")
    sender.begin(b"2")
    with pytest.raises(Refused, match="2 uploads of this account are not complete"):
        sender.begin(b"3")
    with pytest.raises(InputError, match="a piece may have 4 bytes"):
        sender.append(first, 0, b"12345")
    sender.files.remove(first, account_id=sender.account, now=NOW)
    sender.begin(b"3")


def test_an_upload_expires(sender: Sender, tmp_path: Path) -> None:
    upload, other = sender.begin(b"old"), sender.begin(b"new", NOW + HOUR)
    sender.append(upload, 0, b"o")
    sender.append(other, 0, b"n")
    (tmp_path / "uploads" / new_id()).write_bytes(b"of an upload that nobody knows")
    (tmp_path / "uploads" / "README").write_text("not ours")
    assert sender.files.expire(NOW + DAY) == 2
    assert _files(tmp_path / "uploads") == sorted(["README", other])
    with pytest.raises(NotFound):
        sender.append(upload, 1, b"l", NOW + DAY)
    assert sender.append(other, 1, b"e", NOW + DAY) == 2


def test_a_link_in_the_folder_leads_nowhere(sender: Sender, tmp_path: Path) -> None:
    upload = sender.begin(b"abc")
    (tmp_path / "uploads").mkdir(exist_ok=True)
    (tmp_path / "victim").write_bytes(b"")
    (tmp_path / "uploads" / upload).symlink_to(tmp_path / "victim")
    with pytest.raises(PalladionError, match="cannot be written"):
        sender.append(upload, 0, b"abc")
    assert (tmp_path / "victim").read_bytes() == b""


def test_two_requests_do_not_mix(sender: Sender) -> None:
    """Of many who append at the same place at once, one does; the others hear where to go on."""
    content = b"".join(bytes([i]) * 1000 for i in range(8))
    upload = sender.begin(content[:1000])
    start, answers = threading.Barrier(8), list[str]()

    def append(i: int) -> None:
        start.wait()
        try:
            sender.append(upload, 0, content[1000 * i : 1000 * (i + 1)])
            answers.append("written")
        except Conflict:
            answers.append("refused")

    threads = [threading.Thread(target=append, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["refused"] * 7 + ["written"]
    assert sender.offset(upload) == 1000


def test_whoever_is_writing_is_not_disturbed(sender: Sender, tmp_path: Path) -> None:
    upload = sender.begin(b"abc")
    sender.append(upload, 0, b"a")
    with (tmp_path / "uploads" / upload).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another request is writing"):
            sender.append(upload, 1, b"bc")
        with pytest.raises(Conflict, match="another request is writing"):
            sender.complete(upload)
    assert sender.append(upload, 1, b"bc") == 3


def test_a_file_that_came_otherwise_is_noted(world: World) -> None:
    stored = _put(world.store, b"in one piece")
    artifact = world.database.run(uploads.note_received, world.store, world.captains[0], stored, now=NOW)
    assert (artifact.sha256, artifact.bytes) == (sha(b"in one piece"), 12)
    assert world.submit(stored.sha256).created


def test_the_database_and_the_files_of_another_machine(database: Database, tmp_path: Path) -> None:
    """A store that is elsewhere: the pieces lie here, the file goes there."""
    store = ArtifactStore(f"memory://bucket/{new_id()}")
    account = database.run(accounts.create, name="alice", now=NOW, actor="olga").id
    files = Uploads(database, store, tmp_path / "uploads")
    state = files.begin(account_id=account, sha256=sha(b"abc"), bytes=3, now=NOW)
    files.append(state.id, 0, b"abc", account_id=account, now=NOW)
    files.complete(state.id, account_id=account, now=NOW)
    assert [name for name, _ in store.all()] == [sha(b"abc")]
    assert fsspec.filesystem("memory").exists(store._path(sha(b"abc")))
