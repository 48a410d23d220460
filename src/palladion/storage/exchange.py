"""The format of an exported challenge: a tar archive of which not one bit is left to chance.

::

    manifest.json        {"challenge": ..., "format": "palladion-export/2"}
    challenge.yaml       the definition, verbatim
    challenge.json       what else there is to say of the challenge
    accounts.jsonl ...   one file a table, one row a line, keys sorted, rows in the order of their ids
    artifacts/<sha256>   the files of the submissions, in that order

Every header is the one that :func:`header` makes of name and length, so that a reader has nothing to interpret: what is
otherwise is refused. No secret of anybody is in it: no password, token, invitation or webhook. But it holds all that is
sealed of the challenge: outcomes, scores, and by what the public part of the data points is drawn.

Version 1, which is still read, has neither what data points scored nor what was told; what its scores were told as is
written down when it is imported, see :mod:`palladion.storage.migrations.told_before`.
"""

import base64
import binascii
import json
import math
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import IO, Any

from sqlalchemy import Boolean, ColumnElement, Double, Integer, LargeBinary, Select, select
from sqlalchemy.types import BigInteger

from palladion.errors import InputError
from palladion.storage.artifacts import SHA256
from palladion.storage.ids import ID
from palladion.storage.tables import (
    Account,
    Artifact,
    Audit,
    Base,
    Challenge,
    Evaluation,
    Instant,
    Json,
    Membership,
    Outcome,
    PointScores,
    Score,
    Stage,
    StageStep,
    Submission,
    Team,
    Telling,
    Words,
    instant_text,
    json_text,
)
from palladion.storage.texts import storable

__all__ = [
    "ARTIFACTS",
    "BLOCK",
    "CHALLENGE",
    "DEFINITION",
    "FORMAT",
    "FORMATS",
    "MANIFEST",
    "TABLES",
    "ExportedTable",
    "Member",
    "header",
    "members",
    "padding",
    "parse_json",
    "trailer",
]

FORMATS = ("palladion-export/1", "palladion-export/2")
"""Those that are read, by their versions, from 1."""
FORMAT = FORMATS[-1]
VERSION = len(FORMATS)
MANIFEST, DEFINITION, CHALLENGE, ARTIFACTS = "manifest.json", "challenge.yaml", "challenge.json", "artifacts/"
BLOCK = 512

_RECORD = 20 * BLOCK
# What eleven octal digits of a header can say.
_MOST_BYTES = 8**11 - 1
_TEXT = 100_000
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_HASHES = frozenset({"sha256", "artifact"})


def header(name: str, length: int) -> bytes:
    """The header of a file of ``length`` bytes: mode 0644, no owner, the time 0.

    Raises:
        InputError: the file is 8 GiB or longer, which the format cannot say.
    """
    if length > _MOST_BYTES:
        raise InputError(f"{name}: has {length} bytes; an export holds files of less than 8 GiB")
    info = tarfile.TarInfo(name)
    info.size = length
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def padding(length: int) -> bytes:
    """What fills the last block of a file."""
    return bytes(-length % BLOCK)


