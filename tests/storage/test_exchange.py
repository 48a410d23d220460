"""Export, import, export: the same bytes, from either database to either; and nothing that is in a file is believed."""

import json
import tarfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from palladion.errors import InputError, PalladionError
from palladion.storage import (
    accounts,
    audit,
    challenges,
    evaluations,
    queue,
    stages,
    submissions,
    teams,
    tellings,
    webhooks,
)
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.evaluations import EVALUATE, NewOutcome, NewScore
from palladion.storage.exchange import BLOCK, TABLES, header, members, padding, parse_json, trailer
from palladion.storage.exporting import export_challenge
from palladion.storage.importing import ImportLimits, import_challenge
from palladion.storage.tables import Account, Artifact, Base, Challenge, Evaluation, Job, Submission
from palladion.storage.tellings import NewTelling
from tests.storage.conftest import HOUR, MINUTE, NOW, Databases, World, empty, make_world

# What people and programs write, and what makes trouble in files and databases.
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_WORD = _TEXT.filter(bool)
_NUMBER = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | _NUMBER | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_OUTCOME = st.builds(
    NewOutcome,
    point=_WORD,
    answer=_JSON.filter(lambda value: value is not None),
    seconds=st.none() | _NUMBER,
    memory=st.none() | st.integers(0, 2**62),
) | st.builds(NewOutcome, point=_WORD, error=_WORD, message=_TEXT, processor_seconds=_NUMBER)
_SCORE = st.builds(NewScore, metric=_WORD, value=_NUMBER, task=_TEXT, low=st.none() | _NUMBER, high=st.none() | _NUMBER)
_RUN = st.tuples(
    st.sampled_from(["finish", "fail", "reject", "cancel", "wait", "run"]),
    st.lists(_OUTCOME, max_size=4),
    st.lists(_SCORE, max_size=4, unique_by=lambda score: (score.task, score.metric)),
    st.dictionaries(st.text(max_size=5), _JSON, max_size=3),
    _TEXT,
)


def _fill(world: World, runs: list[tuple[str, list[NewOutcome], list[NewScore], dict[str, Any], str]]) -> None:
    """Let things happen in a challenge."""
    for i, (how, outcomes, scores, report, reason) in enumerate(runs):
        now = NOW + timedelta(seconds=i, microseconds=i)
        accepted = world.hand_in(f"{i % 3}".encode(), team=i % 2, now=now)
        if not accepted.created:
            continue
        if how == "wait":
            continue
        job = world.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=now)
        assert job is not None
        evaluation, lease = job.subject, job.lease or ""
        with world.database.write() as tx:
            submission_id = evaluations.by_id(tx, evaluation).submission_id
            if how == "run":
                continue
            evaluations.add_outcomes(tx, evaluation, lease, outcomes)
            if how == "finish":
                points = reason.encode() if i % 2 else None
                evaluations.finish(tx, evaluation, lease, scores, report=report, now=now, points=points)
                tellings.add(tx, evaluation, [NewTelling("cross_entropy", float(i), f"{i}", evaluation, note=reason)])
                stages.goal_reached(tx, submission_id, now=now, actor="service")
            elif how == "fail":
                evaluations.fail(tx, evaluation, lease, reason, report=report, now=now)
            elif how == "reject":
                submissions.reject(tx, submission_id, reason, now=now, evaluation_id=evaluation, lease=lease)
            else:
                submissions.cancel(tx, submission_id, reason, now=now, actor="olga")
    with world.database.write() as tx:
        stages.begin_step(tx, world.stage.id, "close", now=NOW + HOUR)
        stages.finish_step(tx, world.stage.id, "close", now=NOW + HOUR, detail={"x": 1.5})
        stages.change(tx, world.stage.id, "closed", now=NOW + HOUR, actor="olga")
        evaluations.rescore(tx, world.stage.id, "2", now=NOW + HOUR)
        webhooks.create(
            tx, challenge_id=world.challenge.id, account_id=world.captains[0], url="https://e.org/", events=["*"],
            now=NOW, actor="olga",
        )  # fmt: skip


