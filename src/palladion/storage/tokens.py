"""Tokens: secrets that stand for an account, within some scopes and for some time."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from palladion.errors import InputError
from palladion.storage.errors import NotFound, Refused
from palladion.storage.hashing import hash_secret, new_secret, verify_secret
from palladion.storage.ids import ID, new_id
from palladion.storage.tables import Account, Token
from palladion.storage.texts import one_line

__all__ = ["Verified", "by_id", "issue", "needs_note", "note_use", "of_account", "revoke", "revoke_all", "verify"]

_PREFIX = "pld"
_SCOPE = re.compile(r"[a-z][a-z0-9:._-]{0,63}")
_MOST_SCOPES = 50
# Every request uses a token; writing that down each time would make every request a writer.
_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that is good, and the account it stands for.

    Attributes:
        account: active.
        token: neither expired nor revoked.
    """

    account: Account
    token: Token

    @property
    def scopes(self) -> frozenset[str]:
        """What the token may be used for."""
        return frozenset(self.token.scopes)


def issue(
    tx: Session, account_id: str, *, name: str, scopes: Iterable[str], lifetime: timedelta | None, now: datetime
) -> tuple[Token, str]:
    """Make a token.

    Args:
        tx: a write transaction.
        account_id: whom it stands for.
        name: what its owner calls it.
        scopes: what it may be used for.
        lifetime: for how long; None: until it is revoked.
        now: the time.

    Returns:
        The token, and the text to hand out, ``pld_<id>_<secret>``, which is not kept anywhere.

    Raises:
        InputError: a scope is no word, or the lifetime is not positive.
    """
    wanted = sorted(set(scopes))
    if len(wanted) > _MOST_SCOPES or not all(_SCOPE.fullmatch(scope) for scope in wanted):
        raise InputError("scopes are at most 50 words of a-z, 0-9, ':', '.', '_' and '-'")
    if lifetime is not None and lifetime <= timedelta(0):
        raise InputError("a token needs a lifetime longer than nothing")
    secret = new_secret()
    token = Token(
        id=new_id(),
        account_id=account_id,
        name=one_line(name, 100),
        digest=hash_secret(secret),
        scopes=wanted,
        created=now,
        expires=None if lifetime is None else now + lifetime,
    )
    tx.add(token)
    tx.flush()
    return token, f"{_PREFIX}_{token.id}_{secret}"


def verify(tx: Session, text: str, now: datetime) -> Verified:
    """The token that this text is, and its account. It changes nothing: a read transaction will do.

    Raises:
        Refused: it is none, has expired or was revoked, or its account may not be used; the words are the same.
    """
    prefix, _, rest = text[:200].partition("_")
    token_id, _, secret = rest.partition("_")
    found = None
    if prefix == _PREFIX and ID.fullmatch(token_id):
        found = tx.execute(
            select(Token, Account).join(Account, Account.id == Token.account_id).where(Token.id == token_id)
        ).one_or_none()
    right = verify_secret(found[0].digest if found else None, secret)
    if found is not None and right:
        token, account = found
        alive = token.revoked is None and (token.expires is None or now < token.expires)
        if alive and account.state == "active":
            return Verified(account, token)
    raise Refused("the token is not valid; log in again")


def needs_note(token: Token, now: datetime) -> bool:
    """Whether :func:`note_use` is due: a use is written down once a minute."""
    return token.used is None or now - token.used >= _NOTED_EVERY


def note_use(tx: Session, token_id: str, now: datetime) -> None:
    """Write down that the token was used."""
    tx.execute(update(Token).where(Token.id == token_id).values(used=now))


def revoke(tx: Session, token_id: str, *, now: datetime) -> None:
    """Make the token worthless from now on; one that is already stays so.

    Raises:
        NotFound: there is none.
    """
    by_id(tx, token_id)
    tx.execute(update(Token).where(Token.id == token_id, Token.revoked.is_(None)).values(revoked=now))


def revoke_all(tx: Session, account_id: str, *, now: datetime) -> None:
    """Revoke every token of the account."""
    tx.execute(update(Token).where(Token.account_id == account_id, Token.revoked.is_(None)).values(revoked=now))


def by_id(tx: Session, token_id: str) -> Token:
    """The token.

    Raises:
        NotFound: there is none.
    """
    token = tx.get(Token, token_id)
    if token is None:
        raise NotFound(f"there is no token {token_id[:40]!a}")
    return token


def of_account(tx: Session, account_id: str) -> list[Token]:
    """The tokens of the account, the last first, with those that have expired or were revoked."""
    return list(
        tx.execute(select(Token).where(Token.account_id == account_id).order_by(Token.created.desc(), Token.id))
        .scalars()
        .all()
    )
