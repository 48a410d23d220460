"""Fetch the open data of a stage, so that a broken connection, or an interrupted command, costs nothing.

The server says which files there are, and is trusted with nothing: a name leads nowhere but below the folder, no link
is followed, nothing that differs is overwritten, and a file has its name only once its checksum fits. Until then it
lies beside its place as ``.NAME.CHECKSUM.part``.
"""

import hashlib
import os
import re
import shutil
import stat
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from palladion.client.addresses import Place
from palladion.client.answers import PublishedFile
from palladion.client.api import Client
from palladion.client.errors import NotFound, ServerFault, ServiceError, Unreachable
from palladion.client.retries import Patience
from palladion.client.transfer import Transfer, TransferFactory, transfer
from palladion.client.words import name_in_words, quantity, size_in_words
from palladion.errors import InputError, PalladionError
from palladion.files import exclusive

__all__ = ["Download", "checked_files", "download_files", "part_of"]

_MOST_FILES: Final = 1_000_000
_MOST_PART_BYTES: Final = 180
_MOST_PATH_BYTES: Final = 1000
_MOST_DEPTH: Final = 32
_PART: Final = re.compile(r"\..*\.[0-9a-f]{16}\.part", re.DOTALL)
_HIDING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_PATIENCE: Final = Patience(tries=10, first=0.5, longest=15.0)
_PIECE: Final = 1 << 20
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Download:
    """What came of a download.

    Attributes:
        folder: where the files are.
        files: how many there are.
        bytes: of all of them.
        fetched: files that were not there before.
        received: bytes that travelled.
    """

    folder: Path
    files: int
    bytes: int
    fetched: int
    received: int


