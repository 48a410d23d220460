"""Accounts: who may log in, as what."""

import re
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from palladion.errors import InputError
from palladion.storage import audit, logins, tokens
from palladion.storage.database import Database, lock
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.hashing import PasswordHash, hash_password, needs_rehash, verify_password
from palladion.storage.ids import new_id
from palladion.storage.tables import ACCOUNT_STATES, ROLES, Account

__all__ = [
    "NAME",
    "approve",
    "authenticate",
    "by_email",
    "by_id",
    "by_identity",
    "by_name",
    "create",
    "disable",
    "listing",
    "set_email",
    "set_mail",
    "set_password",
    "set_role",
]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,63}")
"""Names of accounts: lower-case, so that no two differ by what nobody sees."""

_EMAIL = re.compile(r"[^\s@<>\"',;:\\()\[\]]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?")


def create(
    tx: Session,
    *,
    name: str,
    now: datetime,
    actor: str,
    role: str = "participant",
    state: str = "active",
    email: str | None = None,
    password: PasswordHash | None = None,
    identity: tuple[str, str] | None = None,
    mail: bool = True,
) -> Account:
    """Make an account.

    Args:
        tx: a write transaction.
        name: 2 to 64 of ``a-z 0-9 . _ -``.
        now: the time.
        actor: who makes it; its own name, where somebody registers.
        role: organiser, participant or observer.
        state: pending (an organiser has to approve it), active or disabled.
        email: where e-mail goes; one account an address.
        password: of :func:`palladion.storage.hashing.hash_password`; None: it cannot log in by password.
        identity: issuer and subject of an OpenID provider.
        mail: whether it wants e-mail.

    Raises:
        InputError: the name or the address is none.
        Conflict: the name, the address or the identity belongs to another account.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name[:80]!a} is no name of an account: 2 to 64 of a-z, 0-9, '.', '_' and '-'")
    _known(role, ROLES, "role")
    _known(state, ACCOUNT_STATES, "state of an account")
    address = None if email is None else _address(email)
    if tx.execute(select(Account.id).where(Account.name == name)).first():
        raise Conflict(f"the name {name!a} is taken")
    _free_address(tx, address)
    issuer, subject = identity or (None, None)
    if identity is not None and by_identity(tx, *identity):
        raise Conflict("this identity belongs to another account")
    account = Account(
        id=new_id(),
        name=name,
        email=address,
        password=password,
        issuer=issuer,
        subject=subject,
        role=role,
        state=state,
        mail=mail,
        created=now,
    )
    tx.add(account)
    tx.flush()
    detail = {"name": name, "role": role, "state": state}
    audit.add(tx, actor=actor, action="account.create", subject=f"account:{account.id}", detail=detail, now=now)
    return account


def by_id(tx: Session, account_id: str) -> Account:
    """The account.

    Raises:
        NotFound: there is none.
    """
    account = tx.get(Account, account_id)
    if account is None:
        raise NotFound(f"there is no account {account_id[:40]!a}")
    return account


def by_name(tx: Session, name: str) -> Account:
    """The account.

    Raises:
        NotFound: there is none.
    """
    account = tx.execute(select(Account).where(Account.name == name)).scalar_one_or_none()
    if account is None:
        raise NotFound(f"there is no account {name[:80]!a}")
    return account


def by_email(tx: Session, email: str) -> Account | None:
    """The account with this address, if there is one."""
    return tx.execute(select(Account).where(Account.email == email.strip().lower())).scalar_one_or_none()


def by_identity(tx: Session, issuer: str, subject: str) -> Account | None:
    """The account that an OpenID provider means by this subject, if there is one."""
    return tx.execute(select(Account).where(Account.issuer == issuer, Account.subject == subject)).scalar_one_or_none()


def listing(tx: Session, *, state: str | None = None) -> list[Account]:
    """The accounts, by name."""
    statement = select(Account).order_by(Account.name)
    if state is not None:
        statement = statement.where(Account.state == state)
    return list(tx.execute(statement).scalars())


def approve(tx: Session, account_id: str, *, now: datetime, actor: str) -> Account:
    """Let the account be used, whatever its state was.

    Raises:
        NotFound: there is none.
    """
    return _change(tx, account_id, {"state": "active"}, "account.approve", now=now, actor=actor)


def disable(tx: Session, account_id: str, *, now: datetime, actor: str) -> Account:
    """Let the account be used no more; its tokens are revoked.

    Raises:
        NotFound: there is none.
    """
    account = _change(tx, account_id, {"state": "disabled"}, "account.disable", now=now, actor=actor)
    tokens.revoke_all(tx, account_id, now=now)
    return account


def set_role(tx: Session, account_id: str, role: str, *, now: datetime, actor: str) -> Account:
    """Make the account organiser, participant or observer.

    Raises:
        NotFound: there is none.
        InputError: there is no such role.
    """
    _known(role, ROLES, "role")
    return _change(tx, account_id, {"role": role}, "account.role", now=now, actor=actor, detail={"role": role})


def set_password(tx: Session, account_id: str, password: PasswordHash, *, now: datetime, actor: str) -> Account:
    """Change the password. Tokens are revoked: whoever had the old password may have issued some.

    Raises:
        NotFound: there is none.
    """
    account = _change(tx, account_id, {"password": password}, "account.password", now=now, actor=actor)
    tokens.revoke_all(tx, account_id, now=now)
    logins.forget(tx, logins.account_key(account.name))
    return account


def set_email(tx: Session, account_id: str, email: str | None, *, now: datetime, actor: str) -> Account:
    """Change the address.

    Raises:
        NotFound: there is none.
        InputError: it is no address.
        Conflict: it belongs to another account.
    """
    address = None if email is None else _address(email)
    if by_id(tx, account_id).email != address:
        _free_address(tx, address)
    return _change(tx, account_id, {"email": address}, "account.email", now=now, actor=actor)


def set_mail(tx: Session, account_id: str, mail: bool, *, now: datetime, actor: str) -> Account:
    """Say whether the account wants e-mail.

    Raises:
        NotFound: there is none.
    """
    return _change(tx, account_id, {"mail": mail}, "account.mail", now=now, actor=actor, detail={"mail": mail})


def authenticate(database: Database, *, name: str, password: str, address: str, now: datetime) -> Account:
    """The active account with this name and password.

    The attempt is noted as a failure before the password is looked at, and the note is taken back when it is right:
    of many attempts at once, not one more than allowed gets an answer. Hashing happens outside the transactions.

    Args:
        database: the database; this function begins its own transactions.
        name: of the account.
        password: as it was typed.
        address: where it comes from.
        now: the time.

    Raises:
        Refused: name or password is wrong, or the account may not be used (the words are the same, so that nobody
            learns which names there are), or there were too many failures; then with the time to try again.
    """
    note, account_id, digest = database.run(_begin, name, address, now)
    if not verify_password(digest, password):
        raise Refused("name or password is wrong, or the account is not in use")
    again = hash_password(password) if digest is not None and needs_rehash(digest) else None
    account = database.run(_succeed, account_id, digest, again, note)
    if account is None:
        raise Refused("name or password is wrong, or the account is not in use")
    return account


def _begin(tx: Session, name: str, address: str, now: datetime) -> tuple[str, str | None, str | None]:
    keys = (logins.account_key(name), logins.address_key(address))
    for key in sorted(keys):
        # Attempts at once are counted one after the other.
        lock(tx, key)
    for key in keys:
        until = logins.blocked_until(tx, key, now)
        if until is not None:
            raise Refused("too many attempts to log in have failed", until)
    logins.note_failure(tx, keys[0], now)
    note = logins.note_failure(tx, keys[1], now)
    account = tx.execute(select(Account).where(Account.name == name)).scalar_one_or_none()
    # Of an account that may not be used, not even a right password is told from a wrong one.
    if account is None or account.state != "active":
        return note, None, None
    return note, account.id, account.password


def _succeed(
    tx: Session, account_id: str | None, digest: str | None, again: PasswordHash | None, note: str
) -> Account | None:
    account = tx.get(Account, account_id)
    # It may have been disabled, or given another password, in the meantime.
    if account is None or account.state != "active" or account.password != digest:
        return None
    logins.forget(tx, logins.account_key(account.name))
    # Not all failures of the address: an attacker with an account of his own would wipe out his traces with it.
    logins.forget_one(tx, note)
    if again is not None:
        account.password = again
    return account


def _change(
    tx: Session,
    account_id: str,
    values: dict[str, Any],
    action: str,
    *,
    now: datetime,
    actor: str,
    detail: dict[str, Any] | None = None,
) -> Account:
    account = tx.execute(
        update(Account).where(Account.id == account_id).values(values).returning(Account),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).scalar_one_or_none()
    if account is None:
        raise NotFound(f"there is no account {account_id[:40]!a}")
    audit.add(tx, actor=actor, action=action, subject=f"account:{account_id}", detail=detail, now=now)
    return account


def _address(email: str) -> str:
    address = email.strip().lower()
    if len(address) > 254 or not _EMAIL.fullmatch(address) or ".." in address:
        raise InputError(f"{email[:80]!a} is no e-mail address")
    return address


def _free_address(tx: Session, address: str | None) -> None:
    if address is not None and by_email(tx, address):
        raise Conflict(f"the e-mail address {address!a} belongs to another account")


def _known(value: str, values: tuple[str, ...], what: str) -> None:
    if value not in values:
        raise InputError(f"{value[:40]!a} is no {what}; known: {', '.join(values)}")
