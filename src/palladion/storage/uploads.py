"""Uploads that go on where they were: after a lost connection, and after a restart of the service.

What has come lies in a folder of this machine, a file an upload; how long it is says how far the upload is, so that
nothing can disagree with it. When all is there it is checked and put into the store.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from palladion.errors import InputError, PalladionError
from palladion.storage import artifacts
from palladion.storage.artifacts import SHA256, ArtifactStore, Stored
from palladion.storage.database import Database
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.ids import ID, new_id
from palladion.storage.tables import Artifact, Upload

__all__ = ["UploadLimits", "UploadState", "Uploads", "WrongOffset", "note_received"]

_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What an account may upload.

    Attributes:
        bytes: of one file.
        chunk_bytes: of one piece of it.
        open: uploads at a time that are not complete.
        lifetime: within which one must be complete.
    """

    bytes: int = 8 << 30
    chunk_bytes: int = 64 << 20
    open: int = 8
    lifetime: timedelta = _KEPT


@dataclass(frozen=True, slots=True)
class UploadState:
    """How far an upload is.

    Attributes:
        id: of the upload.
        sha256: what it will hold.
        bytes: how long it will be.
        offset: how much of it has come.
        completed: whether it has been checked and is in the store.
        expires: when it is forgotten.
    """

    id: str
    sha256: str
    bytes: int
    offset: int
    completed: bool
    expires: datetime


class WrongOffset(Conflict):
    """The piece does not belong where the upload stands.

    Attributes:
        offset: where it stands, in bytes.
    """

    def __init__(self, given: int, offset: int) -> None:
        self.offset = offset
        super().__init__(f"the upload stands at byte {offset}, not at {given}; go on from there")