def _one_of_everything() -> list[tuple[str, list[NewOutcome], list[NewScore], dict[str, Any], str]]:
    outcomes = [NewOutcome("id-1", 0.5, seconds=1.0, memory=1 << 40), NewOutcome("id-2", error="timeout")]
    scores = [NewScore("cross_entropy", 0.1, low=0.05, high=0.2), NewScore("cacc", 3, task="t")]
    return [
        (how, outcomes, scores, {"a": [1, None]}, "because")
        for how in ("finish", "finish", "fail", "reject", "cancel", "wait")
    ]


@pytest.fixture
def full(world: World) -> World:
    _fill(world, _one_of_everything())
    return world


def _export(world: World, target: Path) -> bytes:
    export_challenge(world.database, world.store, "trojai", target)
    return target.read_bytes()


def _import(database: Database, store: ArtifactStore, source: Path, **more: Any) -> Challenge:
    return import_challenge(database, store, source, folder=Path("/elsewhere"), now=NOW, actor="olga", **more)


def _contents(path: Path) -> dict[str, bytes]:
    with path.open("rb") as file:
        found = list(members(file, path.stat().st_size))
        contents = {}
        for member in found:
            file.seek(member.start)
            contents[member.name] = file.read(member.length)
    return contents


def _write(path: Path, contents: dict[str, bytes]) -> Path:
    """An archive as an export has it, whatever is in its files."""
    with path.open("wb") as file:
        for name, content in contents.items():
            file.write(header(name, len(content)) + content + padding(len(content)))
        file.write(trailer(file.tell()))
    return path


def _lines(contents: dict[str, bytes], name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in contents[f"{name}.jsonl"].splitlines()]


def _counts(database: Database) -> dict[str, int]:
    with database.read() as tx:
        return {
            name: tx.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in Base.metadata.tables.items()
        }


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(runs=st.lists(_RUN, max_size=6))
def test_export_import_export_gives_the_same_bytes(
    database: Database,
    databases_of_both: tuple[Database, Database],
    tmp_path: Path,
    runs: list[tuple[str, list[NewOutcome], list[NewScore], dict[str, Any], str]],
) -> None:
    empty(database)
    world = make_world(database, ArtifactStore(tmp_path / "one"))
    _fill(world, runs)
    first = _export(world, tmp_path / "first.tar")
    for i, other in enumerate(databases_of_both):
        empty(other)
        store = ArtifactStore(tmp_path / f"other-{i}")
        _import(other, store, tmp_path / "first.tar")
        export_challenge(other, store, "trojai", tmp_path / "second.tar")
        assert (tmp_path / "second.tar").read_bytes() == first


@pytest.fixture
def databases_of_both(postgresql: str, tmp_path: Path) -> Any:
    """Another database of either kind."""
    made = [Databases("sqlite", tmp_path, None), Databases("postgresql", tmp_path, postgresql)]
    yield tuple(each() for each in made)
    for each in made:
        each.close()


def test_an_export_holds_everything_but_secrets(full: World, tmp_path: Path) -> None:
    _export(full, tmp_path / "export.tar")
    contents = _contents(tmp_path / "export.tar")
    assert list(contents)[:3] == ["manifest.json", "challenge.yaml", "challenge.json"]
    assert contents["challenge.yaml"].decode() == full.challenge.definition
    assert json.loads(contents["manifest.json"]) == {"challenge": "trojai", "format": "palladion-export/2"}
    assert {name: len(_lines(contents, name)) for name in (table.name for table in TABLES)} == {
        "accounts": 2, "teams": 2, "memberships": 2, "stages": 3, "stage_steps": 1, "artifacts": 3, "submissions": 6,
        "evaluations": 9, "outcomes": 10, "scores": 4, "point_scores": 1, "tellings": 2,
        "audit": _counts(full.database)["audit"] - 2,
    }  # fmt: skip
    assert set(_lines(contents, "accounts")[0]) == {"id", "name", "email", "state", "created"}
    with full.database.read() as tx:
        (hook,) = webhooks.listing(tx, challenge_id=full.challenge.id)
    assert hook.secret.encode() not in (tmp_path / "export.tar").read_bytes()
    assert {contents[name] for name in contents if name.startswith("artifacts/")} == {b"0", b"1", b"2"}


