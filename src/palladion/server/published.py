"""The files of stages that participants may have: listed, with checksums, and read.

Which they are is said by :mod:`palladion.rounds.stage_data` alone. A name that is asked for is looked up in that list
and is never made into a path, so that there is no name that leads elsewhere.
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from palladion.errors import InputError, PalladionError
from palladion.files import write_atomically
from palladion.jobs.context import StageInfo
from palladion.storage.errors import NotFound

__all__ = ["Published", "PublishedFile", "Source"]

_KEPT: Final = timedelta(seconds=30)
"""For so long a list is not made again: a folder of ten thousand files takes a moment to walk."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of a file come from: a file as it lay there when it was listed, or bytes that were made.

    Attributes:
        path: the file; None: ``content``.
        content: what was made.
        identity: (device, inode, bytes, time of change) of the file.
    """

    path: Path | None
    content: bytes | None
    identity: tuple[int, int, int, int]

    def open(self) -> BinaryIO:
        """The file, if it is still the same.

        Raises:
            NotFound: it is not.
        """
        assert self.path is not None
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            raise NotFound("the file is not there any more") from None
        file = os.fdopen(handle, "rb")
        if _identity(os.fstat(file.fileno())) != self.identity:
            file.close()
            raise NotFound("the file is being changed; ask for the list of files again")
        return file


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file that participants may have.

    Attributes:
        name: where it lies, with ``/`` between folders.
        bytes: how long it is.
        sha256: what it holds.
        source: where its bytes come from.
    """

    name: str
    bytes: int
    sha256: str
    source: Source


class Published:
    """The lists of all stages. Threads may share it.

    Args:
        folder: where checksums are kept, so that they need not be made again after a restart.
        now: the time.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime]) -> None:
        self._folder, self._now = folder, now
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._lists: dict[str, tuple[datetime, str, dict[str, PublishedFile]]] = {}

    def kept(self, stage: StageInfo) -> dict[str, PublishedFile] | None:
        """The files of a stage, if they were listed a moment ago. Raises as :meth:`files`."""
        if stage.row.state == "planned":
            raise NotFound(f"{stage.row.name} is not open yet; its files are there when it is")
        with self._lock:
            made, of, listed = self._lists.get(stage.row.id, (None, "", {}))
        return listed if made is not None and of == _place(stage) and self._now() - made <= _KEPT else None

    def files(self, stage: StageInfo) -> dict[str, PublishedFile]:
        """The files of a stage by name, in order; none of one that is planned.

        Raises:
            NotFound: the stage is planned: what will be in it is not known to anybody before.
            PalladionError: its data cannot be read.
        """
        with self._lock:
            turn = self._locks.setdefault(stage.row.id, threading.Lock())
        # One at a time for each stage: whoever comes meanwhile waits for the same list.
        with turn:
            listed = self.kept(stage)
            if listed is None:
                listed = self._list(stage)
                with self._lock:
                    self._lists[stage.row.id] = (self._now(), _place(stage), listed)
            return listed

    def _list(self, stage: StageInfo) -> dict[str, PublishedFile]:
        from palladion.rounds.stage_data import open_stage_data

        known = self._known(stage.row.id)
        files: dict[str, PublishedFile] = {}
        fresh: dict[str, str] = {}
        try:
            data = open_stage_data(stage.data, stage.track.task, stage.stage.phase, dry_run=stage.stage.dry_run)
            for file in data.published_files():
                if file.content is not None:
                    digest = hashlib.sha256(file.content).hexdigest()
                    source = Source(None, file.content, (0, 0, len(file.content), 0))
                    files[file.name] = PublishedFile(file.name, len(file.content), digest, source)
                    continue
                assert file.path is not None
                status = file.path.stat(follow_symlinks=False)
                source = Source(file.path, None, _identity(status))
                key = f"{file.path} {source.identity}"
                fresh[key] = known.get(key) or _digest(source)
                files[file.name] = PublishedFile(file.name, status.st_size, fresh[key], source)
        except InputError as error:
            # What is wrong with it is for the organisers, in the log; a message has paths in it.
            raise PalladionError(f"the files of {stage.address} cannot be listed: {error}") from error
        except OSError as error:
            raise PalladionError(f"the files of {stage.address} cannot be listed: {error.strerror}") from error
        if fresh != known:
            write_atomically(self._path(stage.row.id), json.dumps(fresh))
        return dict(sorted(files.items()))

    def _path(self, stage_id: str) -> Path:
        return self._folder / f"{stage_id}.json"

    def _known(self, stage_id: str) -> dict[str, str]:
        try:
            known = json.loads(self._path(stage_id).read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _place(stage: StageInfo) -> str:
    """Where the data of a stage lies, which may change with the definition."""
    return f"{stage.data} {stage.stage.phase} {stage.stage.dry_run}"


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _digest(source: Source) -> str:
    whole = hashlib.sha256()
    with source.open() as file:
        while piece := file.read(1 << 20):
            whole.update(piece)
    return whole.hexdigest()