def download_files(
    client: Client,
    stage: Place,
    folder: Path,
    *,
    force: bool = False,
    only: Callable[[str], bool] | None = None,
    show: TransferFactory = transfer,
) -> Download:
    """Fetch the files of a stage into a folder; those that are there already are kept.

    Args:
        client: of the server.
        stage: challenge, track and stage.
        folder: made where there is none.
        force: replace files that differ, instead of refusing before anything is fetched.
        only: paths to fetch; by default all.
        show: how progress is shown.

    Raises:
        InputError: files differ that are there, or a link is in the way.
        ServiceError: the server cannot be reached, or its listing is not to be trusted.
        PalladionError: there is no room, or another process downloads here.
        KeyboardInterrupt: with words about how to go on.
    """
    challenge, track, name = stage.challenge, stage.track, stage.stage
    assert track is not None
    assert name is not None
    files = checked_files(client.files(challenge, track, name))
    if only is not None:
        files = [file for file in files if only(file.path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder, "downloading"):
            fetching = _Fetching(client, (challenge, track, name), folder)
            return fetching.run(files, force=force, show=show)
    except OSError as error:
        raise PalladionError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; what has arrived is kept, and the same command goes on there") from None


def checked_files(files: Iterable[PublishedFile]) -> list[PublishedFile]:
    """The files of a listing, sorted by path, if all of them can be written below one folder.

    Raises:
        ServerFault: a path leads elsewhere, hides what it is, or cannot stand beside another.
    """
    kept: dict[str, PublishedFile] = {}
    folders: dict[str, str] = {}
    for file in files:
        if (why := _why_not(file.path)) is not None:
            raise ServerFault(f"the server names a file {name_in_words(file.path)}, which {why}; nothing was fetched")
        parts = file.path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if folders.setdefault(_folded(above), above) != above:
                raise _clash(file.path, folders[_folded(above)])
        if (other := kept.setdefault(_folded(file.path), file)) is not file:
            raise _clash(file.path, other.path)
        if len(kept) > _MOST_FILES:
            raise ServerFault(f"the server names more than {_MOST_FILES:,} files; nothing was fetched")
    for folded, file in kept.items():
        if folded in folders:
            raise _clash(file.path, folders[folded])
    return sorted(kept.values(), key=lambda file: file.path)


def part_of(path: Path, sha256: str) -> Path:
    """Where what has arrived of a file lies until all of it has."""
    return path.with_name(f".{path.name}.{sha256[:16]}.part")


def _why_not(path: str) -> str | None:
    """Why no file may be written at a path that a server names; None where it may."""
    parts = path.split("/")
    if not path.isprintable() or any(unicodedata.category(character) in _HIDING for character in path):
        return "has a character in it that hides what it is"
    if "\\" in path or ":" in path:
        return "has a sign in it that means something else elsewhere"
    if path.startswith("/"):
        return "is absolute"
    if ".." in parts:
        return "leads out of the folder by '..'"
    if any(part in ("", ".") or part != part.strip() for part in parts):
        return "has an empty part in it"
    if len(parts) > _MOST_DEPTH or len(path.encode()) > _MOST_PATH_BYTES:
        return "is too long"
    if any(len(part.encode()) > _MOST_PART_BYTES for part in parts):
        return "has a part that is too long"
    if any(_PART.fullmatch(part) for part in parts):
        return "looks like a file that is still arriving"
    return None


def _clash(path: str, other: str) -> ServerFault:
    return ServerFault(
        f"the server names both {name_in_words(path)} and {name_in_words(other)}, which are not two files everywhere; "
        "nothing was fetched"
    )


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


class _Fetching:
    def __init__(self, client: Client, stage: tuple[str, str, str], folder: Path) -> None:
        self._client, self._stage, self._folder = client, stage, folder
        self._received = 0

    def run(self, files: Sequence[PublishedFile], *, force: bool, show: TransferFactory) -> Download:
        whole = sum(file.bytes for file in files)
        paths = {file.path: self._place(file) for file in files}
        there = [file for file in files if os.path.lexists(paths[file.path])]
        same = self._compare(there, paths, show)
        differing = [file for file in there if file.path not in same]
        if differing and not force:
            shown = ", ".join(name_in_words(file.path) for file in differing[:_SHOWN])
            more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
            raise InputError(
                f"{quantity(len(differing), 'file')} here differ{'s' if len(differing) == 1 else ''} from the "
                f"server's: {shown}{more}; download to another folder, or replace with --force",
                path=self._folder,
            )
        missing = [file for file in files if file.path not in same]
        parts = {file.path: part_of(paths[file.path], file.sha256) for file in missing}
        self._check_room(missing, parts)
        done = whole - sum(file.bytes for file in missing)
        with show(whole, "download") as shown_transfer:
            shown_transfer.reached(done)
            for file in missing:
                self._fetch(file, paths[file.path], parts[file.path], done, shown_transfer)
                done += file.bytes
        return Download(self._folder, len(files), whole, len(missing), self._received)

    def _place(self, file: PublishedFile) -> Path:
        """Where a file goes.

        Raises:
            InputError: something that is no folder, such as a link, is on the way, or stands there.
        """
        path = self._folder
        parts = file.path.split("/")
        for part in parts:
            path /= part
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                return self._folder.joinpath(*parts)
            if stat.S_ISLNK(mode):
                raise InputError("is a link; a download writes through none, so move it away", path=path)
            if part is not parts[-1] and not stat.S_ISDIR(mode):
                raise InputError("is in the place of a folder of the download; move it away", path=path)
        if not stat.S_ISREG(mode):
            raise InputError("is in the place of a file of the download; move it away", path=path)
        return path

    def _compare(self, there: Sequence[PublishedFile], paths: dict[str, Path], show: TransferFactory) -> set[str]:
        """Those of the files that are as the server has them."""
        candidates = [file for file in there if paths[file.path].stat().st_size == file.bytes]
        same: set[str] = set()
        if not candidates:
            return same
        done = 0
        with show(sum(file.bytes for file in candidates), "comparing") as shown:
            for file in candidates:
                with paths[file.path].open("rb") as opened:
                    if _hash(opened, shown, done).hexdigest() == file.sha256:
                        same.add(file.path)
                done += file.bytes
        return same

    def _check_room(self, missing: Sequence[PublishedFile], parts: dict[str, Path]) -> None:
        have = sum(parts[file.path].stat().st_size for file in missing if parts[file.path].is_file())
        needed = sum(file.bytes for file in missing) - have
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise PalladionError(
                f"{self._folder}: {size_in_words(needed)} are to come, and {size_in_words(free)} are free"
            )

    def _fetch(self, file: PublishedFile, path: Path, part: Path, done: int, shown: Transfer) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._place(file)
        for attempt in (1, 2):
            handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            with os.fdopen(handle, "r+b") as opened:
                digest = _hash(opened, shown, done)
                if opened.tell() > file.bytes:
                    _empty(opened)
                    digest = hashlib.sha256()
                if opened.tell() < file.bytes:
                    digest = self._receive(file, opened, digest, done, shown)
                fits = digest.hexdigest() == file.sha256
            if fits:
                part.replace(path)
                shown.reached(done + file.bytes)
                return
            # The part that lay there may be at fault, but not twice.
            part.unlink()
            if attempt == 1:
                shown.say(f"{name_in_words(file.path)}: its checksum does not fit; fetching it anew")
        raise ServerFault(
            f"{name_in_words(file.path)} came twice with bytes that do not fit its checksum; try later, and tell the "
            "organiser if it stays so"
        )

    def _receive(
        self, file: PublishedFile, opened: IO[bytes], digest: "hashlib._Hash", done: int, shown: Transfer
    ) -> "hashlib._Hash":
        """Append what is missing, however often the connection breaks."""
        failures = 0
        furthest = opened.tell()
        while (offset := opened.tell()) < file.bytes:
            try:
                with self._client.file(*self._stage, file.path, offset) as stream:
                    if stream.start != offset:
                        # A server that knows no parts sends all of it.
                        if stream.start:
                            raise ServerFault("the server sends another part of the file than was asked for")
                        _empty(opened)
                        digest, offset = hashlib.sha256(), 0
                    for piece in stream.pieces:
                        if opened.tell() + len(piece) > file.bytes:
                            raise ServerFault(f"{name_in_words(file.path)} is longer than the server said")
                        opened.write(piece)
                        digest.update(piece)
                        self._received += len(piece)
                        if opened.tell() > furthest:
                            furthest, failures = opened.tell(), 0
                        shown.reached(done + opened.tell())
                if opened.tell() < file.bytes:
                    raise Unreachable("the connection ended early")
            except NotFound as error:
                if error.code != "range_not_satisfiable":
                    raise
                raise ServerFault(f"{name_in_words(file.path)} has changed on the server; begin again") from None
            except Unreachable as error:
                failures += 1
                self._pause(failures, error, file, shown)
            finally:
                opened.flush()
        return digest

    def _pause(self, failures: int, error: ServiceError, file: PublishedFile, shown: Transfer) -> None:
        wait = _PATIENCE.wait(failures)
        if wait is None:
            raise Unreachable(
                f"{error}\n{name_in_words(file.path)} is not all here yet; the same command goes on where it is",
                code=error.code,
                status=error.status,
            ) from None
        if failures > 1:
            shown.say(f"{error}; trying again")
        time.sleep(wait)


def _hash(file: IO[bytes], shown: Transfer, done: int) -> "hashlib._Hash":
    """SHA-256 of a file from its beginning; afterwards it stands at its end. ``done`` bytes came before it."""
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
        done += len(piece)
        shown.reached(done)
    return digest


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
