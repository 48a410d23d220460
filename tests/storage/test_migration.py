"""A database, and an export, of the first version: what was told of scores then is what is told now."""

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from palladion.storage import evaluations, queue, stages, tellings
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database
from palladion.storage.evaluations import EVALUATE, NewScore
from palladion.storage.exchange import TABLES, header, padding, trailer
from palladion.storage.exporting import export_challenge
from palladion.storage.importing import import_challenge
from palladion.storage.migrations.told_before import Score
from palladion.storage.migrations.told_before import tellings as told_before
from palladion.storage.tables import Telling
from tests.storage.conftest import MINUTE, NOW, SECOND, Databases, World, make_world
from tests.storage.test_exchange import _contents

VALUES = (0.987654321, 0.5, 0.75)


def _definition(feedback: str) -> str:
    return f"tracks:\n- name: detection\n  task: detection\n{feedback}"


def _told(feedback: str, values: tuple[float, ...], metric: str = "cross_entropy") -> list[dict[str, Any]]:
    given = [Score(f"e{i}", "team", "", metric, value, value - 0.1, value + 0.1) for i, value in enumerate(values)]
    return list(told_before(_definition(feedback), "detection", given))


def test_without_a_policy_all_was_told() -> None:
    rows = _told("", VALUES)
    assert [(row["value"], row["text"], row["source"]) for row in rows] == [
        (0.987654321, "0.9877", "e0"),
        (0.5, "0.5000", "e1"),
        (0.75, "0.7500", "e2"),
    ]
    assert rows[1]["low"] == pytest.approx(0.4)
    assert {row["moment"] for row in rows} == {"open"}
    assert [row["text"] for row in _told("  feedback: {digits: 2}", VALUES)] == ["0.99", "0.50", "0.75"]


def test_rounded_was_told_rounded_and_without_an_interval() -> None:
    rows = _told("  feedback: {policy: rounded, digits: 1}", VALUES)
    assert [(row["value"], row["text"], row["low"], row["high"]) for row in rows] == [
        (1.0, "1.0", None, None),
        (0.5, "0.5", None, None),
        (0.8, "0.8", None, None),
    ]


def test_a_ladder_told_the_best_again() -> None:
    rows = _told("  feedback: {policy: ladder, step: 0.1}", (0.71, 0.68, 0.58, 0.9))
    assert [(row["value"], row["text"], row["source"]) for row in rows] == [
        (0.7, "0.7", "e0"),
        (0.7, "0.7", "e0"),
        (0.6, "0.6", "e2"),
        (0.6, "0.6", "e2"),
    ]
    assert [bool(row["note"]) for row in rows] == [False, True, False, True]
    # Where more is better, the other way.
    up = _told("  feedback: {policy: ladder, step: 0.1}", (0.71, 0.78, 0.84), "roc_auc")
    assert [row["value"] for row in up] == [0.7, 0.7, 0.8]


def test_nothing_was_told_of_what_was_hidden() -> None:
    for feedback in ("  feedback: {policy: none}", "  other: 1"):
        track = "detection" if "policy" in feedback else "no such track"
        given = [Score("e", "team", "", "cross_entropy", 0.123456, 0.1, 0.2)]
        (row,) = told_before(_definition(feedback), track, given)
        assert (row["value"], row["low"], row["high"]) == (None, None, None)
        assert "0.123" not in repr(row)


def _scored(world: World, values: tuple[float, ...], *, cancelled: int | None = None) -> list[str]:
    found = []
    for i, value in enumerate(values):
        now = NOW + i * SECOND
        accepted = world.hand_in(f"{i}".encode(), now=now)
        job = world.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=now)
        assert job is not None
        scores = [NewScore("cross_entropy", value, low=value - 0.25, high=value + 0.25), NewScore("roc_auc", 0.5)]
        world.database.run(evaluations.finish, job.subject, job.lease or "", scores, now=now)
        if i == cancelled:
            from palladion.storage import submissions

            world.database.run(submissions.cancel, accepted.submission.id, "because", now=now, actor="olga")
        found.append(job.subject)
    return found


