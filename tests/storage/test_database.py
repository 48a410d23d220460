"""A transaction is what it promises, on SQLite and on PostgreSQL; what goes wrong is said in words."""

import multiprocessing
import sqlite3
import stat
import threading
from datetime import timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

from palladion.errors import PalladionError
from palladion.storage import audit, migrations
from palladion.storage.database import Database, open_database
from palladion.storage.errors import Conflict
from palladion.storage.tables import Base, LoginFailure, Worker, instant_text
from tests.storage.conftest import NOW, Databases


def _add(tx: Session, name: str) -> None:
    tx.add(Worker(name=name, kinds=[], host="h", process=1, started=NOW, seen=NOW))


def _names(database: Database) -> set[str]:
    with database.read() as tx:
        return set(tx.execute(sqlalchemy.select(Worker.name)).scalars())


@pytest.mark.filterwarnings("ignore:autogenerate skipping")
def test_the_migrations_make_the_tables_that_the_code_describes(databases: Databases) -> None:
    database = databases()
    with database.read() as tx:
        options = {"compare_type": True, "compare_server_default": True, "include_object": _comparable}
        context = MigrationContext.configure(tx.connection(), opts=options)
        assert compare_metadata(context, Base.metadata) == []


def _comparable(item: object, name: str | None, *more: object) -> bool:
    # SQLAlchemy does not read of SQLite in which direction an index goes; the next test looks at the indexes.
    return name != "ix_jobs_queued"


def _indexes(database: Database) -> set[str]:
    of_sqlite = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    of_postgresql = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    with database.read() as tx:
        return set(tx.execute(sqlalchemy.text(of_sqlite if database.is_sqlite else of_postgresql)).scalars())


def test_the_migrations_make_the_same_indexes(databases: Databases) -> None:
    migrated, made = databases(), databases()
    with made.write() as tx:
        Base.metadata.drop_all(tx.connection())
        Base.metadata.create_all(tx.connection())
    assert _indexes(migrated) == _indexes(made) != set()


def _checks(database: Database) -> dict[str, set[str]]:
    with database.read() as tx:
        inspector = sqlalchemy.inspect(tx.connection())
        return {
            name: {str(check["name"]) for check in inspector.get_check_constraints(name)}
            for name in Base.metadata.tables
        }


def test_the_migrations_make_the_checks_too(databases: Databases) -> None:
    """Alembic does not compare these."""
    wanted = {
        name: {str(c.name) for c in table.constraints if isinstance(c, sqlalchemy.CheckConstraint)}
        for name, table in Base.metadata.tables.items()
    }
    assert _checks(databases()) == wanted


def test_the_revisions_are_named_in_order() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    found = [revision.revision for revision in script.walk_revisions()]
    assert tuple(reversed(found)) == migrations.REVISIONS
    assert script.get_current_head() == migrations.HEAD


def test_an_upgrade_is_done_once_and_keeps_what_is_there(databases: Databases) -> None:
    url = databases.url()
    database = open_database(url)
    database.run(_add, "w")
    database.upgrade()
    again = open_database(url)
    assert _names(again) == {"w"}
    again.check()
    database.close()
    again.close()


def test_an_empty_database_is_told(databases: Databases) -> None:
    database = Database(databases.url())
    with pytest.raises(PalladionError, match="upgrade it first"):
        database.check()
    database.close()


def test_a_newer_database_is_refused(databases: Databases) -> None:
    database = databases()
    with database.write() as tx:
        tx.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    for check in (database.check, database.upgrade):
        with pytest.raises(PalladionError, match=r"newer version of Palladion .*'9999'.*install that version"):
            check()


def _upgrade(url: str, results: "multiprocessing.Queue[str]") -> None:
    try:
        open_database(url)
        results.put("done")
    except BaseException as error:
        results.put(repr(error))


