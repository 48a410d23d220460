"""Import a challenge that was exported, perhaps by somebody else: everything in the file is checked, nothing believed.

What comes in gets no rights: accounts are participants and have neither password nor token. Every row may name only
rows of the same file. It is one transaction: a file that is refused at its last line leaves nothing but, in the store,
files that nobody names, which are removed in time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import insert as plain_insert
from sqlalchemy import select
from sqlalchemy.orm import Session

from palladion.challenge.definition import CHALLENGE_FILE, parse_challenge
from palladion.challenge.definition import Challenge as Definition
from palladion.errors import InputError
from palladion.storage import accounts, artifacts, audit, queue
from palladion.storage.artifacts import ArtifactStore, Stored
from palladion.storage.database import Database, lock
from palladion.storage.endings import EVALUATE
from palladion.storage.errors import Conflict
from palladion.storage.exchange import (
    ARTIFACTS,
    CHALLENGE,
    CHALLENGE_COLUMNS,
    DEFINITION,
    FORMATS,
    MANIFEST,
    TABLES,
    ExportedTable,
    Member,
    members,
    parse_json,
)
from palladion.storage.migrations import told_before
from palladion.storage.migrations.told_before import tellings
from palladion.storage.tables import Account, Challenge, Evaluation, Score, Stage, Submission, Telling
from palladion.storage.texts import fold, storable

__all__ = ["ImportLimits", "import_challenge"]

_ROWS = 1000
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """How much an export may hold.

    Attributes:
        line_bytes: of one row.
        rows: of one table.
        artifacts: files.
        artifact_bytes: of one file.
    """

    line_bytes: int = 16 << 20
    rows: int = 50_000_000
    artifacts: int = 1_000_000
    artifact_bytes: int = 8 << 30


def import_challenge(
    database: Database,
    store: ArtifactStore,
    source: Path,
    *,
    folder: Path,
    now: datetime,
    actor: str,
    limits: ImportLimits | None = None,
) -> Challenge:
    """Import a challenge, which no other of its name may be there for.

    An account that is known here by the same id and the same name is the same account; else its name must be free.

    Args:
        database: where to.
        store: where its files go.
        source: the archive.
        folder: what the paths in the definition are relative to, here.
        now: the time.
        actor: who imports it.
        limits: how much it may hold.

    Raises:
        InputError: the archive is not an export, damaged, or says what cannot be; nothing was imported.
        Conflict: the challenge, or a name in it, is there already; nothing was imported.
        PalladionError: the archive cannot be read, or the store not be written.
    """
    limits = limits or ImportLimits()
    try:
        with source.open("rb") as file:
            length = source.stat().st_size
            version = _version(file, length, source)
            reader = _Reader(file, source, _found(file, length, source, limits, version), limits, version)
            definition = reader.definition()
            stored = reader.artifacts(store)
            return database.run(_import, reader, definition, store, stored, folder, now, actor)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=source) from None


def _tables(version: int) -> list[ExportedTable]:
    return [table for table in TABLES if table.since <= version]


def _version(file: IO[bytes], length: int, source: Path) -> int:
    """The version of the format. What is none is taken for the latest, and found to be none where it is read."""
    try:
        first = next(members(file, length), None)
        if first is None or first.name != MANIFEST or first.length > _MOST_BYTES:
            return len(FORMATS)
        file.seek(first.start)
        manifest = parse_json(file.read(first.length))
    except InputError as error:
        raise InputError(error.problem, path=source) from None
    except ValueError:
        return len(FORMATS)
    told = manifest.get("format") if isinstance(manifest, dict) else None
    return FORMATS.index(told) + 1 if told in FORMATS else len(FORMATS)


def _found(file: IO[bytes], length: int, source: Path, limits: ImportLimits, version: int) -> dict[str, Member]:
    """The files of the archive by name: those that an export has, in its order, and none else."""
    wanted = [MANIFEST, DEFINITION, CHALLENGE, *(table.name + ".jsonl" for table in _tables(version))]
    found: dict[str, Member] = {}
    last = ""
    try:
        for member in members(file, length):
            if len(found) < len(wanted):
                if member.name != wanted[len(found)]:
                    raise InputError(f"has {member.name[:80]!a} where {wanted[len(found)]} should be")
            elif not member.name.startswith(ARTIFACTS) or member.name <= last:
                raise InputError(f"has a file {member.name[:80]!a}, which does not belong there")
            elif len(found) >= len(wanted) + limits.artifacts or member.length > limits.artifact_bytes:
                raise InputError("holds more or longer files than may be imported")
            else:
                last = member.name
            found[member.name] = member
        if len(found) < len(wanted):
            raise InputError(f"has no {wanted[len(found)]}")
    except InputError as error:
        raise InputError(error.problem, path=source) from None
    return found


class _Reader:
    """Reads the files of an archive whose table of contents has been checked.

    Attributes:
        version: of the format.
    """

    def __init__(
        self, file: IO[bytes], source: Path, found: dict[str, Member], limits: ImportLimits, version: int
    ) -> None:
        self._file, self._source, self._found, self._limits, self.version = file, source, found, limits, version

    def definition(self) -> tuple[str, Definition]:
        """The definition of the challenge, as it stands there and as it is understood."""
        manifest = self._json(MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") not in FORMATS:
            known = " or ".join(FORMATS)
            raise self._fault(MANIFEST, f"is not of the format {known}; another version of Palladion may read it")
        try:
            text = self._small(DEFINITION).decode("utf-8")
        except UnicodeDecodeError:
            raise self._fault(DEFINITION, "is no text") from None
        if not storable(text):
            raise self._fault(DEFINITION, "is no text")
        definition = parse_challenge(text, self._source / CHALLENGE_FILE)
        if manifest != {"format": FORMATS[self.version - 1], "challenge": definition.name}:
            raise self._fault(MANIFEST, "speaks of another challenge than its definition")
        return text, definition

    def artifacts(self, store: ArtifactStore) -> list[Stored]:
        """Put the files into the store, each checked."""
        table = next(table for table in TABLES if table.name == "artifacts")
        told = {row["sha256"]: row["bytes"] for _, row in self.rows(table)}
        there = {name.removeprefix(ARTIFACTS): m for name, m in self._found.items() if name.startswith(ARTIFACTS)}
        if told != {sha256: member.length for sha256, member in there.items()}:
            raise self._fault("artifacts.jsonl", "does not name the files that are there")
        stored = []
        for sha256, member in there.items():
            self._file.seek(member.start)
            try:
                stored.append(store.put_stream(_Window(self._file, member.length), sha256))
            except InputError as error:
                raise self._fault(member.name, error.problem) from None
        return stored

    def challenge(self) -> dict[str, Any]:
        """The row of the challenge itself, as far as the definition does not say it."""
        rows = list(self._rows(CHALLENGE, CHALLENGE_COLUMNS))
        if len(rows) != 1:
            raise self._fault(CHALLENGE, "must hold one line")
        return rows[0][1]

    def rows(self, table: ExportedTable) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of a table with the numbers of their lines."""
        return self._rows(table.name + ".jsonl", table)

    def fault(self, table: ExportedTable, line: int, message: str) -> InputError:
        """What is wrong with a row."""
        return InputError(f"{table.name}.jsonl, line {line}: {message}", path=self._source)

    def _rows(self, name: str, table: ExportedTable) -> Iterator[tuple[int, dict[str, Any]]]:
        member = self._found[name]
        position, end, number = member.start, member.start + member.length, 0
        last: list[Any] | None = None
        while position < end:
            number += 1
            # Others read from the same file between two rows.
            self._file.seek(position)
            line = self._file.readline(min(self._limits.line_bytes, end - position))
            position += len(line)
            if not line.endswith(b"\n") or number > self._limits.rows:
                raise self._fault(name, f"line {number} is longer than may be, or has no end, or is one too many")
            try:
                values = table.values(line, self.version)
            except ValueError as error:
                raise self._fault(name, f"line {number}: {error}") from None
            if table.line(values) != line:
                raise self._fault(name, f"line {number} is not written as an export writes it")
            key = [values[column] for column in table.order if column in values]
            if table.name != "audit" and last is not None and key <= last:
                raise self._fault(name, f"line {number} does not stand where it belongs")
            last = key
            yield number, values

    def _json(self, name: str) -> Any:
        try:
            return parse_json(self._small(name))
        except ValueError as error:
            raise self._fault(name, f"is no JSON: {str(error)[:100]}") from None

    def _small(self, name: str) -> bytes:
        member = self._found[name]
        if member.length > _MOST_BYTES:
            raise self._fault(name, "is longer than 1 MiB")
        self._file.seek(member.start)
        return self._file.read(member.length)

    def _fault(self, name: str, message: str) -> InputError:
        return InputError(f"{name}: {message}", path=self._source)


