"""The folder of a service: made at its first start, opened at every other; and what is installed in it.

::

    palladion.db          the database, unless it is elsewhere
    artifacts/            files by what they hold, unless they are elsewhere
    uploads/              files that are on their way
    checksums/            of the files of stages, so that they need not be made again
    service.yaml          settings; optional
    organiser-token       the token of the first organiser, ``organiser``
    organiser-password    its password
    secret                the key of this service

All of it is for the user alone that the service runs as.
"""

import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from palladion.challenge.definition import challenge_path
from palladion.errors import InputError, PalladionError
from palladion.jobs.context import JobSettings, Service, Smtp, WebhookRules, utc_now
from palladion.server.settings import Settings
from palladion.storage import accounts, challenges, tokens
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database, open_database
from palladion.storage.errors import Conflict, NotFound
from palladion.storage.hashing import PasswordHash, hash_password
from palladion.storage.tables import Account
from palladion.storage.uploads import UploadLimits, Uploads

__all__ = [
    "ORGANISER",
    "PASSWORD_FILE",
    "TOKEN_FILE",
    "FirstOrganiser",
    "Installed",
    "first_organiser",
    "install",
    "job_settings",
    "open_service",
    "prepare",
    "secret_of",
]

ORGANISER: Final = "organiser"
"""The name of the first account."""
TOKEN_FILE: Final = "organiser-token"  # noqa: S105 - the name of a file
PASSWORD_FILE: Final = "organiser-password"  # noqa: S105
SECRET_FILE: Final = "secret"  # noqa: S105

_SECRET_BYTES = 32
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class FirstOrganiser:
    """The files that hold what the first organiser logs in with."""

    token: Path
    password: Path


@dataclass(frozen=True, slots=True)
class Installed:
    """What became of a challenge file.

    Attributes:
        name: of the challenge.
        change: new, changed, or unchanged.
    """

    name: str
    change: str