def trailer(position: int) -> bytes:
    """What ends an archive whose last file ends at ``position``."""
    length = 2 * BLOCK
    return bytes(length + -(position + length) % _RECORD)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive.

    Attributes:
        name: of the file.
        start: where its bytes begin in the archive.
        length: how many there are.
    """

    name: str
    start: int
    length: int


def members(file: IO[bytes], length: int) -> Iterator[Member]:
    """The files in the archive ``file``, which is ``length`` bytes long, in their order.

    Raises:
        InputError: it is not what :func:`header` and :func:`trailer` make.
    """
    position = 0
    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if not any(block):
            rest = block + file.read(_RECORD)
            if rest != trailer(position):
                raise InputError(f"the archive does not end as it should, at byte {position}")
            return
        member = _member(block, position)
        if member is None or member.start + member.length > length:
            raise InputError(f"there is no file of an export at byte {position}; the archive is damaged or is another")
        end = member.start + member.length
        file.seek(end)
        if file.read(-end % BLOCK) != padding(end):
            raise InputError(f"{member.name}: is not filled up with zeros")
        yield member
        position = end + (-end % BLOCK)


def _member(block: bytes, position: int) -> Member | None:
    try:
        name = block[:100].rstrip(b"\0").decode("ascii")
        length = int(block[124:135].decode("ascii"), 8)
        if length >= 0 and header(name, length) == block:
            return Member(name, position + BLOCK, length)
    except (UnicodeDecodeError, ValueError):
        pass
    return None


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says; names in an object are there once, and numbers are finite.

    Raises:
        ValueError: it is no JSON, or goes beyond that, or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("has a name twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("has a number that is too large")
    return value


@dataclass(frozen=True)
class ExportedTable:
    """A table of an export.

    Attributes:
        name: of the file, without its suffix.
        row: the mapped class.
        left_out: columns that are not exported: secrets, and what the importer knows itself.
        of: which rows belong to a challenge, by its id.
        order: columns that order them.
        refers: columns that name a row of the challenge, and the table in which that row must be.
        since: the version of the format that has it first.
        added: columns that version 1 does not have.
    """

    name: str
    row: type[Base]
    left_out: frozenset[str]
    of: Callable[[str], ColumnElement[bool]]
    order: tuple[str, ...]
    refers: Mapping[str, str]
    since: int = 1
    added: frozenset[str] = frozenset()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are exported."""
        return tuple(column.name for column in self.row.__table__.columns if column.name not in self.left_out)

    def columns_of(self, version: int) -> tuple[str, ...]:
        """Names of the columns that a version of the format has."""
        return self.columns if version > 1 else tuple(name for name in self.columns if name not in self.added)

    def select(self, challenge_id: str) -> Select[Any]:
        """The rows of a challenge, in the order of the export."""
        table = self.row.__table__
        columns = [table.columns[name] for name in self.columns]
        return select(*columns).where(self.of(challenge_id)).order_by(*(table.columns[name] for name in self.order))

    def line(self, values: Mapping[str, Any]) -> bytes:
        """A row as a line."""
        told = {name: _said(value) for name, value in values.items()}
        return json_text(told).encode("ascii") + b"\n"

    def values(self, line: bytes, version: int = VERSION) -> dict[str, Any]:
        """The row that a line says: every column, each of its type, ids and times in their form.

        Raises:
            ValueError: it does not; what is wrong, in words that follow the place.
        """
        found = parse_json(line)
        columns = self.columns_of(version)
        if not isinstance(found, dict) or set(found) != set(columns):
            raise ValueError(f"must hold exactly {', '.join(sorted(columns))}")
        return {name: self._value(name, found[name]) for name in columns}

    def _value(self, name: str, value: Any) -> Any:
        column = self.row.__table__.columns[name]
        if value is None:
            if not column.nullable:
                raise ValueError(f"{name} is missing")
            return None
        kind = column.type
        if isinstance(kind, Json):
            if name != "answer" and not isinstance(value, dict):
                raise ValueError(f"{name} must be an object")
            return value
        if isinstance(kind, Instant):
            if not isinstance(value, str) or not _INSTANT.fullmatch(value):
                raise ValueError(f"{name} must be a time such as 2026-01-05T09:00:00.000000Z")
            try:
                return datetime.fromisoformat(value)
            except ValueError:
                raise ValueError(f"{name} is no time that there was") from None
        if isinstance(kind, LargeBinary):
            try:
                return base64.b64decode(_typed(name, value, str, "text"), validate=True)
            except binascii.Error:
                raise ValueError(f"{name} must be base64") from None
        if isinstance(kind, Boolean):
            return _typed(name, value, bool, "true or false")
        if isinstance(kind, Double):
            if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1.7e308:
                raise ValueError(f"{name} must be a number")
            return float(value) + 0.0
        if isinstance(kind, Integer | BigInteger):
            most = 2**63 - 1 if isinstance(kind, BigInteger) else 2**31 - 1
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
                raise ValueError(f"{name} must be a whole number of at most {most}")
            return value
        assert isinstance(kind, Words)
        text = _typed(name, value, str, "text")
        if len(text) > _TEXT or not storable(text):
            raise ValueError(f"{name} is longer than {_TEXT} characters, or cannot be stored")
        if name in _HASHES and not SHA256.fullmatch(text):
            raise ValueError(f"{name} is no SHA-256")
        if (name in ("id", "source", "salt") or name.endswith("_id")) and not ID.fullmatch(text):
            raise ValueError(f"{name} is no id")
        return text