def test_an_export_is_a_tar_archive_that_others_read(full: World, tmp_path: Path) -> None:
    _export(full, tmp_path / "export.tar")
    with tarfile.open(tmp_path / "export.tar") as archive:
        found = {info.name: info for info in archive.getmembers()}
        assert list(found) == list(_contents(tmp_path / "export.tar"))
        assert {(info.mtime, info.uid, info.gid, info.uname, info.mode) for info in found.values()} == {
            (0, 0, 0, "", 0o644)
        }


def test_two_exports_are_the_same(full: World, tmp_path: Path) -> None:
    assert _export(full, tmp_path / "a.tar") == _export(full, tmp_path / "b.tar")
    # And what happens elsewhere makes no difference.
    make_world(full.database, full.store, name="other")
    assert _export(full, tmp_path / "a.tar") == (tmp_path / "b.tar").read_bytes()


def test_what_cannot_be_exported_leaves_nothing(full: World, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        export_challenge(full.database, full.store, "nothing", tmp_path / "out" / "export.tar")
    name = next(iter(full.store.all()))[0]
    (Path(full.store._root) / name[:2] / name[2:4] / name).write_bytes(b"damaged")
    with pytest.raises(PalladionError, match="damaged"):
        export_challenge(full.database, full.store, "trojai", tmp_path / "out" / "export.tar")
    full.store.delete(name)
    with pytest.raises(NotFound, match="no file"):
        export_challenge(full.database, full.store, "trojai", tmp_path / "out" / "export.tar")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(PalladionError, match="cannot be written"):
        export_challenge(full.database, full.store, "trojai", tmp_path / "file" / "export.tar")


# --- Importing -------------------------------------------------------------------------------------------------------


class Elsewhere:
    """Another service, and an export of the first that can be changed before it gets there."""

    def __init__(self, database: Database, store: ArtifactStore, folder: Path, contents: dict[str, bytes]) -> None:
        self.database, self.store, self.folder, self.contents = database, store, folder, contents

    def get(self, **more: Any) -> Challenge:
        """Import what there is."""
        return _import(self.database, self.store, _write(self.folder / "changed.tar", self.contents), **more)

    def change(self, name: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
        """Change the rows of a table."""
        rows = _lines(self.contents, name)
        change(rows)
        self.contents[f"{name}.jsonl"] = b"".join(
            json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n" for row in rows
        )

    def refuses(self, message: str, kind: type[PalladionError] = InputError, **more: Any) -> None:
        """That it is refused with these words, and leaves nothing."""
        before = _counts(self.database)
        with pytest.raises(kind, match=message):
            self.get(**more)
        assert _counts(self.database) == before


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an export holds that has something of everything."""
    folder = tmp_path_factory.mktemp("exported")
    made = Databases("sqlite", folder, None)
    world = make_world(made(), ArtifactStore(folder / "artifacts"))
    _fill(world, _one_of_everything())
    _export(world, folder / "export.tar")
    made.close()
    return _contents(folder / "export.tar")


@pytest.fixture
def elsewhere(exported: dict[str, bytes], database: Database, tmp_path: Path) -> Elsewhere:
    return Elsewhere(database, ArtifactStore(tmp_path / "elsewhere"), tmp_path, dict(exported))


# What is refused before it gets to a database is refused alike on both.
_on_one = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_what_was_imported_goes_on(elsewhere: Elsewhere) -> None:
    challenge = elsewhere.get()
    assert challenge.folder == "/elsewhere"
    with elsewhere.database.read() as tx:
        account = accounts.by_name(tx, "trojai-0")
        assert (account.role, account.password, account.mail) == ("participant", None, False)
        team = teams.team_of(tx, account.id, challenge.id)
        assert team is not None
        stage = stages.by_name(tx, challenge.id, "detection", "round-0")
        assert len(evaluations.board(tx, stage.id, "test")) == 2
        line = audit.listing(tx)[0]
        assert (line.action, line.actor, line.challenge_id) == ("challenge.import", "olga", None)
        # What was waiting waits here as well, and nothing else does.
        pending = tx.execute(select(func.count()).where(Evaluation.state == "pending")).scalar_one()
        assert queue.counts(tx) == {(EVALUATE, "queued"): pending}
        assert pending == 4
    while (job := elsewhere.database.run(queue.claim, [EVALUATE], worker="w", lease=MINUTE, now=NOW)) is not None:
        elsewhere.database.run(evaluations.finish, job.subject, job.lease or "", [], now=NOW)
    with elsewhere.database.read() as tx:
        assert "pending" not in set(tx.execute(select(Submission.state)).scalars())
    with pytest.raises(Refused):
        accounts.authenticate(elsewhere.database, name="trojai-0", password="", address="x", now=NOW)


def test_nobody_gets_rights_by_an_import(elsewhere: Elsewhere) -> None:
    for key, value in (("role", "organiser"), ("password", "x"), ("mail", True)):
        original = elsewhere.contents["accounts.jsonl"]
        elsewhere.change("accounts", lambda rows, key=key, value=value: rows[0].update({key: value}))  # type: ignore[misc]
        elsewhere.refuses("accounts.jsonl: line 1: must hold exactly")
        elsewhere.contents["accounts.jsonl"] = original


def test_a_challenge_is_imported_once(elsewhere: Elsewhere) -> None:
    elsewhere.get()
    elsewhere.refuses("there is a challenge trojai already", Conflict)
    elsewhere.contents["challenge.yaml"] = elsewhere.contents["challenge.yaml"].replace(b"trojai", b"renamed")
    elsewhere.contents["manifest.json"] = elsewhere.contents["manifest.json"].replace(b"trojai", b"renamed")
    elsewhere.refuses("there already, under another name", Conflict)


def test_an_account_that_is_here_is_the_same_or_in_the_way(elsewhere: Elsewhere) -> None:
    told = _lines(elsewhere.contents, "accounts")[0]
    with elsewhere.database.write() as tx:
        accounts.create(tx, name=told["name"], now=NOW, actor="olga")
    elsewhere.refuses(f"the account '{told['name']}' is somebody else here", Conflict)
    empty(elsewhere.database)
    with elsewhere.database.write() as tx:
        accounts.create(tx, name="mallory", email=told["email"], now=NOW, actor="olga")
    elsewhere.refuses("address of the account .* belongs to somebody else here", Conflict)
    empty(elsewhere.database)
    with elsewhere.database.write() as tx:
        tx.add(Account(id=told["id"], name=told["name"], role="organiser", state="disabled", mail=True, created=NOW))
    elsewhere.get()
    with elsewhere.database.read() as tx:
        account = accounts.by_id(tx, told["id"])
        # The file says nothing about who is known here.
        assert (account.role, account.state, account.mail) == ("organiser", "disabled", True)


_ID = "a" * 20


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("accounts", lambda rows: rows[0].update(id="1; DROP TABLE"), "id is no id"),
        ("accounts", lambda rows: rows[0].update(name="Olga"), "no name of an account"),
        ("accounts", lambda rows: rows[0].update(state="root"), "does not allow"),
        ("accounts", lambda rows: rows.reverse(), "does not stand where it belongs"),
        ("accounts", lambda rows: rows.append(rows[-1]), "does not stand where it belongs"),
        ("accounts", lambda rows: rows.clear(), "account_id names nothing in accounts.jsonl"),
        ("teams", lambda rows: rows[1].update(name=rows[0]["name"].upper()), "does not allow"),
        ("teams", lambda rows: rows[0].update(name="x\x00"), "name is longer .* or cannot be stored"),
        ("teams", lambda rows: rows[0].update(name="\ud800"), "cannot be stored"),
        ("teams", lambda rows: rows[0].update(name=None), "name is missing"),
        ("teams", lambda rows: rows[0].update(name=7), "name must be text"),
        ("memberships", lambda rows: rows[0].update(captain=1), "captain must be true or false"),
        ("memberships", lambda rows: rows[0].update(team_id="z" * 20), "does not stand|names nothing in teams"),
        ("stages", lambda rows: rows.pop(), "stages are not those of the definition|names nothing"),
        ("stages", lambda rows: rows[0].update(ordinal=-1), "ordinal must be a whole number"),
        ("stages", lambda rows: rows[0].update(ordinal=True), "ordinal must be a whole number"),
        ("stages", lambda rows: rows[0].update(ordinal=2**31), "ordinal must be a whole number"),
        ("stages", lambda rows: rows[0].update(opened="2026-02-30T00:00:00.000000Z"), "no time that there was"),
        ("stages", lambda rows: rows[0].update(opened="2026-01-05"), "must be a time such as"),
        ("stages", lambda rows: rows[0].update(opened="٢٠26-01-05T09:00:00.000000Z"), "must be a time such as"),
        ("stage_steps", lambda rows: rows[0].update(detail=[]), "detail must be an object"),
        ("stage_steps", lambda rows: rows[0].update(stage_id=_ID), "names nothing in stages.jsonl"),
        ("artifacts", lambda rows: rows.pop(), "does not name the files that are there"),
        ("artifacts", lambda rows: rows[0].update(bytes=2), "does not name the files that are there"),
        ("artifacts", lambda rows: rows[0].update(sha256="../../x"), "no SHA-256"),
        ("submissions", lambda rows: rows[0].update(artifact="0" * 64), "names nothing in artifacts.jsonl"),
        ("submissions", lambda rows: rows[0].update(team_id=_ID), "names nothing in teams.jsonl"),
        ("submissions", lambda rows: rows[0].update(state="won"), "does not allow"),
        ("submissions", lambda rows: rows[0].update(kind="virus"), "does not allow"),
        ("submissions", lambda rows: rows[0].update(challenge_id=_ID), "must hold exactly"),
        ("evaluations", lambda rows: rows[0].update(submission_id=_ID), "names nothing in submissions.jsonl"),
        ("evaluations", lambda rows: rows[0].update(report={"a": 1e400}), "line 1"),
        ("outcomes", lambda rows: rows[0].update(evaluation_id=_ID), "names nothing in evaluations.jsonl"),
        ("outcomes", lambda rows: rows[0].update(answer=None, error=None), "does not allow"),
        ("outcomes", lambda rows: rows[0].update(memory=2**63), "memory must be a whole number"),
        ("scores", lambda rows: rows[0].update(value=None), "value is missing"),
        ("scores", lambda rows: rows[0].update(value=1), "not written as an export writes it"),
        ("scores", lambda rows: rows[0].update(value=-0.0), "not written as an export writes it"),
        ("scores", lambda rows: rows[0].update(value="0.1"), "value must be a number"),
        ("scores", lambda rows: rows[0].update(value=1.79e308), "value must be a number"),
        ("scores", lambda rows: rows[0].update(value=10**400), "value must be a number"),
        ("audit", lambda rows: rows[0].update(at=None), "at is missing"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be(
    elsewhere: Elsewhere, table: str, change: Callable[[list[dict[str, Any]]], object], message: str
) -> None:
    elsewhere.change(table, change)
    elsewhere.refuses(message, PalladionError)


def test_a_row_names_only_rows_of_the_same_file(elsewhere: Elsewhere) -> None:
    """Not those of a challenge that is here already, however well their ids are known."""
    other = make_world(elsewhere.database, elsewhere.store, name="other")
    victim = other.hand_in(b"victim").submission
    with elsewhere.database.read() as tx:
        (evaluation,) = evaluations.of_submission(tx, victim.id)
    for table, column, value in (
        ("submissions", "team_id", victim.team_id),
        ("submissions", "stage_id", victim.stage_id),
        ("submissions", "account_id", victim.account_id),
        ("submissions", "artifact", victim.artifact),
        ("evaluations", "submission_id", victim.id),
        ("outcomes", "evaluation_id", evaluation.id),
        ("scores", "evaluation_id", evaluation.id),
        ("memberships", "account_id", victim.account_id),
    ):
        original = elsewhere.contents[f"{table}.jsonl"]
        elsewhere.change(table, lambda rows, column=column, value=value: rows[-1].update({column: value}))  # type: ignore[misc]
        elsewhere.refuses("names nothing in|does not stand where", PalladionError)
        elsewhere.contents[f"{table}.jsonl"] = original
    # Nor can a row take the place of one.
    elsewhere.change("submissions", lambda rows: (rows[0].update(id=victim.id), rows.sort(key=lambda row: row["id"])))
    elsewhere.refuses("names nothing in submissions|does not allow", PalladionError)


@_on_one
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest.json", b"", "is no JSON"),
        ("manifest.json", b"[]", "is not of the format"),
        ("manifest.json", b"[" * 100_000, "nested too deeply|is no JSON"),
        ("manifest.json", b'{"format":"palladion-export/3","challenge":"trojai"}', "another version of Palladion"),
        ("manifest.json", b'{"format":"palladion-export/2","challenge":"x"}', "speaks of another challenge"),
        ("manifest.json", b'{"format":"palladion-export/2","challenge":"trojai","x":1}', "speaks of another challenge"),
        ("challenge.yaml", b"\xff", "is no text"),
        ("challenge.yaml", b"a: \x00", "is no text"),
        ("challenge.yaml", b"format: palladion-challenge/1\n", "line|Field required|challenge.yaml"),
        ("challenge.yaml", b"x" * ((1 << 20) + 1), "longer than 1 MiB"),
        ("challenge.json", b"", "must hold one line"),
        ("accounts.jsonl", b"{}", "has no end"),
        ("accounts.jsonl", b"\n", "line 1"),
        ("accounts.jsonl", b"[]\n", "must hold exactly"),
        ("accounts.jsonl", b"{" * 100_000 + b"\n", "line 1"),
        ("accounts.jsonl", b"[" * 1_000_000 + b"\n", "nested too deeply|line 1"),
        ("accounts.jsonl", b"\xff\n", "line 1"),
        ("accounts.jsonl", b"NaN\n", "no number of JSON"),
        ("accounts.jsonl", b'{"a":1,"a":2}\n', "has a name twice"),
        ("accounts.jsonl", b"1" * 10_000 + b"\n", "line 1"),
    ],
)  # fmt: skip
def test_files_that_cannot_be(elsewhere: Elsewhere, name: str, content: bytes, message: str) -> None:
    elsewhere.contents[name] = content
    elsewhere.refuses(message)


def test_files_that_are_too_long_or_too_many(elsewhere: Elsewhere) -> None:
    elsewhere.refuses("longer than may be", limits=ImportLimits(line_bytes=50))
    elsewhere.refuses("one too many", limits=ImportLimits(rows=2))
    elsewhere.refuses("more or longer files", limits=ImportLimits(artifacts=2))
    elsewhere.refuses("more or longer files", limits=ImportLimits(artifact_bytes=0))


def test_an_artifact_that_is_not_what_its_name_says(elsewhere: Elsewhere) -> None:
    name = next(name for name in elsewhere.contents if name.startswith("artifacts/"))
    elsewhere.contents[name] = b"x"
    elsewhere.refuses("not hold what was announced")


def test_files_that_do_not_belong(elsewhere: Elsewhere) -> None:
    names = list(elsewhere.contents)
    for change, message in (
        (names[1:], "has 'challenge.yaml' where manifest.json should be"),
        (names[:5], "has no memberships.jsonl"),
        ([*names, names[-1]], "does not belong there"),
        ([*names[:-2], names[-1], names[-2]], "does not belong there"),
        ([*names, "artifacts/../../etc/passwd"], "does not belong|does not name"),
        ([*names, "zzz"], "does not belong there"),
        ([names[1], names[0], *names[2:]], "where manifest.json should be"),
    ):
        path = elsewhere.folder / "changed.tar"
        with path.open("wb") as file:
            for name in change:
                content = elsewhere.contents.get(name, b"x")
                file.write(header(name, len(content)) + content + padding(len(content)))
            file.write(trailer(file.tell()))
        with pytest.raises(InputError, match=message):
            _import(elsewhere.database, elsewhere.store, path)


@_on_one
@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:100],
        lambda raw: b"",
        lambda raw: b"\0" * 10240,
        lambda raw: b"PK\x03\x04" + raw,
        lambda raw: raw[:156] + b"2" + raw[157:],
        lambda raw: raw[:124] + b"77777777777" + raw[135:],
        lambda raw: raw[:124] + b"-0000000001" + raw[135:],
        lambda raw: raw[:124] + b"\x80" + b"\xff" * 10 + raw[135:],
        lambda raw: raw[:100] + b"0000777" + raw[107:],
        lambda raw: raw[:-1] + b"x",
    ],
)
def test_archives_that_are_none(elsewhere: Elsewhere, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    raw = _write(tmp_path / "changed.tar", elsewhere.contents).read_bytes()
    (tmp_path / "changed.tar").write_bytes(change(raw))
    with pytest.raises(InputError):
        _import(elsewhere.database, elsewhere.store, tmp_path / "changed.tar")
    assert sum(_counts(elsewhere.database).values()) == 0
    with pytest.raises(InputError, match="cannot be read"):
        _import(elsewhere.database, elsewhere.store, tmp_path / "nothing.tar")


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_byte_is_changed_it_is_refused_in_words_or_is_no_difference(
    small: tuple[Database, ArtifactStore, Path], data: st.DataObject
) -> None:
    database, store, path = small
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255).filter(lambda value: value != raw[place]))
    changed = path.with_name("changed.tar")
    changed.write_bytes(raw)
    empty(database)
    try:
        _import(database, store, changed)
    except PalladionError:
        assert sum(_counts(database).values()) == 0
    else:
        # Another name, another number: a file that another challenge would have made.
        export_challenge(database, store, _name(database), path.with_name("again.tar"))
        assert path.with_name("again.tar").read_bytes() == bytes(raw)


def _name(database: Database) -> str:
    with database.read() as tx:
        (challenge,) = challenges.listing(tx)
    return challenge.name


@pytest.fixture
def small(tmp_path: Path) -> tuple[Database, ArtifactStore, Path]:
    """An export, and a database to import it to."""
    database = Databases("sqlite", tmp_path, None)()
    world = make_world(database, ArtifactStore(tmp_path / "one"))
    _fill(world, _one_of_everything()[:3])
    _export(world, tmp_path / "export.tar")
    return database, ArtifactStore(tmp_path / "two"), tmp_path / "export.tar"


def test_files_that_were_put_for_nothing_are_named_by_nothing(elsewhere: Elsewhere) -> None:
    elsewhere.change("audit", lambda rows: rows[-1].update(at=None))
    elsewhere.refuses("at is missing")
    with elsewhere.database.read() as tx:
        assert tx.execute(select(func.count()).select_from(Artifact)).scalar_one() == 0
        assert tx.execute(select(func.count()).select_from(Job)).scalar_one() == 0
    # They are there, and collected in time; or the next attempt finds them.
    assert len(list(elsewhere.store.all())) == 3


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=90), st.integers(0, 8**11 - 1))
def test_a_header_is_what_tar_makes(name: str, length: int) -> None:
    block = header(name, length)
    assert len(block) == BLOCK
    info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    assert (info.name, info.size, info.mtime, info.uid, info.type) == (name, length, 0, 0, tarfile.REGTYPE)


def test_a_file_of_8_gib_is_told() -> None:
    with pytest.raises(InputError, match="less than 8 GiB"):
        header("outcomes.jsonl", 8**11)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", '{"a":1,"a":1}', "[" * 10**5, "", "{"])
def test_json_that_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(text)