class _Window:
    """The next bytes of a file, as a stream."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file, self._left = file, length

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes."""
        piece = self._file.read(min(size, self._left))
        self._left -= len(piece)
        return piece


def _import(
    tx: Session,
    reader: _Reader,
    definition: tuple[str, Definition],
    store: ArtifactStore,
    stored: list[Stored],
    folder: Path,
    now: datetime,
    actor: str,
) -> Challenge:
    lock(tx, "import")
    text, read = definition
    if tx.execute(select(Challenge.id).where(Challenge.name == read.name)).first():
        raise Conflict(f"there is a challenge {read.name} already")
    challenge = Challenge(
        **reader.challenge(), name=read.name, title=read.title, definition=text, folder=str(folder.absolute())
    )
    if tx.get(Challenge, challenge.id) is not None:
        raise Conflict("this challenge is there already, under another name")
    tx.add(challenge)
    tx.flush()
    ids: dict[str, set[str]] = {}
    for table in _tables(reader.version):
        if table.name == "artifacts":
            # Here already, and named now: from here on they are not removed.
            for item in stored:
                artifacts.register(tx, store, item, now=now)
            ids["artifacts"] = {item.sha256 for item in stored}
        else:
            ids[table.name] = _rows(tx, reader, table, challenge, ids, now)
        if table.name == "stages":
            _same_stages(reader, read)
    if reader.version == 1:
        _tell_as_before(tx, challenge)
    subject = f"challenge:{challenge.id}"
    # Not in the log of the challenge: an export of it is what was imported.
    audit.add(tx, actor=actor, action="challenge.import", subject=subject, detail={"name": read.name}, now=now)
    return challenge


