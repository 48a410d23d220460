"""Addresses: of a server, and of a challenge, a track or a stage on it."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from palladion.errors import InputError

__all__ = ["Place", "is_loopback", "is_secret_there", "place", "server_url"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_WORDS: Final = ("CHALLENGE", "TRACK", "STAGE")
_PORTS: Final = {"http": 80, "https": 443}
_MOST_CHARACTERS: Final = 500


def server_url(text: str) -> str:
    """The address of a server in the one form that is compared and kept: ``https://example.org``, without ``/`` behind.

    Without a scheme it is https, but http for this machine itself.

    Raises:
        InputError: it is no address of a server; what would hide in it, such as a password, is refused.
    """
    text = text.strip()
    if not text or len(text) > _MOST_CHARACTERS or not text.isascii() or not text.isprintable() or " " in text:
        raise InputError(f"{text[:80]!a} is no address of a server, such as https://example.org")
    if "://" not in text:
        host = _host(f"//{text}")
        text = f"{'http' if _is_this_machine(host) else 'https'}://{text}"
    host, port = _host(text), _port(text)
    parts = urlsplit(text)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise InputError(f"{text[:80]!a} must begin with https://, or http:// for a server on this machine")
    if parts.username is not None or parts.password is not None:
        raise InputError("a server's address holds neither name nor password; log in with: palladion login URL")
    if parts.query or parts.fragment or "\\" in text:
        raise InputError(f"{text[:80]!a} has more in it than the address of a server")
    shown = f"[{host}]" if ":" in host else host
    where = "" if port in (None, _PORTS[scheme]) else f":{port}"
    path = quote(parts.path.rstrip("/"), safe="/%~-._")
    return f"{scheme}://{shown}{where}{path}"


def is_loopback(url: str) -> bool:
    """Whether a server's address is this machine's own."""
    return _is_this_machine(_host(url))


def is_secret_there(url: str) -> bool:
    """Whether nobody reads along on the way to a server: by https, or because there is no way."""
    return urlsplit(url).scheme == "https" or is_loopback(url)


@dataclass(frozen=True, slots=True)
class Place:
    """A challenge, or a track of one, or a stage of one.

    Attributes:
        challenge: its name.
        track: its name; None for the challenge.
        stage: its name; None for the track, or the challenge.
    """

    challenge: str
    track: str | None = None
    stage: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.challenge, self.track, self.stage) if part is not None)


def place(text: str, *, least: int = 1, most: int = 3) -> Place:
    """What ``CHALLENGE/TRACK/STAGE`` stands for, as people write it.

    Args:
        text: with or without a ``/`` at the end.
        least: parts that must be there, 1 to 3.
        most: parts that may be there.

    Raises:
        InputError: it has other parts, or a part is no name.
    """
    parts = text.removesuffix("/").split("/")
    form = "/".join(_WORDS[:least]) + "".join(f"[/{word}]" for word in _WORDS[least:most])
    if not least <= len(parts) <= most:
        raise InputError(f"{text[:80]!a} must be {form}")
    for part, word in zip(parts, _WORDS, strict=False):
        if _NAME.fullmatch(part) is None:
            raise InputError(
                f"{part[:80]!a} in {text[:80]!a} is no name of a {word.lower()} ({form}): lower-case letters, digits "
                "and -, at most 64"
            )
    return Place(*parts)


def _host(url: str) -> str:
    try:
        host = urlsplit(url).hostname
    except ValueError:  # a bracket that is not closed
        host = None
    if not host or re.fullmatch(r"[A-Za-z0-9._:-]+", host) is None:
        raise InputError(f"{url.removeprefix('//')[:80]!a} is no address of a server, such as https://example.org")
    return host.lower()


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        raise InputError(f"{url[:80]!a} has no port that there could be") from None


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