def _back_to_the_first(database: Database) -> None:
    """Make the tables what they were."""
    with database.write() as tx:
        for statement in (
            "DROP TABLE standings",
            "DROP TABLE tellings",
            "DROP TABLE point_scores",
            "ALTER TABLE stages DROP COLUMN revision",
            "ALTER TABLE stages DROP COLUMN salt",
            "ALTER TABLE teams DROP COLUMN baseline",
            "UPDATE alembic_version SET version_num = '0001'",
        ):
            tx.execute(sqlalchemy.text(statement))


def _rows(database: Database) -> set[tuple[Any, ...]]:
    with database.read() as tx:
        found = tx.execute(sqlalchemy.select(Telling)).scalars().all()
    return {(r.evaluation_id, r.moment, r.metric, r.value, r.low, r.high, r.text, r.source) for r in found}


def _expected(ids: list[str]) -> set[tuple[Any, ...]]:
    return {
        row
        for one, value in zip(ids, VALUES, strict=True)
        for row in (
            (one, "open", "cross_entropy", value, value - 0.25, value + 0.25, f"{value:.4f}", one),
            (one, "open", "roc_auc", 0.5, None, None, "0.5000", one),
        )
    }


def test_an_upgrade_writes_down_what_was_told(databases: Databases, tmp_path: Path) -> None:
    database = databases()
    world = make_world(database, ArtifactStore(tmp_path / "artifacts"))
    ids = _scored(world, VALUES, cancelled=1)
    # Another version of the scorer, which nobody but organisers saw.
    world.database.run(evaluations.rescore, world.stage.id, "2", now=NOW)
    job = world.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=NOW + MINUTE)
    assert job is not None
    world.database.run(evaluations.finish, job.subject, job.lease or "", [NewScore("cross_entropy", 0.1)], now=NOW)
    _back_to_the_first(database)
    database.upgrade()
    assert _rows(database) == _expected(ids)
    with database.read() as tx:
        found = stages.of_challenge(tx, world.challenge.id)
    assert len({row.salt for row in found}) == len(found)
    assert all(len(row.salt) == 20 for row in found)
    assert {row.revision for row in found} == {0}
    # And it goes on from there.
    database.run(tellings.add, job.subject, [tellings.NewTelling("cross_entropy", 0.1, "0.1", job.subject)])


def _first_version(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The files of an export as the first version made them."""
    added = {table.name: table.added for table in TABLES}
    found = {}
    for name, content in contents.items():
        table = name.removesuffix(".jsonl")
        if table in ("point_scores", "tellings"):
            continue
        if added.get(table):
            lines = [json.loads(line) for line in content.splitlines()]
            kept = [{key: value for key, value in line.items() if key not in added[table]} for line in lines]
            content = b"".join(
                json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n" for line in kept
            )
        found[name] = (
            content.replace(b"palladion-export/2", b"palladion-export/1") if table == "manifest.json" else content
        )
    return found


def test_an_export_of_the_first_version_is_told_as_it_was(databases: Databases, tmp_path: Path) -> None:
    world = make_world(databases(), ArtifactStore(tmp_path / "artifacts"))
    ids = _scored(world, VALUES)
    export_challenge(world.database, world.store, "trojai", tmp_path / "now.tar")
    contents = _first_version(_contents(tmp_path / "now.tar"))
    with (tmp_path / "then.tar").open("wb") as file:
        for name, content in contents.items():
            file.write(header(name, len(content)) + content + padding(len(content)))
        file.write(trailer(file.tell()))
    other = databases()
    store = ArtifactStore(tmp_path / "other")
    import_challenge(other, store, tmp_path / "then.tar", folder=Path("/elsewhere"), now=NOW, actor="olga")
    assert _rows(other) == _expected(ids)
    # From now on it is of this version, and stays the same.
    export_challenge(other, store, "trojai", tmp_path / "one.tar")
    third = databases()
    import_challenge(third, store, tmp_path / "one.tar", folder=Path("/elsewhere"), now=NOW, actor="olga")
    export_challenge(third, store, "trojai", tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