def prepare(data: Path) -> None:
    """Make the folder of a service, or see that it is one, for nobody else to read.

    Raises:
        PalladionError: it cannot be made or is somebody else's.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = data.stat()
        if status.st_uid != os.geteuid():
            raise PalladionError(f"{data}: belongs to another user; give the service a folder of its own")
        if stat.S_IMODE(status.st_mode) & 0o077:
            data.chmod(0o700)
    except FileExistsError:
        raise PalladionError(f"{data}: is a file; give the service a folder of its own") from None
    except OSError as error:
        raise PalladionError(f"{data}: cannot be used: {error.strerror or error}") from None


def secret_of(data: Path) -> bytes:
    """The key of the service; it is made where there is none.

    Raises:
        PalladionError: it cannot be read or made, or is none.
    """
    path = data / SECRET_FILE
    _write_private(path, secrets.token_bytes(_SECRET_BYTES).hex().encode() + b"\n")
    try:
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except (OSError, ValueError):
        key = b""
    if len(key) != _SECRET_BYTES:
        raise PalladionError(f"{path}: is no key of a service; remove it, and a new one is made")
    return key


def open_service(settings: Settings) -> Service:
    """Open what a service works with; the database is made, or brought up to date, where it must be.

    Raises:
        PalladionError: something of it cannot be opened.
    """
    database = open_database(settings.database_url)
    artifacts = ArtifactStore(settings.artifacts_url)
    limits = UploadLimits(bytes=settings.limits.upload, chunk_bytes=settings.limits.chunk, open=settings.limits.uploads)
    uploads = Uploads(database, artifacts, settings.data / "uploads", limits)
    return Service(database, artifacts, job_settings(settings), uploads=uploads)


def job_settings(settings: Settings) -> JobSettings:
    """What the work of a service is done with, by its settings."""
    smtp = settings.smtp
    outgoing = None
    if smtp.host is not None and smtp.sender is not None:
        outgoing = Smtp(
            host=smtp.host,
            sender=smtp.sender,
            port=smtp.port,
            security=smtp.security,
            user=smtp.user,
            password=None if smtp.password is None else smtp.password.get_secret_value(),
        )
    worker = settings.worker
    return JobSettings(
        data=settings.data,
        sandbox=worker.sandbox,
        slots=worker.slots,
        lease=timedelta(seconds=worker.lease_seconds),
        heartbeat=timedelta(seconds=worker.lease_seconds / 5),
        grace=worker.grace_seconds,
        public_url=settings.public_url,
        smtp=outgoing,
        webhooks=WebhookRules(private_addresses=settings.webhooks.private_addresses),
    )


def first_organiser(
    database: Database, data: Path, *, now: datetime | None = None, reset: bool = False
) -> FirstOrganiser | None:
    """Make the first organiser, if there is no organiser; None: there is one.

    Its token and its password are in files that only this user can read before anybody can use the account.

    Args:
        database: where.
        data: folder of the service.
        now: the time.
        reset: give the account ``organiser`` a new token and a new password if it is there, and revoke the old ones.

    Raises:
        PalladionError: the files cannot be written.
    """
    with database.read() as tx:
        if _has_organiser(tx) and not reset:
            return None
    password = secrets.token_urlsafe(24)
    files = FirstOrganiser(data / TOKEN_FILE, data / PASSWORD_FILE)
    made = database.run(_make_organiser, files, password, hash_password(password), now or utc_now(), reset=reset)
    return files if made else None


def _has_organiser(tx: Session) -> bool:
    return tx.execute(select(Account.id).where(Account.role == "organiser").limit(1)).first() is not None


def _make_organiser(
    tx: Session, files: FirstOrganiser, password: str, digest: PasswordHash, now: datetime, *, reset: bool
) -> bool:
    try:
        row = accounts.by_name(tx, ORGANISER)
    except NotFound:
        if _has_organiser(tx) and not reset:
            return False
        row = accounts.create(tx, name=ORGANISER, role="organiser", password=digest, now=now, actor="service")
    else:
        if not reset:
            return False
        accounts.set_role(tx, row.id, "organiser", now=now, actor="service")
        accounts.approve(tx, row.id, now=now, actor="service")
        accounts.set_password(tx, row.id, digest, now=now, actor="service")
    scopes = ["read", "submit", "organise"]
    _, token = tokens.issue(tx, row.id, name="first organiser", scopes=scopes, lifetime=None, now=now)
    # Written before the transaction ends: an organiser whose token nobody knows would lock everybody out.
    for path, text in ((files.token, token), (files.password, password)):
        path.unlink(missing_ok=True)
        _write_private(path, f"{text}\n".encode())
    return True


def install(database: Database, paths: Sequence[Path], *, actor: str, now: datetime | None = None) -> list[Installed]:
    """Install challenge files: new ones, and changes of those that are installed.

    Args:
        database: where.
        paths: challenge files, or folders of them.
        actor: who does it.
        now: the time.

    Raises:
        InputError: a file is not as it must be.
        PalladionError: a change does not fit what has been opened; nothing of that file has changed.
    """
    return [_install(database, path, actor, now or utc_now()) for path in paths]


def _install(database: Database, given: Path, actor: str, now: datetime) -> Installed:
    path = challenge_path(given)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise InputError("is larger than 1 MiB; this is not a file of settings", path=path)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise InputError("there is no such file; palladion challenge new makes one", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text: {error}", path=path) from None
    # Relative paths of the file have to mean the same wherever the service is started the next time.
    folder = path.resolve().parent

    def write(tx: Session) -> Installed:
        from palladion.challenge.definition import parse_challenge

        name = parse_challenge(text, path).name
        try:
            before = challenges.by_name(tx, name)
            known = (before.definition, before.folder)
        except NotFound:
            known = None
        row = challenges.install(tx, text, folder, now=now, actor=actor)
        change = "new" if known is None else "unchanged" if known == (row.definition, row.folder) else "changed"
        return Installed(row.name, change)

    try:
        return database.run(write)
    except Conflict as error:
        lines = "\n".join(f"{path}: {line}" for line in str(error).splitlines())
        raise PalladionError(f"{lines}\nThe challenge is left as it was.") from None


def _write_private(path: Path, content: bytes) -> None:
    """Write a new file that nobody else can read; one that is there stays. Nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # Unlike a rename, this leaves a file that another process has made meanwhile.
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise PalladionError(f"{path}: cannot be written: {error.strerror or error}") from None
