"""Who one is at which server: tokens in ``credentials.json``, for nobody else to read.

The file lies in ``$XDG_CONFIG_HOME/palladion``, or ``~/.config/palladion``. The environment variables
``PALLADION_SERVER`` and ``PALLADION_TOKEN`` stand in for it. A token is never printed, and a token that was given for
one server is sent to no other.
"""

import contextlib
import fcntl
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from palladion.client.addresses import is_secret_there, server_url
from palladion.errors import InputError, PalladionError

__all__ = [
    "SERVER_VARIABLE",
    "TOKEN_VARIABLE",
    "Credentials",
    "Login",
    "check_token",
    "chosen_server",
    "credentials_path",
    "forget",
    "load_credentials",
    "refuse_open_way",
    "remember",
    "token_for",
]

SERVER_VARIABLE: Final = "PALLADION_SERVER"
TOKEN_VARIABLE: Final = "PALLADION_TOKEN"  # noqa: S105 - the name of a variable

_FORMAT: Final = "palladion-credentials/1"
_TOKEN: Final = re.compile(r"[\x21-\x7e]{8,4096}")
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Login:
    """Who one is at a server.

    Attributes:
        account: its name.
        token: what proves it; not part of what is printed of this object.
    """

    account: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What ``credentials.json`` says.

    Attributes:
        current: the server that is meant where none is named; None before the first login.
        logins: by the server's address.
    """

    current: str | None = None
    logins: Mapping[str, Login] = field(default_factory=dict)


def credentials_path(environment: Mapping[str, str] | None = None) -> Path:
    """Where the file lies. ``environment`` is the process's own by default."""
    environment = os.environ if environment is None else environment
    configured = environment.get("XDG_CONFIG_HOME", "")
    folder = Path(configured) if configured.startswith("/") else Path("~/.config").expanduser()
    return folder / "palladion" / "credentials.json"


def load_credentials(path: Path | None = None) -> Credentials:
    """What is kept; nothing where there is no file.

    Raises:
        InputError: the file is damaged, or others can read it.
    """
    path = path or credentials_path()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return Credentials()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from None
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(
            f"can be read by others, and holds tokens; log in anew after: chmod 600 {str(path)!a}", path=path
        )
    try:
        if len(content) > _MOST_BYTES:
            raise ValueError
        return _read(json.loads(content))
    except (ValueError, RecursionError, InputError):
        raise InputError("is damaged; remove it, and log in again", path=path) from None


def remember(server: str, login: Login, path: Path | None = None) -> None:
    """Keep a login, in the place of one at the same server, and make that server the current one.

    Raises:
        InputError: the file is damaged, or the token is none.
        PalladionError: it cannot be written.
    """
    check_token(login.token)
    with _changing(path or credentials_path()) as (before, write):
        write(replace(before, current=server, logins={**before.logins, server: login}))


def forget(server: str, path: Path | None = None) -> bool:
    """Keep a login no longer; False where there was none. Raises as :func:`remember`."""
    with _changing(path or credentials_path()) as (before, write):
        if server not in before.logins:
            return False
        logins = {url: login for url, login in before.logins.items() if url != server}
        current = next(iter(logins), None) if before.current == server else before.current
        write(Credentials(current, logins))
        return True


def chosen_server(option: str | None, environment: Mapping[str, str] | None = None, path: Path | None = None) -> str:
    """The server that is meant: the option, the environment variable, or the one of the last login.

    Raises:
        InputError: none is named anywhere, or what is named is no address.
    """
    environment = os.environ if environment is None else environment
    named = option or environment.get(SERVER_VARIABLE)
    if named:
        return server_url(named)
    current = load_credentials(path).current
    if current is None:
        raise InputError(f"which server? Log in with palladion login URL, or give --server URL or {SERVER_VARIABLE}")
    return current


def token_for(server: str, environment: Mapping[str, str] | None = None, path: Path | None = None) -> str | None:
    """The token for a server; None where there is none.

    A token in the environment counts for the server that the environment names, or for any where it names none.

    Raises:
        InputError: the token in the environment is none, or the file is damaged.
    """
    environment = os.environ if environment is None else environment
    token = environment.get(TOKEN_VARIABLE, "").strip()
    if token:
        named = environment.get(SERVER_VARIABLE)
        if not named or server_url(named) == server:
            return check_token(token)
    login = load_credentials(path).logins.get(server)
    return None if login is None else login.token


def check_token(token: str) -> str:
    """The token itself.

    Raises:
        InputError: it is none; it is not repeated in the message.
    """
    if _TOKEN.fullmatch(token) is None:
        raise InputError("this is no token: it must be one word of plain characters")
    return token


def refuse_open_way(server: str, *, insecure: bool) -> None:
    """Refuse to send a token or a password where others can read it.

    Raises:
        InputError: the server is on another machine and reached by plain http.
    """
    if not insecure and not is_secret_there(server):
        raise InputError(
            f"{server} is reached without encryption, so that others can read the password or token on the way; use "
            "https, or --insecure where nobody can listen"
        )


def _read(document: object) -> Credentials:
    """What a document says.

    Raises:
        ValueError: it is none of ours.
        InputError: likewise, of an address or a token.
    """
    servers = document.get("servers") if isinstance(document, dict) else None
    if not isinstance(document, dict) or document.get("format") != _FORMAT or not isinstance(servers, dict):
        raise ValueError
    logins = {}
    for url, entry in servers.items():
        account, token = (entry.get("account"), entry.get("token")) if isinstance(entry, dict) else (None, None)
        if not isinstance(account, str) or not isinstance(token, str) or server_url(url) != url:
            raise ValueError
        logins[url] = Login(account, check_token(token))
    current = document.get("current")
    return Credentials(current if current in logins else None, logins)


def _document(credentials: Credentials) -> dict[str, Any]:
    servers = {url: {"account": login.account, "token": login.token} for url, login in credentials.logins.items()}
    return {"format": _FORMAT, "current": credentials.current, "servers": servers}


class _Write:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, credentials: Credentials) -> None:
        text = json.dumps(_document(credentials), indent=2) + "\n"
        # mkstemp gives mode 0600, which files.write_atomically would widen.
        handle, temporary = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[tuple[Credentials, _Write]]:
    """What is kept, and how to write it anew; one process at a time, so that no login is lost."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield load_credentials(path), _Write(path)
        finally:
            os.close(handle)
    except OSError as error:
        raise PalladionError(f"{path}: cannot be written: {error.strerror or error}") from None
