"""Files by what they hold: a folder or a bucket in which each lies under its SHA-256, and the table of those in use.

A file is put into the store before any row names it, and its row is gone before the file is: a crash in between leaves
a file that nobody names, which :func:`collect` removes in time, and never a row without its file.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from palladion.errors import InputError, PalladionError
from palladion.storage.database import Database, insert, lock
from palladion.storage.errors import Conflict, NotFound
from palladion.storage.ids import new_id
from palladion.storage.tables import Artifact, Submission, Upload

__all__ = ["SHA256", "ArtifactStore", "Readable", "Stored", "by_sha256", "collect", "register"]

SHA256 = re.compile(r"[0-9a-f]{64}")

_CHUNK = 1 << 20


class Readable(Protocol):
    """Something that gives bytes, and none at its end."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the store.

    Attributes:
        sha256: of what it holds.
        bytes: how long it is.
    """

    sha256: str
    bytes: int


class ArtifactStore:
    """Files under ``ab/cd/abcd...``: in a local folder, or wherever fsspec reaches, such as ``s3://bucket/folder``.

    Nobody ever sees half of a file: in a folder it is written under another name and renamed, and object stores show
    a file when it is whole.

    Args:
        url: a folder, or the URL of one.

    Raises:
        PalladionError: the URL cannot be understood, or what it needs is not installed.
    """

    def __init__(self, url: str | Path) -> None:
        import fsspec  # type: ignore[import-untyped]

        try:
            self._files, root = fsspec.core.url_to_fs(str(url))
        except (ImportError, ValueError) as error:
            # Not the URL itself: it may hold a secret.
            raise PalladionError(f"the store of files cannot be opened: {error}") from None
        self._root = str(root).rstrip("/")
        protocols = self._files.protocol if isinstance(self._files.protocol, tuple) else (self._files.protocol,)
        self._folder = Path(self._root) if "file" in protocols else None
        self.name = self._root if self._folder else f"{protocols[0]}://{self._root}"

    def put_file(self, path: Path, sha256: str | None = None) -> Stored:
        """Put a copy of a local file into the store.

        Args:
            path: the file.
            sha256: what it should hold.

        Raises:
            InputError: it holds something else, or cannot be read; then nothing is in the store.
            PalladionError: the store cannot be written.
        """
        try:
            with path.open("rb") as file:
                return self.put_stream(file, sha256)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", path=path) from None

    def put_stream(self, stream: Readable, sha256: str | None = None, *, most_bytes: int | None = None) -> Stored:
        """Put what a stream gives into the store.

        Args:
            stream: read to its end.
            sha256: what it should hold.
            most_bytes: how long it may be.

        Raises:
            InputError: it holds something else, or more; then nothing is in the store.
            PalladionError: the store cannot be written.
        """
        with self._in_words("written"), self._spool() as (spooled, file):
            digest, length = hashlib.sha256(), 0
            while chunk := stream.read(_CHUNK):
                length += len(chunk)
                if most_bytes is not None and length > most_bytes:
                    raise InputError(f"the file is longer than {most_bytes} bytes")
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            found = digest.hexdigest()
            if sha256 is not None and found != sha256:
                raise InputError(f"the file does not hold what was announced: its SHA-256 is {found}, not {sha256}")
            if not self._there(found, length):
                self._place(spooled, found)
            return Stored(found, length)

    def open(self, sha256: str) -> BinaryIO:
        """The file, to be read.

        Raises:
            NotFound: there is none.
            PalladionError: the store cannot be read.
        """
        with self._in_words("read", sha256):
            return cast("BinaryIO", self._files.open(self._path(sha256), "rb"))

    def fetch(self, sha256: str, target: Path) -> None:
        """Copy the file to the local ``target``, all of it or nothing.

        Raises:
            NotFound: there is none.
            PalladionError: it cannot be read or written, or does not hold any more what it did.
        """
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            digest = hashlib.sha256()
            with os.fdopen(handle, "wb") as file, self.open(sha256) as source, self._in_words("read", sha256):
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise PalladionError(f"{self.name}: the file {sha256} is damaged")
            Path(temporary).replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise

    def exists(self, sha256: str) -> bool:
        """Whether the file is there."""
        with self._in_words("read"):
            return bool(self._files.exists(self._path(sha256)))

    def size(self, sha256: str) -> int:
        """How long the file is, in bytes.

        Raises:
            NotFound: there is none.
        """
        with self._in_words("read", sha256):
            return int(self._files.info(self._path(sha256))["size"])

    def delete(self, sha256: str) -> None:
        """Remove the file; one that is not there is no error."""
        with self._in_words("written"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(sha256))

    def all(self) -> Iterator[tuple[str, datetime]]:
        """Every file that is there, with the time at which it was put."""
        with self._in_words("read"):
            self._files.invalidate_cache()
            for path in self._files.find(self._root):
                name = path.rpartition("/")[2]
                if SHA256.fullmatch(name) and path.endswith(_place_of(name)):
                    with contextlib.suppress(FileNotFoundError):
                        modified = self._files.modified(path)
                        yield name, modified if modified.tzinfo else modified.replace(tzinfo=UTC)

    def leftovers(self, older_than: datetime) -> int:
        """Remove what was left by processes that were killed while they wrote; how many there were."""
        removed = 0
        if self._folder is not None and self._incoming.is_dir():
            for path in self._incoming.iterdir():
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime < older_than.timestamp():
                        path.unlink()
                        removed += 1
        return removed

    @property
    def _incoming(self) -> Path:
        return Path(self._root) / "incoming"

    def _path(self, sha256: str) -> str:
        if not SHA256.fullmatch(sha256):
            raise NotFound(f"there is no file {sha256[:80]!a}")
        return f"{self._root}/{_place_of(sha256)}"

    def _there(self, sha256: str, length: int) -> bool:
        """Whether the store has it; one of another length was damaged, and is written again."""
        path = self._path(sha256)
        return bool(self._files.exists(path)) and int(self._files.info(path)["size"]) == length

    @contextlib.contextmanager
    def _spool(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A file beside the others, or, where the store is elsewhere, a temporary one."""
        directory = None
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._incoming.mkdir(exist_ok=True)
            directory = self._incoming
        handle, name = tempfile.mkstemp(prefix=new_id(), dir=directory)
        try:
            with os.fdopen(handle, "wb") as file:
                yield Path(name), file
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()

    def _place(self, spooled: Path, sha256: str) -> None:
        target = self._path(sha256)
        if self._folder is None:
            self._files.put_file(str(spooled), target)
            return
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        spooled.replace(target)
        # The name has to outlive a power cut as well as the bytes.
        handle = os.open(Path(target).parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _in_words(self, doing: str, sha256: str | None = None) -> Iterator[None]:
        try:
            yield
        except PalladionError:
            raise
        except FileNotFoundError:
            if sha256 is None:
                raise PalladionError(f"{self.name}: cannot be {doing}: there is no such place") from None
            raise NotFound(f"there is no file {sha256[:80]!a}") from None
        except Exception as error:
            # Every kind of store has errors of its own.
            told = getattr(error, "strerror", None) or str(error).splitlines()[:1] or type(error).__name__
            words = told if isinstance(told, str) else told[0]
            raise PalladionError(f"{self.name}: cannot be {doing}: {words}") from error


def register(tx: Session, store: ArtifactStore, stored: Stored, *, now: datetime) -> Artifact:
    """Name a file that was put into the store, so that it stays there; one that is named already is the same.

    Raises:
        Conflict: it is not there any more, because it lay there for long without a name; put it again.
    """
    lock(tx, "artifacts")
    if not store.exists(stored.sha256):
        raise Conflict(f"the file {stored.sha256} is not in the store; upload it again")
    values = {"sha256": stored.sha256, "bytes": stored.bytes, "created": now}
    tx.execute(insert(tx, Artifact).values(values).on_conflict_do_nothing(index_elements=["sha256"]))
    return by_sha256(tx, stored.sha256)


def by_sha256(tx: Session, sha256: str) -> Artifact:
    """The file's row.

    Raises:
        NotFound: there is none.
    """
    artifact = tx.get(Artifact, sha256)
    if artifact is None:
        raise NotFound(f"there is no file {sha256[:80]!a}")
    return artifact


def collect(database: Database, store: ArtifactStore, *, older_than: timedelta, now: datetime) -> int:
    """Remove the files that nobody needs: no submission, no upload, and older than ``older_than``.

    Returns:
        How many were removed.
    """
    limit = now - older_than
    database.run(_forget_unused, limit)
    store.leftovers(limit)
    removed = 0
    for sha256, put in list(store.all()):
        if put <= limit:
            removed += database.run(_remove_unnamed, store, sha256)
    return removed


def _forget_unused(tx: Session, limit: datetime) -> None:
    lock(tx, "artifacts")
    tx.execute(
        delete(Artifact).where(
            Artifact.created <= limit,
            ~select(Submission.id).where(Submission.artifact == Artifact.sha256).exists(),
            ~select(Upload.id).where(Upload.sha256 == Artifact.sha256).exists(),
        ),
        execution_options={"synchronize_session": False},
    )


def _remove_unnamed(tx: Session, store: ArtifactStore, sha256: str) -> int:
    # Under the same lock as `register`: either that sees that the file is gone, or this that it has a name.
    lock(tx, "artifacts")
    if tx.get(Artifact, sha256) is not None:
        return 0
    store.delete(sha256)
    return 1


def _place_of(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"