def test_processes_that_start_at_once_upgrade_once(databases: Databases) -> None:
    url = databases.url()
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_upgrade, args=(url, results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ["done"] * 4
    for process in processes:
        process.join()
    database = Database(url)
    database.check()
    database.close()


def test_a_write_is_all_or_nothing(database: Database) -> None:
    def work(tx: Session) -> None:
        _add(tx, "w")
        tx.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.run(work)
    assert _names(database) == set()
    database.run(_add, "w")
    assert _names(database) == {"w"}


def test_a_read_changes_nothing(database: Database) -> None:
    def work() -> None:
        with database.read() as tx:
            _add(tx, "w")
            tx.flush()

    with pytest.raises(PalladionError):
        work()
    assert _names(database) == set()


def test_a_read_sees_one_state(database: Database) -> None:
    database.run(_add, "before")
    with database.read() as tx:
        assert tx.execute(sqlalchemy.select(Worker.name)).scalars().all() == ["before"]
        database.run(_add, "meanwhile")
        assert tx.execute(sqlalchemy.select(Worker.name)).scalars().all() == ["before"]
    assert _names(database) == {"before", "meanwhile"}


def test_a_row_can_be_read_after_its_transaction(database: Database) -> None:
    with database.write() as tx:
        line = audit.add(tx, actor="olga", action="x", subject="y", now=NOW)
    assert (line.actor, line.at, line.detail) == ("olga", NOW, {})


def test_what_a_constraint_forbids_is_a_conflict(database: Database) -> None:
    database.run(_add, "w")
    with pytest.raises(Conflict, match="does not allow"):
        database.run(_add, "w")


def test_run_tries_again_what_came_in_the_way_of_another(databases: Databases) -> None:
    """Two lock two rows in opposite order; on PostgreSQL one of them is sent back, and both get through."""
    database = databases()
    database.run(_add, "a")
    database.run(_add, "b")
    both = threading.Barrier(2)
    tries: list[str] = []

    def work(tx: Session, first: str, second: str) -> None:
        tries.append(first)
        tx.execute(sqlalchemy.update(Worker).where(Worker.name == first).values(process=Worker.process + 1))
        if databases.kind == "postgresql" and len(tries) <= 2:
            both.wait(timeout=20)
        tx.execute(sqlalchemy.update(Worker).where(Worker.name == second).values(process=Worker.process + 1))

    threads = [threading.Thread(target=database.run, args=(work, *order)) for order in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as tx:
        assert tx.execute(sqlalchemy.select(Worker.process)).scalars().all() == [3, 3]
    assert len(tries) == (3 if databases.kind == "postgresql" else 2)


@pytest.mark.parametrize("databases", ["postgresql"], indirect=True)
def test_a_connection_that_breaks_is_told_and_made_anew(databases: Databases) -> None:
    database = databases()

    def work(tx: Session) -> None:
        _add(tx, "w")
        tx.execute(sqlalchemy.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(PalladionError, match="the connection broke"):
        database.run(work)
    database.run(_add, "after")
    assert _names(database) == {"after"}


def test_a_busy_file_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "database.sqlite"
    open_database(path).close()
    database = Database(path, wait=0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(PalladionError, match="others have been writing"), database.write():
        pass
    other.close()
    database.run(_add, "w")


def test_a_thread_that_writes_for_too_long_is_told_in_words(tmp_path: Path) -> None:
    database = open_database(tmp_path / "database.sqlite")
    impatient = Database(tmp_path / "database.sqlite", wait=0.1)
    with impatient.write(), pytest.raises(PalladionError, match="others have been writing"), impatient.write():
        pass
    database.close()


def test_sqlite_is_set_up(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "database.sqlite"
    database = open_database(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with database.read() as tx:
        found = {
            name: tx.execute(sqlalchemy.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}
    assert stat.S_IMODE(path.with_name("database.sqlite-wal").stat().st_mode) == 0o600


def test_no_file_is_made_by_looking(tmp_path: Path) -> None:
    database = Database(tmp_path / "database.sqlite")
    with pytest.raises(PalladionError, match="no such database"):
        database.check()
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_strange_characters_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "100% mode=ro?x#y .sqlite"
    open_database(path).run(_add, "w")
    assert _names(Database(path)) == {"w"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://palladion:s3cret@127.0.0.1:1/nothing",
        "postgres://palladion:s3cret@127.0.0.1:1/nothing?sslpassword=s3cret",
        "postgresql://palladion:s3cret@[::1/nothing",
        "postgresql://palladion:s3cret@127.0.0.1:port/nothing",
        "mysql://palladion:s3cret@127.0.0.1/nothing",
        "sqlite://palladion:s3cret@127.0.0.1/nothing",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_what_cannot_be_opened_is_told_without_the_password(url: str) -> None:
    with pytest.raises(PalladionError) as raised:
        Database(url, wait=5).check()
    assert "s3cret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG" * 1000)
    with pytest.raises(PalladionError, match="not a database"):
        open_database(path)


def _write_in_a_child(database: Database, name: str) -> None:
    database.run(_add, name)


def test_a_fork_makes_its_own_connections(databases: Databases) -> None:
    database = databases()
    database.run(_add, "parent")
    context = multiprocessing.get_context("fork")
    with database.read() as tx:
        tx.execute(sqlalchemy.select(Worker.name)).all()
        children = [context.Process(target=_write_in_a_child, args=(database, f"child-{i}")) for i in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    database.run(_add, "after")
    assert _names(database) == {"parent", "child-0", "child-1", "child-2", "after"}


def _increase(url: str, times: int) -> None:
    database = Database(url)

    def work(tx: Session) -> None:
        worker = tx.execute(sqlalchemy.select(Worker).with_for_update()).scalar_one()
        worker.process += 1

    for _ in range(times):
        database.run(work)
    database.close()


def test_threads_and_processes_write_one_after_the_other(databases: Databases) -> None:
    url = databases.url()
    database = open_database(url)
    database.run(_add, "w")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_increase, args=(url, 20)) for _ in range(3)]
    threads = [threading.Thread(target=_increase, args=(url, 20)) for _ in range(3)]
    both: list[threading.Thread | multiprocessing.process.BaseProcess] = [*processes, *threads]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    with database.read() as tx:
        assert tx.execute(sqlalchemy.select(Worker.process)).scalar() == 1 + 6 * 20
    database.close()


def test_times_have_a_zone_and_sort(database: Database) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    instants = [NOW, NOW.replace(microsecond=1), NOW.astimezone(east) + timedelta(seconds=2)]
    with database.write() as tx:
        for i, at in enumerate(reversed(instants)):
            tx.add(LoginFailure(id=str(i), key="k", at=at))
    with database.read() as tx:
        found = tx.execute(sqlalchemy.select(LoginFailure.at).order_by(LoginFailure.at)).scalars().all()
    assert found == instants
    assert {at.utcoffset() for at in found} == {timedelta(0)}
    with pytest.raises(ValueError, match="without a zone"):
        instant_text(NOW.replace(tzinfo=None))