def _said(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant_text(value)
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _typed(name: str, value: Any, kind: type[Any], words: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be {words}")
    return value


def _of_submissions(challenge_id: str) -> Select[Any]:
    return select(Submission.id).where(Submission.challenge_id == challenge_id)


def _of_evaluations(challenge_id: str) -> Select[Any]:
    return select(Evaluation.id).where(Evaluation.submission_id.in_(_of_submissions(challenge_id)))


TABLES = (
    ExportedTable(
        "accounts",
        Account,
        # Neither secrets nor who somebody is elsewhere, nor what they may do on another service.
        frozenset({"password", "issuer", "subject", "role", "mail"}),
        lambda c: (
            Account.id.in_(select(Membership.account_id).where(Membership.challenge_id == c))
            | Account.id.in_(select(Submission.account_id).where(Submission.challenge_id == c))
        ),
        ("id",),
        {},
    ),
    ExportedTable(
        "teams",
        Team,
        frozenset({"challenge_id", "key"}),
        lambda c: Team.challenge_id == c,
        ("id",),
        {},
        added=frozenset({"baseline"}),
    ),
    ExportedTable(
        "memberships",
        Membership,
        frozenset({"challenge_id"}),
        lambda c: Membership.challenge_id == c,
        ("team_id", "account_id"),
        {"team_id": "teams", "account_id": "accounts"},
    ),
    ExportedTable(
        "stages",
        Stage,
        # How often a leaderboard has changed is of no use elsewhere.
        frozenset({"challenge_id", "revision"}),
        lambda c: Stage.challenge_id == c,
        ("track", "ordinal"),
        {},
        added=frozenset({"salt"}),
    ),
    ExportedTable(
        "stage_steps",
        StageStep,
        frozenset(),
        lambda c: StageStep.stage_id.in_(select(Stage.id).where(Stage.challenge_id == c)),
        ("stage_id", "name"),
        {"stage_id": "stages"},
    ),
    ExportedTable(
        "artifacts",
        Artifact,
        # When it came to this service; to the next one it comes when it is imported.
        frozenset({"created"}),
        lambda c: Artifact.sha256.in_(select(Submission.artifact).where(Submission.challenge_id == c)),
        ("sha256",),
        {},
    ),
    ExportedTable(
        "submissions",
        Submission,
        frozenset({"challenge_id"}),
        lambda c: Submission.challenge_id == c,
        ("id",),
        {"stage_id": "stages", "team_id": "teams", "account_id": "accounts", "artifact": "artifacts"},
    ),
    ExportedTable(
        "evaluations",
        Evaluation,
        frozenset(),
        lambda c: Evaluation.submission_id.in_(_of_submissions(c)),
        ("id",),
        {"submission_id": "submissions"},
    ),
    ExportedTable(
        "outcomes",
        Outcome,
        frozenset(),
        lambda c: Outcome.evaluation_id.in_(_of_evaluations(c)),
        ("evaluation_id", "point"),
        {"evaluation_id": "evaluations"},
    ),
    ExportedTable(
        "scores",
        Score,
        frozenset(),
        lambda c: Score.evaluation_id.in_(_of_evaluations(c)),
        ("evaluation_id", "task", "metric"),
        {"evaluation_id": "evaluations"},
    ),
    ExportedTable(
        "point_scores",
        PointScores,
        frozenset(),
        lambda c: PointScores.evaluation_id.in_(_of_evaluations(c)),
        ("evaluation_id",),
        {"evaluation_id": "evaluations"},
        since=2,
    ),
    ExportedTable(
        "tellings",
        Telling,
        frozenset(),
        lambda c: Telling.evaluation_id.in_(_of_evaluations(c)),
        ("evaluation_id", "moment", "task", "metric"),
        {"evaluation_id": "evaluations", "source": "evaluations"},
        since=2,
    ),
    ExportedTable(
        "audit", Audit, frozenset({"number", "challenge_id"}), lambda c: Audit.challenge_id == c, ("number",), {}
    ),
)
"""In an order in which each may name rows only of those before it. The ranges of ranks are made anew elsewhere."""

CHALLENGE_COLUMNS = ExportedTable(
    "challenge",
    Challenge,
    # The rest says the definition, and the folder is another on another machine.
    frozenset({"name", "title", "definition", "folder"}),
    lambda c: Challenge.id == c,
    ("id",),
    {},
)
"""The one row of the challenge itself."""
