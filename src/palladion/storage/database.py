"""The database: SQLite in a file, or PostgreSQL by its URL, and what a transaction is on each.

A read sees one state of the database from its first statement to its last. A write excludes other writes where it must:
on SQLite there is one writer at a time, from the start of the transaction (a transaction that read first and wrote
later could not go on if another wrote in between); on PostgreSQL functions lock the rows that they decide on.
"""

import contextlib
import hashlib
import os
import random
import sqlite3
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import (
    URL,
    ColumnClause,
    Connection,
    Engine,
    create_engine,
    event,
    inspect,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy import column as sql_column
from sqlalchemy import exc as sql_errors
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

from palladion.errors import PalladionError
from palladion.storage.errors import Conflict
from palladion.storage.migrations import HEAD, REVISIONS

__all__ = ["Database", "insert", "lock", "open_database"]

P = ParamSpec("P")
T = TypeVar("T")

_ADVISORY_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_TRIES = 8
_LONGEST_PAUSE = 1.0
# SQLITE_BUSY and SQLITE_LOCKED, without what their extended codes add.
_SQLITE_TRANSIENT = frozenset({5, 6})
# serialization_failure, deadlock_detected, lock_not_available.
_POSTGRESQL_TRANSIENT = frozenset({"40001", "40P01", "55P03"})


def open_database(url: str | Path) -> "Database":
    """The database at this path or URL, made or brought up to date where it must be.

    Raises:
        PalladionError: it cannot be opened, or is of a newer version of Palladion.
    """
    database = Database(url)
    database.upgrade()
    return database


class Database:
    """A database; threads may share it, and processes may open the same one. Transactions do not nest.

    Args:
        url: the path of a SQLite file, ``sqlite:///path`` or ``postgresql://user:password@host/name``.
        wait: seconds to wait for another writer before giving up.

    Attributes:
        url: as text, without the password.
        is_sqlite: whether it is a file.

    Raises:
        PalladionError: the URL cannot be understood, or what it needs is not installed. Nothing is opened yet.
    """

    def __init__(self, url: str | Path, *, wait: float = 30.0) -> None:
        self._target = _parsed(url)
        self._wait = wait
        self.url = _printable(self._target)
        self.is_sqlite = self._target.get_backend_name() == "sqlite"
        self._engine = _sqlite_engine(self._target, wait) if self.is_sqlite else _postgresql_engine(self._target, wait)
        _forget_connections_of_the_parent(self._engine)
        if self.is_sqlite:
            self._reader = self._engine.execution_options(palladion_mode="read")
            self._writer = self._engine.execution_options(palladion_mode="write")
        else:
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._writer = self._engine.execution_options()
        self._turn, self._turn_process = threading.Lock(), os.getpid()

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one state of the database and can change nothing.

        Raises:
            PalladionError: the database cannot be reached.
        """
        with self._in_words(), Session(self._reader, expire_on_commit=False) as session, session.begin():
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that may change the database; it commits at the end, or changes nothing if an error leaves it.

        Raises:
            Conflict: a constraint of the database forbids the change.
            PalladionError: the database cannot be reached, or others were writing for too long.
        """
        with self._in_words(), self._transaction() as session:
            yield session

    def run(self, function: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``function(tx, *args, **kwargs)`` returns in a write transaction of its own.

        Where the database says that the transaction came in the way of another one, nothing of it has happened, and it
        is tried again a few times.

        Raises:
            Conflict: a constraint of the database forbids the change.
            PalladionError: the database cannot be reached, or others were writing for too long.
        """
        with self._in_words():
            for attempt in range(1, _TRIES + 1):
                try:
                    with self._transaction() as session:
                        return function(session, *args, **kwargs)
                except sql_errors.DBAPIError as error:
                    if not _transient(error) or attempt == _TRIES:
                        raise
                # Two that came in each other's way must not meet again at the same moment.
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.01 * 2**attempt)))  # noqa: S311
        raise AssertionError("unreachable")

    def upgrade(self) -> None:
        """Make the tables, or bring those of an older version up to date; all of it or nothing.

        Raises:
            PalladionError: the database cannot be reached, or is of a newer version of Palladion.
        """
        if self.is_sqlite:
            _make_private_file(Path(self._target.database or ""))
        with self._in_words():
            if self._revision() == HEAD:
                return
            # Alembic takes a fifth of a second to import; only who upgrades pays for it.
            from alembic import command
            from alembic.config import Config

            config = Config()
            # ConfigParser reads % as the start of a reference.
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
            with self._in_turn(), self._writer.begin() as connection:
                if not self.is_sqlite:
                    connection.execute(_ADVISORY_LOCK, {"key": _number("upgrade")})
                _known(_revision(connection), self.url)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")

    def check(self) -> None:
        """That the tables are those of this version of Palladion.

        Raises:
            PalladionError: they are older, newer or absent, or the database cannot be reached.
        """
        with self._in_words():
            revision = self._revision()
        if revision is None:
            raise PalladionError(f"{self.url}: holds no tables of Palladion; upgrade it first")
        if revision != HEAD:
            raise PalladionError(f"{self.url}: is of an older version ({revision}, now {HEAD}); upgrade it first")

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self._in_turn(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            # Begin now: waiting for one's turn belongs before the first line of what is done in it.
            session.connection()
            yield session

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Threads of one process queue here: SQLite itself would let them poll, and now and then starve one of them."""
        if not self.is_sqlite:
            yield
            return
        if self._turn_process != os.getpid():
            # A fork: whoever held the lock stayed in the parent.
            self._turn, self._turn_process = threading.Lock(), os.getpid()
        turn = self._turn
        if not turn.acquire(timeout=self._wait):
            raise PalladionError(f"{self.url}: others have been writing for {self._wait:.0f} s; try again")
        try:
            yield
        finally:
            turn.release()

    def _revision(self) -> str | None:
        with self._reader.connect() as connection:
            return _known(_revision(connection), self.url)

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sql_errors.IntegrityError as error:
            raise Conflict(f"the database does not allow this: {self._told(error)}") from error
        except sql_errors.TimeoutError as error:
            raise PalladionError(f"{self.url}: every connection has been in use for too long; try again") from error
        except sql_errors.DBAPIError as error:
            if _transient(error):
                words = f"others have been writing for {self._wait:.0f} s; try again"
            elif error.connection_invalidated:
                words = f"the connection broke: {self._told(error)}"
            elif isinstance(error, sql_errors.OperationalError):
                words = f"cannot be used: {self._told(error)}"
            else:
                words = f"does not understand what was asked of it: {self._told(error)}"
            raise PalladionError(f"{self.url}: {words}") from error

    def _told(self, error: sql_errors.DBAPIError) -> str:
        """The first line of what the driver says, without the password."""
        line = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
        password = self._target.password
        return line.replace(str(password), "***") if password else line


def lock(tx: Session, name: str) -> None:
    """Keep to the end of the transaction what only one transaction may do at a time, where there is no row to lock.

    On SQLite a write transaction is alone anyway.
    """
    if tx.get_bind().dialect.name == "postgresql":
        tx.execute(_ADVISORY_LOCK, {"key": _number(name)})


def _number(name: str) -> int:
    """The 64 bits that PostgreSQL knows a lock by."""
    digest = hashlib.sha256(f"palladion:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def insert(tx: Session, table: type[DeclarativeBase]) -> Any:
    """An INSERT that knows ON CONFLICT, which SQLite and PostgreSQL spell alike and SQLAlchemy does not."""
    return (postgresql if tx.get_bind().dialect.name == "postgresql" else sqlite).insert(table)


def _parsed(url: str | Path) -> URL:
    given = str(url)
    if isinstance(url, Path) or "://" not in given:
        parsed = URL.create("sqlite", database=given)
    else:
        try:
            parsed = make_url(given)
        except (sql_errors.ArgumentError, ValueError):
            # Not repeated here: what cannot be understood may hold a password anywhere.
            raise PalladionError(
                "the URL of the database cannot be understood; write a path, or postgresql://user:password@host/name"
            ) from None
    name = parsed.get_backend_name()
    if name == "sqlite":
        if parsed.host or parsed.password:
            raise PalladionError("the URL of a SQLite database has three slashes and a path: sqlite:///path")
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
            raise PalladionError("a SQLite database needs the path of a file: each thread has a connection of its own")
        return parsed.set(drivername="sqlite+pysqlite", database=str(Path(parsed.database).absolute()), query={})
    if name in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise PalladionError(f"no database of the kind {name!r} is known; write a path or postgresql://...")


def _printable(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    # Parameters of the query may hold secrets as well.
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def _sqlite_engine(url: URL, wait: float) -> Engine:
    path = Path(url.database or "")

    def connect() -> sqlite3.Connection:
        # SQLite would make an empty file of any name that is asked for; only `upgrade` makes one, and a private one.
        if not path.exists():
            raise PalladionError(f"{path}: there is no such database; upgrade it first")
        return sqlite3.connect(
            f"file:{urllib.parse.quote(str(path))}?mode=rw", uri=True, timeout=wait, check_same_thread=False
        )

    engine = create_engine(url, creator=connect, pool_size=10, max_overflow=54, pool_timeout=wait)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: object) -> None:  # noqa: ARG001
        # Python's driver would begin transactions when it sees fit; we say when and how.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # Whoever submitted was told that it is accepted: that must outlive a power cut, and costs less than 1 ms.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        writes = connection.get_execution_options().get("palladion_mode") == "write"
        connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL, wait: float) -> Engine:
    settings: dict[str, Any] = {"connect_timeout": 10, "application_name": "palladion"}
    if "options" not in url.query:
        settings["options"] = f"-c lock_timeout={int(wait * 1000)}"
    for name in url.query:
        settings.pop(name, None)
    try:
        return create_engine(
            url, pool_size=5, max_overflow=15, pool_timeout=wait, pool_pre_ping=True, connect_args=settings
        )
    except ModuleNotFoundError:
        raise PalladionError("PostgreSQL needs a driver: pip install 'palladion[postgres]'") from None


def _forget_connections_of_the_parent(engine: Engine) -> None:
    """After a fork, parent and child would speak over the same connections; the child makes its own."""

    @event.listens_for(engine, "connect")
    def _connected(connection: object, record: Any) -> None:  # noqa: ARG001
        record.info["process"] = os.getpid()

    @event.listens_for(engine, "checkout")
    def _checked_out(connection: object, record: Any, proxy: Any) -> None:  # noqa: ARG001
        if record.info["process"] != os.getpid():
            record.dbapi_connection = proxy.dbapi_connection = None
            raise sql_errors.DisconnectionError("this connection belongs to the parent process")


def _transient(error: sql_errors.DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_TRANSIENT
    return getattr(error.orig, "sqlstate", None) in _POSTGRESQL_TRANSIENT


def _make_private_file(path: Path) -> None:
    """The file holds hashes of passwords and secrets of webhooks: nobody else reads it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise PalladionError(f"{path}: cannot be opened: {error.strerror or error}") from None


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: ColumnClause[str] = sql_column("version_num")
    return connection.execute(select(version).select_from(table("alembic_version", version))).scalar()


def _known(revision: str | None, url: str) -> str | None:
    if revision is not None and revision not in REVISIONS:
        raise PalladionError(
            f"{url}: was written by a newer version of Palladion (revision {revision!a}; this one knows up to {HEAD}); "
            "install that version"
        )
    return revision
