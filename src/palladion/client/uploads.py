"""Send a file in parts, so that a broken connection, or an interrupted command, costs one part and not the file.

The server keeps what has arrived. A file is known by its SHA-256: sending it again goes on where it was.
"""

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final

from palladion.client.answers import Upload
from palladion.client.api import Client
from palladion.client.errors import Conflict, NotFound, Rejected, ServerFault, Unreachable
from palladion.client.retries import Patience
from palladion.client.transfer import Transfer, TransferFactory, silent, transfer
from palladion.client.words import name_in_words, size_in_words
from palladion.errors import InputError

__all__ = ["LARGEST_CHUNK", "SMALLEST_CHUNK", "SentFile", "file_sha256", "next_chunk", "send_file"]

SMALLEST_CHUNK: Final = 64 << 10
LARGEST_CHUNK: Final = 16 << 20
_FIRST_CHUNK: Final = 1 << 20
# A part that takes longer is much to lose; one that takes less is mostly waiting for answers.
_SECONDS: Final = (0.5, 4.0)
_PATIENCE: Final = Patience(tries=8, first=0.5, longest=15.0)
_MOST_BEGINNINGS: Final = 3
_HASHED_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that the server has.

    Attributes:
        path: where it lies here.
        sha256: of what it holds, as hexadecimal digits.
        bytes: its size.
        sent: bytes that travelled this time; 0 where the server had them already.
    """

    path: Path
    sha256: str
    bytes: int
    sent: int


def file_sha256(path: Path, show: TransferFactory = silent) -> str:
    """SHA-256 of a file that is to be sent, as hexadecimal digits.

    Raises:
        InputError: there is no such file, or it is empty.
    """
    with _opened(path) as file:
        return _digest(file, _state(file)[0], name_in_words(path.name), show)


def send_file(client: Client, path: Path, *, sha256: str | None = None, show: TransferFactory = transfer) -> SentFile:
    """Send a file, or what the server lacks of it.

    Args:
        client: of the server.
        path: the file.
        sha256: what :func:`file_sha256` has just said of it, if it was asked.
        show: how progress is shown.

    Raises:
        InputError: there is no such file, it is empty, it changes meanwhile, or it is larger than the server takes.
        ServiceError: the server does not take it, or cannot be reached for a while.
        KeyboardInterrupt: with words about how to go on.
    """
    with _opened(path) as file:
        before = _state(file)
        size = before[0]
        name = name_in_words(path.name)
        rule = client.server().uploads
        if rule.most_bytes is not None and size > rule.most_bytes:
            raise InputError(
                f"has {size_in_words(size)}; the server takes {size_in_words(rule.most_bytes)} at most", path=path
            )
        digest = sha256 or _digest(file, size, name, show)
        sending = _Sending(client, file, name, digest, size, min(rule.chunk_bytes or LARGEST_CHUNK, LARGEST_CHUNK))
        try:
            sending.run(show)
        except Rejected as error:
            if error.code == "checksum_mismatch" and _state(file) != before:
                raise InputError("changed while it was sent; send it again when it is ready", path=path) from None
            raise
        if _state(file) != before:
            raise InputError("changed while it was sent; send it again when it is ready", path=path)
    return SentFile(path, digest, size, sending.sent)


def next_chunk(chunk: int, seconds: float, largest: int = LARGEST_CHUNK) -> int:
    """The size of the next part, after one of ``chunk`` bytes took so many seconds: half, as much, or twice as much."""
    if seconds < _SECONDS[0]:
        chunk *= 2
    elif seconds > _SECONDS[1]:
        chunk //= 2
    return max(min(SMALLEST_CHUNK, largest), min(chunk, largest))


class _Sending:
    """One file on its way.

    Attributes:
        arrived: bytes that the server has, as far as it said.
        sent: bytes of them that travelled this time.
    """

    def __init__(self, client: Client, file: IO[bytes], name: str, digest: str, size: int, largest: int) -> None:
        self._client, self._file, self._name = client, file, name
        self._digest, self._size, self._largest = digest, size, largest
        self._chunk = min(_FIRST_CHUNK, largest)
        self._failures = 0
        self.arrived = self.sent = 0

    def run(self, show: TransferFactory) -> None:
        beginnings = 1
        try:
            upload = self._begin()
            with show(self._size, self._name) as shown:
                shown.reached(self.arrived)
                while not upload.complete:
                    try:
                        upload = self._next(upload, shown)
                    except (NotFound, Rejected) as error:
                        # It lay there for too long and was cleared away, or the bytes were damaged on the way.
                        beginnings += 1
                        if beginnings > _MOST_BEGINNINGS or error.code not in ("not_found", "checksum_mismatch"):
                            raise
                        upload = self._begin()
                    shown.reached(self.arrived)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped; {size_in_words(self.arrived)} of {size_in_words(self._size)} have arrived, and the same "
                "command goes on there"
            ) from None

    def _begin(self) -> Upload:
        return self._noted(self._client.begin_upload(self._digest, self._size))

    def _next(self, upload: Upload, shown: Transfer) -> Upload:
        """Send one part, and say how far it came."""
        self._file.seek(upload.offset)
        chunk = self._file.read(min(self._chunk, self._size - upload.offset))
        # Where all has arrived and nobody heard of the end of it, nothing more is sent, and that ends it.
        if not chunk and upload.offset < self._size:
            raise InputError(f"{self._name}: has become shorter while it was sent; send it again when it is ready")
        began = time.monotonic()
        try:
            after = self._client.send_chunk(upload.id, upload.offset, chunk)
        except Rejected as error:
            # What stands between may take less at a time than the server.
            if error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or len(chunk) <= SMALLEST_CHUNK:
                raise
            self._largest = max(SMALLEST_CHUNK, len(chunk) // 2)
            self._chunk = next_chunk(self._chunk, 0.0, self._largest)
            return upload
        except (Unreachable, Conflict) as error:
            return self._noted(self._found_again(upload, error, shown))
        if after.offset <= upload.offset and not after.complete:
            raise ServerFault("the server takes parts of the file without adding them to it")
        self._failures = 0
        self._chunk = next_chunk(self._chunk, time.monotonic() - began, self._largest)
        self.sent += after.offset - upload.offset
        return self._noted(after)

    def _found_again(self, upload: Upload, error: Unreachable | Conflict, shown: Transfer) -> Upload:
        """Where the file stands after a part failed, once the server can be asked: how much came is its to say."""
        with self._client.patient(_PATIENCE) as client:
            after = client.upload(upload.id)
        self.sent += max(0, after.offset - upload.offset)
        self._failures = 0 if after.offset > upload.offset else self._failures + 1
        if self._failures:
            wait = _PATIENCE.wait(self._failures)
            if wait is None:
                message = f"{error}\n{self._name} is not all there yet; the same command goes on where it is"
                raise type(error)(message, code=error.code, status=error.status) from None
            shown.say(f"{error}; trying again")
            time.sleep(wait)
        self._chunk = next_chunk(self._chunk, float("inf"), self._largest)
        return after

    def _noted(self, upload: Upload) -> Upload:
        if (upload.sha256, upload.bytes) != (self._digest, self._size) or upload.offset > self._size:
            raise ServerFault("the server speaks of another file than the one that is sent")
        self.arrived = upload.offset
        return upload


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        # A pipe would wait for somebody to write into it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from None
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode) or not state.st_size:
        os.close(handle)
        what = "is empty" if stat.S_ISREG(state.st_mode) else "is no plain file"
        raise InputError(f"{what}; give the file that is to be handed in", path=path)
    with os.fdopen(handle, "rb") as file:
        yield file


def _state(file: IO[bytes]) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


def _digest(file: IO[bytes], size: int, name: str, show: TransferFactory) -> str:
    """SHA-256 of the file; a large one shows that something is going on."""
    if size < 256 * _HASHED_AT_ONCE:
        return _hashed(file, lambda _: None)
    try:
        with show(size, f"{name}: checksum") as shown:
            return _hashed(file, shown.reached)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; nothing was sent yet") from None


def _hashed(file: IO[bytes], reached: Callable[[int], None]) -> str:
    digest, done = hashlib.sha256(), 0
    while piece := file.read(_HASHED_AT_ONCE):
        digest.update(piece)
        done += len(piece)
        reached(done)
    return digest.hexdigest()
