"""Secrets are kept as argon2 hashes: what is stolen with the database opens nothing.

Passwords are chosen by people, so trying them must be dear: the library's defaults, some 50 ms and 64 MiB each. Never
call these functions within a transaction: on SQLite everybody who writes would wait.

The secrets of tokens are 256 random bits. Nobody can try them out, however cheap a try is, and every request verifies
one: the least that argon2 allows, some ten microseconds.
"""

import functools
import secrets
from typing import TYPE_CHECKING, NewType

from palladion.errors import InputError, PalladionError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = [
    "PasswordHash",
    "hash_password",
    "hash_secret",
    "needs_rehash",
    "new_secret",
    "verify_password",
    "verify_secret",
]

PasswordHash = NewType("PasswordHash", str)
"""What :func:`hash_password` made of a password; the type keeps passwords themselves out of the tables."""

_LEAST, _MOST = 10, 1024


def hash_password(password: str) -> PasswordHash:
    """The hash of a new password.

    Raises:
        InputError: the password is shorter than 10 characters, or longer than 1024.
    """
    if not _LEAST <= len(password) <= _MOST:
        raise InputError(f"a password has {_LEAST} to {_MOST} characters")
    return PasswordHash(_dear().hash(_bytes(password)))


def verify_password(digest: str | None, password: str) -> bool:
    """Whether this is the password. Without a digest the answer is no, and takes as long."""
    if len(password) > _MOST:
        password = ""
    return _verify(_dear(), digest or _nobody(), password) and digest is not None


def needs_rehash(digest: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _dear().check_needs_rehash(digest)


def new_secret() -> str:
    """256 random bits as 64 hexadecimal digits."""
    return secrets.token_hex(32)


def hash_secret(secret: str) -> str:
    """The hash of what :func:`new_secret` gave."""
    return _cheap().hash(_bytes(secret))


def verify_secret(digest: str | None, secret: str) -> bool:
    """Whether this is the secret. Without a digest the answer is no, and takes as long."""
    if len(secret) > _MOST:
        secret = ""
    return _verify(_cheap(), digest or _no_secret(), secret) and digest is not None


def _verify(hasher: "PasswordHasher", digest: str, given: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return hasher.verify(digest, _bytes(given))
    except (VerificationError, InvalidHashError):
        return False


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair can be sent as JSON; it is a wrong password, not an error.
    return text.encode("utf-8", "surrogatepass")


@functools.cache
def _dear() -> "PasswordHasher":
    return _argon2()()


@functools.cache
def _cheap() -> "PasswordHasher":
    return _argon2()(time_cost=1, memory_cost=8, parallelism=1)


@functools.cache
def _nobody() -> str:
    return _dear().hash(secrets.token_bytes(16))


@functools.cache
def _no_secret() -> str:
    return _cheap().hash(secrets.token_bytes(16))


def _argon2() -> "type[PasswordHasher]":
    try:
        from argon2 import PasswordHasher
    except ModuleNotFoundError:
        raise PalladionError("accounts need argon2: pip install 'palladion[server]'") from None
    return PasswordHasher
