"""Export a whole challenge to one file: the same bytes for the same challenge, from either kind of database."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from palladion.errors import PalladionError
from palladion.files import written_whole
from palladion.storage import challenges
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database
from palladion.storage.exchange import (
    ARTIFACTS,
    CHALLENGE,
    CHALLENGE_COLUMNS,
    DEFINITION,
    FORMAT,
    MANIFEST,
    TABLES,
    ExportedTable,
    header,
    padding,
    trailer,
)
from palladion.storage.tables import json_text

__all__ = ["export_challenge"]

_CHUNK = 1 << 20
_ROWS = 1000


def export_challenge(database: Database, store: ArtifactStore, name: str, target: Path) -> None:
    """Write everything that there is of a challenge to ``target``; see :mod:`palladion.storage.exchange`.

    It is one state of the challenge, whatever happens to it meanwhile.

    Args:
        database: where it is.
        store: where its files are.
        name: of the challenge.
        target: the archive; one that is there is replaced when the new one is whole.

    Raises:
        NotFound: there is no such challenge.
        PalladionError: a file of it is missing or damaged, or the archive cannot be written.
    """
    # It holds everything that is sealed: for its owner alone.
    with written_whole(target, mode=0o600) as file, database.read() as tx:
        _write(tx, store, name, file)


def _write(tx: Session, store: ArtifactStore, name: str, file: IO[bytes]) -> None:
    challenge = challenges.by_name(tx, name)
    manifest = json_text({"challenge": name, "format": FORMAT})
    _add(file, MANIFEST, [manifest.encode("ascii") + b"\n"])
    _add(file, DEFINITION, [challenge.definition.encode("utf-8")])
    _add(file, CHALLENGE, _lines(tx, CHALLENGE_COLUMNS, challenge.id))
    hashes: list[str] = []
    for table in TABLES:
        _add(file, f"{table.name}.jsonl", _lines(tx, table, challenge.id))
        if table.name == "artifacts":
            hashes = list(tx.execute(table.select(challenge.id)).scalars())
    for sha256 in hashes:
        _add(file, ARTIFACTS + sha256, _artifact(store, sha256))
    file.write(trailer(file.tell()))


def _add(file: IO[bytes], name: str, content: Iterator[bytes] | list[bytes]) -> None:
    """Write a file whose length is known when it is written: its header is put before it then."""
    start = file.tell()
    file.write(header(name, 0))
    for piece in content:
        file.write(piece)
    end = file.tell()
    length = end - start - len(header(name, 0))
    file.write(padding(length))
    after = file.tell()
    file.seek(start)
    file.write(header(name, length))
    file.seek(after)


def _lines(tx: Session, table: ExportedTable, challenge_id: str) -> Iterator[bytes]:
    rows = tx.execute(table.select(challenge_id), execution_options={"yield_per": _ROWS}).mappings()
    for row in rows:
        yield table.line(dict(row))


def _artifact(store: ArtifactStore, sha256: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    with store.open(sha256) as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != sha256:
        raise PalladionError(f"{store.name}: the file {sha256} is damaged")