def _rows(
    tx: Session,
    reader: _Reader,
    table: ExportedTable,
    challenge: Challenge,
    ids: dict[str, set[str]],
    now: datetime,
) -> set[str]:
    """Insert the rows of one table; returns their ids."""
    found: set[str] = set()
    batch: list[dict[str, Any]] = []
    for line, values in reader.rows(table):
        for column, other in table.refers.items():
            if values[column] not in ids[other]:
                raise reader.fault(table, line, f"{column} names nothing in {other}.jsonl")
        if "id" in values:
            found.add(values["id"])
        if table.row is Account and _known_account(tx, values, reader, table, line):
            continue
        batch.append(_completed(table, values, challenge))
        if table.name == "evaluations" and values["state"] == "pending":
            # What was waiting there waits here.
            queue.enqueue(tx, EVALUATE, values["id"], now=now)
        if len(batch) == _ROWS:
            tx.execute(plain_insert(table.row), batch)
            batch = []
    if batch:
        tx.execute(plain_insert(table.row), batch)
    return found


def _tell_as_before(tx: Session, challenge: Challenge) -> None:
    """Write down what the scores of an export without tellings were told as."""
    stages = tx.execute(select(Stage).where(Stage.challenge_id == challenge.id).order_by(Stage.id)).scalars().all()
    for stage in stages:
        rows = tx.execute(
            select(
                Evaluation.id,
                Submission.team_id,
                Score.task,
                Score.metric,
                Score.value,
                Score.low,
                Score.high,
            )
            .join(Evaluation, Evaluation.id == Score.evaluation_id)
            .join(Submission, Submission.id == Evaluation.submission_id)
            .where(
                Submission.stage_id == stage.id,
                Submission.state.in_(("scored", "cancelled")),
                Evaluation.split == "test",
                Evaluation.state == "done",
                Evaluation.scorer == stage.scorer,
            )
            .order_by(Evaluation.finished, Evaluation.id, Score.task, Score.metric)
        )
        told = list(tellings(challenge.definition, stage.track, [told_before.Score(*row) for row in rows]))
        for start in range(0, len(told), _ROWS):
            tx.execute(plain_insert(Telling), told[start : start + _ROWS])


def _known_account(tx: Session, values: dict[str, Any], reader: _Reader, table: ExportedTable, line: int) -> bool:
    """Whether the account is here already."""
    if not accounts.NAME.fullmatch(values["name"]):
        raise reader.fault(table, line, f"{values['name'][:80]!a} is no name of an account")
    same = tx.get(Account, values["id"])
    if same is not None and same.name == values["name"]:
        return True
    taken = tx.execute(select(Account.id).where(Account.name == values["name"])).first()
    if same is not None or taken is not None:
        raise Conflict(f"the account {values['name']!a} is somebody else here; rename one of them first")
    if values["email"] is not None and accounts.by_email(tx, values["email"]) is not None:
        raise Conflict(f"the e-mail address of the account {values['name']!a} belongs to somebody else here")
    return False


def _completed(table: ExportedTable, values: dict[str, Any], challenge: Challenge) -> dict[str, Any]:
    """The row with what is not in the file."""
    if table.row is Account:
        return values | {"role": "participant", "mail": False}
    if table.name == "teams":
        return values | {"key": fold(values["name"]), "challenge_id": challenge.id}
    if "challenge_id" in table.left_out:
        return values | {"challenge_id": challenge.id}
    return values


def _same_stages(reader: _Reader, definition: Definition) -> None:
    """Raises InputError unless the stages are those of the definition."""
    table = next(table for table in TABLES if table.name == "stages")
    told = {(row["track"], row["name"], row["ordinal"]) for _, row in reader.rows(table)}
    wanted = {
        (track.name, stage.name, ordinal) for track in definition.tracks for ordinal, stage in enumerate(track.stages)
    }
    if told != wanted:
        raise reader.fault(table, 1, "the stages are not those of the definition")