class Uploads:
    """The uploads of this machine.

    Args:
        database: where they are known.
        store: where they go when they are complete.
        folder: where they lie until then; made where it is not there.
        limits: see :class:`UploadLimits`.
    """

    def __init__(
        self, database: Database, store: ArtifactStore, folder: Path, limits: UploadLimits | None = None
    ) -> None:
        self._database, self._store, self._folder = database, store, folder
        self.limits = limits or UploadLimits()

    def begin(self, *, account_id: str, sha256: str, bytes: int, now: datetime) -> UploadState:  # noqa: A002
        """Begin an upload, or find the one that this account has begun of the same file.

        Whether the store has the file from somebody else makes no difference, and cannot be learned.

        Args:
            account_id: whose.
            sha256: of the file.
            bytes: of the file.
            now: the time.

        Raises:
            InputError: the file is too long, or the checksum is none.
            Refused: too many uploads of the account are not complete.
        """
        if not SHA256.fullmatch(sha256):
            raise InputError("a SHA-256 is 64 hexadecimal digits in lower case")
        if not 0 <= bytes <= self.limits.bytes:
            raise InputError(f"a file may have {self.limits.bytes} bytes, not {bytes}")
        return self._state(self._database.run(_begun, account_id, sha256, bytes, self.limits, now))

    def state(self, upload_id: str, *, account_id: str, now: datetime) -> UploadState:
        """How far an upload is.

        Raises:
            NotFound: this account has none of this id, or it has expired.
        """
        return self._state(self._row(upload_id, account_id, now))

    def append(self, upload_id: str, offset: int, data: bytes, *, account_id: str, now: datetime) -> int:
        """Add the piece that follows.

        Args:
            upload_id: the upload.
            offset: where the piece belongs, in bytes from the start.
            data: the piece.
            account_id: whose upload it is.
            now: the time.

        Returns:
            Where the next piece belongs.

        Raises:
            NotFound: this account has none of this id, or it has expired.
            WrongOffset: the upload stands elsewhere; nothing was added.
            InputError: the piece is too long; nothing was added.
        """
        row = self._row(upload_id, account_id, now)
        if row.completed is not None:
            raise WrongOffset(offset, row.bytes)
        if len(data) > self.limits.chunk_bytes:
            raise InputError(f"a piece may have {self.limits.chunk_bytes} bytes, not {len(data)}")
        with self._held(row) as file:
            there = os.fstat(file.fileno()).st_size
            if offset != there:
                raise WrongOffset(offset, there)
            if there + len(data) > row.bytes:
                raise InputError(f"the file was announced with {row.bytes} bytes; this would be more")
            try:
                file.seek(there)
                file.write(data)
                file.flush()
            except OSError as error:
                with contextlib.suppress(OSError):
                    file.truncate(there)
                raise PalladionError(f"the piece cannot be written: {error.strerror or error}") from None
            return there + len(data)

    def complete(self, upload_id: str, *, account_id: str, now: datetime) -> Artifact:
        """Check what has come and put it into the store; done twice, it is done once.

        Raises:
            NotFound: this account has none of this id, or it has expired.
            Conflict: not everything has come yet.
            InputError: it is not what was announced; the upload is removed.
        """
        row = self._row(upload_id, account_id, now)
        if row.completed is None:
            with self._held(row) as file:
                there = os.fstat(file.fileno()).st_size
                if there != row.bytes:
                    raise Conflict(f"{there} of {row.bytes} bytes have come; send the rest first")
                try:
                    stored = self._store.put_stream(file, row.sha256)
                except InputError:
                    self.remove(upload_id, account_id=account_id, now=now)
                    raise
                artifact = self._database.run(_completed, self._store, upload_id, stored, now)
        else:
            with self._database.read() as tx:
                artifact = artifacts.by_sha256(tx, row.sha256)
        self._path(upload_id).unlink(missing_ok=True)
        return artifact

    def remove(self, upload_id: str, *, account_id: str, now: datetime) -> None:
        """Give an upload up; a file that is in the store stays there.

        Raises:
            NotFound: this account has none of this id, or it has expired.
        """
        self._row(upload_id, account_id, now)
        self._database.run(_removed, upload_id)
        self._path(upload_id).unlink(missing_ok=True)

    def expire(self, now: datetime) -> int:
        """Remove the uploads whose time is over, and what lies in the folder without one; how many files there were."""
        self._database.run(_expired, now)
        with self._database.read() as tx:
            known = set(tx.execute(select(Upload.id).where(Upload.completed.is_(None))).scalars())
        removed = 0
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if ID.fullmatch(path.name) and path.name not in known:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _row(self, upload_id: str, account_id: str, now: datetime) -> Upload:
        with self._database.read() as tx:
            row = tx.get(Upload, upload_id)
        if row is None or row.account_id != account_id or row.expires <= now:
            raise NotFound("there is no such upload, or it has expired; begin again")
        return row

    def _state(self, row: Upload) -> UploadState:
        offset = row.bytes
        if row.completed is None:
            try:
                offset = self._path(row.id).stat().st_size
            except FileNotFoundError:
                offset = 0
        return UploadState(row.id, row.sha256, row.bytes, offset, row.completed is not None, row.expires)

    def _path(self, upload_id: str) -> Path:
        # Ids come from outside; only those that the table knows get here, and this says so.
        assert ID.fullmatch(upload_id)
        return self._folder / upload_id

    @contextlib.contextmanager
    def _held(self, row: Upload) -> Iterator[IO[bytes]]:
        """The file of an upload, held against every other request about it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._path(row.id), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise PalladionError(f"{self._folder}: cannot be written: {error.strerror or error}") from None
        with os.fdopen(handle, "r+b", buffering=0) as file:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict("another request is writing to this upload; ask where it stands") from None
            yield file


def note_received(tx: Session, store: ArtifactStore, account_id: str, stored: Stored, *, now: datetime) -> Artifact:
    """Note that an account has handed in a file which came otherwise than piece by piece, and name the file.

    Args:
        tx: a write transaction.
        store: where the file is.
        account_id: whose it is.
        stored: what was put into the store.
        now: the time.

    Raises:
        Conflict: the file is not in the store.
    """
    artifact = artifacts.register(tx, store, stored, now=now)
    tx.add(
        Upload(
            id=new_id(),
            account_id=account_id,
            sha256=stored.sha256,
            bytes=stored.bytes,
            created=now,
            expires=now + _KEPT,
            completed=now,
        )
    )
    tx.flush()
    return artifact


def _begun(tx: Session, account_id: str, sha256: str, length: int, limits: UploadLimits, now: datetime) -> Upload:
    mine = select(Upload).where(Upload.account_id == account_id, Upload.expires > now)
    there = tx.execute(
        mine.where(Upload.sha256 == sha256, Upload.bytes == length).order_by(Upload.created.desc()).limit(1)
    ).scalar_one_or_none()
    if there is not None:
        return there
    unfinished = tx.execute(
        select(func.count()).where(Upload.account_id == account_id, Upload.expires > now, Upload.completed.is_(None))
    ).scalar_one()
    if unfinished >= limits.open:
        raise Refused(f"{unfinished} uploads of this account are not complete; complete or remove one of them first")
    upload = Upload(
        id=new_id(),
        account_id=account_id,
        sha256=sha256,
        bytes=length,
        created=now,
        expires=now + limits.lifetime,
    )
    tx.add(upload)
    tx.flush()
    return upload


def _completed(tx: Session, store: ArtifactStore, upload_id: str, stored: Stored, now: datetime) -> Artifact:
    artifact = artifacts.register(tx, store, stored, now=now)
    upload = tx.get(Upload, upload_id)
    if upload is None:
        raise NotFound("there is no such upload, or it has expired; begin again")
    upload.completed, upload.expires = now, now + _KEPT
    tx.flush()
    return artifact


def _removed(tx: Session, upload_id: str) -> None:
    tx.execute(delete(Upload).where(Upload.id == upload_id))


def _expired(tx: Session, now: datetime) -> None:
    tx.execute(delete(Upload).where(Upload.expires <= now))
