"""Accounts, passwords, tokens: what opens, what does not, and that nobody learns why."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.storage import accounts, audit, hashing, logins, tokens
from palladion.storage.database import Database
from palladion.storage.errors import Conflict, NotFound, Refused
from palladion.storage.hashing import PasswordHash, hash_password, hash_secret, new_secret, verify_password
from palladion.storage.tables import Account
from tests.storage.conftest import DAY, MINUTE, NOW, SECOND

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def digest() -> PasswordHash:
    return hash_password(PASSWORD)


def _create(database: Database, name: str = "alice", **more: object) -> Account:
    return database.run(accounts.create, name=name, now=NOW, actor="olga", **more)  # type: ignore[arg-type]


def _login(database: Database, password: str = PASSWORD, *, name: str = "alice", **more: object) -> Account:
    settings = {"address": "192.0.2.1", "now": NOW} | more
    return accounts.authenticate(database, name=name, password=password, **settings)  # type: ignore[arg-type]


def test_an_account_is_made_with_a_line_in_the_log(database: Database) -> None:
    account = _create(database, email=" Alice@Example.ORG ", state="pending", role="observer")
    with database.read() as tx:
        found = accounts.by_id(tx, account.id)
        assert (found.name, found.email, found.state, found.role) == (
            "alice",
            "alice@example.org",
            "pending",
            "observer",
        )
        assert accounts.by_name(tx, "alice").id == account.id
        assert accounts.by_email(tx, "ALICE@example.org") is not None
        line = audit.listing(tx, subject=f"account:{account.id}")[0]
        assert (line.actor, line.action, line.detail["name"]) == ("olga", "account.create", "alice")
        assert [a.name for a in accounts.listing(tx, state="pending")] == ["alice"]
        assert accounts.listing(tx, state="active") == []
        for name in ("bob", "", "\ud800", "alice\x00"):
            with pytest.raises(NotFound):
                accounts.by_name(tx, name)
            with pytest.raises(NotFound):
                accounts.by_id(tx, name)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["", "a", "Alice", "al ice", "-alice", "älice", "a" * 65, "alice\n", "аlice"])
def test_names_that_are_none(database: Database, name: str) -> None:
    with pytest.raises(InputError, match="no name of an account"):
        _create(database, name)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "email",
    [
        "alice", "@example.org", "a@b@c", "a b@example.org", "a@ex ample.org", "a\n@b.org", "a@-b.org", "<a@b.org>",
        "a" * 65 + "@b.org", "a@" + "b" * 300, "a..b@c.org",
    ],
)  # fmt: skip
def test_addresses_that_are_none(database: Database, email: str) -> None:
    with pytest.raises(InputError, match="no e-mail address"):
        _create(database, email=email)


def test_what_is_taken_is_taken(database: Database) -> None:
    _create(database, email="a@example.org", identity=("https://id.example.org", "7"))
    with pytest.raises(Conflict, match="name 'alice' is taken"):
        _create(database)
    with pytest.raises(Conflict, match="belongs to another account"):
        _create(database, "bob", email="A@example.org")
    with pytest.raises(Conflict, match="identity belongs to another"):
        _create(database, "bob", identity=("https://id.example.org", "7"))
    assert _create(database, "bob", identity=("https://other.example.org", "7")).issuer == "https://other.example.org"
    with database.read() as tx:
        found = accounts.by_identity(tx, "https://id.example.org", "7")
        assert found is not None
        assert found.name == "alice"
        assert accounts.by_identity(tx, "https://id.example.org", "8") is None


def test_changes_are_logged_without_what_is_secret(database: Database, digest: PasswordHash) -> None:
    account = _create(database, state="pending")
    with database.write() as tx:
        assert accounts.approve(tx, account.id, now=NOW, actor="olga").state == "active"
        assert accounts.set_role(tx, account.id, "organiser", now=NOW, actor="olga").role == "organiser"
        assert accounts.set_email(tx, account.id, "x@example.org", now=NOW, actor="olga").email == "x@example.org"
        assert accounts.set_email(tx, account.id, "x@example.org", now=NOW, actor="olga").email == "x@example.org"
        assert accounts.set_mail(tx, account.id, False, now=NOW, actor="olga").mail is False
        accounts.set_password(tx, account.id, digest, now=NOW, actor="olga")
        assert accounts.disable(tx, account.id, now=NOW, actor="olga").state == "disabled"
        lines = audit.listing(tx, subject=f"account:{account.id}")
        assert [line.action for line in reversed(lines)] == [
            "account.create", "account.approve", "account.role", "account.email", "account.email", "account.mail",
            "account.password", "account.disable",
        ]  # fmt: skip
        assert not any("argon2" in str(line.detail) or "example.org" in str(line.detail) for line in lines)
        with pytest.raises(InputError):
            accounts.set_role(tx, account.id, "root", now=NOW, actor="olga")
        with pytest.raises(NotFound):
            accounts.approve(tx, "nobody", now=NOW, actor="olga")


# --- Passwords -------------------------------------------------------------------------------------------------------


def test_a_password_is_kept_as_argon2(digest: PasswordHash) -> None:
    assert digest.startswith("$argon2id$")
    assert hash_password(PASSWORD) != digest
    assert verify_password(digest, PASSWORD)
    for wrong in (PASSWORD + " ", PASSWORD.upper(), "", "x" * 5000, "\ud800", "a\x00b"):
        assert not verify_password(digest, wrong)
    assert not verify_password(None, PASSWORD)
    assert not verify_password("not a hash", PASSWORD)
    assert not hashing.needs_rehash(digest)


@pytest.mark.parametrize("password", ["", "too short", "x" * 1025])
def test_passwords_that_are_none(password: str) -> None:
    with pytest.raises(InputError, match="10 to 1024"):
        hash_password(password)


@given(st.text(min_size=10, max_size=50))
def test_any_text_is_a_password(text: str) -> None:
    # The cheap parameters: the dear ones would make this the longest of all tests.
    assert hashing.verify_secret(hash_secret(text), text)
    assert not hashing.verify_secret(hash_secret(text), text + "x")


def test_who_knows_the_password_is_let_in(database: Database, digest: PasswordHash) -> None:
    account = _create(database, password=digest)
    assert _login(database).id == account.id


def test_every_refusal_sounds_the_same(database: Database, digest: PasswordHash) -> None:
    _create(database, "alice", password=digest)
    _create(database, "pending", password=digest, state="pending")
    _create(database, "disabled", password=digest, state="disabled")
    _create(database, "without")
    told = set()
    for name, password in (("alice", "wrong"), ("nobody", PASSWORD), ("pending", PASSWORD), ("disabled", PASSWORD),
                           ("without", PASSWORD), ("\ud800\x00", "\ud800")):  # fmt: skip
        with pytest.raises(Refused) as refused:
            _login(database, password, name=name)
        told.add((str(refused.value), refused.value.next_slot))
    assert len(told) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_after_five_failures_each_waits_longer(database: Database, digest: PasswordHash) -> None:
    _create(database, password=digest)
    now, waits = NOW, []
    for _ in range(5):
        with pytest.raises(Refused, match="name or password"):
            _login(database, "wrong", now=now)
    for _ in range(3):
        with pytest.raises(Refused, match="too many attempts") as refused:
            _login(database, now=now)
        assert refused.value.next_slot is not None
        waits.append(refused.value.next_slot - now)
        now = refused.value.next_slot
        with pytest.raises(Refused, match="name or password"):
            _login(database, "wrong", now=now)
    assert waits == [30 * SECOND, MINUTE, 2 * MINUTE]
    # From anywhere: it is the account that is tried. A name that there is not is treated alike.
    with pytest.raises(Refused, match="too many attempts"):
        _login(database, address="192.0.2.77", now=now)
    now += 4 * MINUTE
    assert _login(database, now=now).name == "alice"
    with pytest.raises(Refused, match="name or password"):
        _login(database, "wrong", now=now)


def test_a_name_that_there_is_not_is_blocked_alike(database: Database) -> None:
    for _ in range(5):
        with pytest.raises(Refused, match="name or password"):
            _login(database, "wrong", name="nobody")
    with pytest.raises(Refused, match="too many attempts"):
        _login(database, "wrong", name="nobody")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_failures_are_forgotten_after_a_quarter_of_an_hour(database: Database, digest: PasswordHash) -> None:
    _create(database, password=digest)
    for i in range(4):
        with pytest.raises(Refused):
            _login(database, "wrong", now=NOW + i * SECOND)
    with pytest.raises(Refused, match="name or password"):
        _login(database, "wrong", now=NOW + 15 * MINUTE)
    # Four are within the quarter of an hour, not five.
    assert _login(database, now=NOW + 15 * MINUTE + SECOND / 2).name == "alice"


def test_an_address_is_blocked_whatever_names_it_tries(database: Database) -> None:
    with database.write() as tx:
        for _ in range(50):
            logins.note_failure(tx, logins.address_key("192.0.2.1"), NOW)
    with pytest.raises(Refused, match="too many attempts"):
        _login(database, "wrong", name="somebody")
    with pytest.raises(Refused, match="name or password"):
        _login(database, "wrong", name="somebody", address="192.0.2.2")


def test_an_account_of_ones_own_does_not_unblock_the_address(database: Database, digest: PasswordHash) -> None:
    _create(database, password=digest)
    with database.write() as tx:
        for _ in range(49):
            logins.note_failure(tx, logins.address_key("192.0.2.1"), NOW)
    _login(database)
    with pytest.raises(Refused, match="name or password"):
        _login(database, "wrong", name="victim")
    with pytest.raises(Refused, match="too many attempts"):
        _login(database, "wrong", name="victim")


def test_of_many_attempts_at_once_no_more_than_allowed_get_an_answer(database: Database) -> None:
    answers: list[str] = []
    start = threading.Barrier(12)

    def attempt() -> None:
        start.wait()
        try:
            _login(database, "wrong")
        except Refused as refused:
            answers.append("blocked" if refused.next_slot else "wrong")

    threads = [threading.Thread(target=attempt) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count("wrong") == 5
    assert answers.count("blocked") == 7


def test_keys_tell_nothing_and_are_short() -> None:
    assert logins.account_key("alice") != logins.address_key("alice")
    assert "alice" not in logins.account_key("alice")
    assert len(logins.account_key("x" * 10**6)) < 50


# --- Tokens ----------------------------------------------------------------------------------------------------------


def _issue(database: Database, account: Account, lifetime: timedelta | None = DAY) -> tuple[str, str]:
    token, text = database.run(
        tokens.issue, account.id, name="laptop", scopes=["submit", "read", "read"], lifetime=lifetime, now=NOW
    )
    return token.id, text


def _verify(database: Database, text: str, now: object = NOW) -> tokens.Verified:
    with database.read() as tx:
        return tokens.verify(tx, text, now)  # type: ignore[arg-type]


def test_a_token_stands_for_its_account_within_its_scopes(database: Database) -> None:
    account = _create(database)
    token_id, text = _issue(database, account)
    prefix, found_id, secret = text.split("_")
    assert (prefix, found_id, len(secret)) == ("pld", token_id, 64)
    found = _verify(database, text)
    assert (found.account.id, found.scopes) == (account.id, frozenset({"read", "submit"}))
    with database.read() as tx:
        (row,) = tokens.of_account(tx, account.id)
        assert secret not in str(vars(row))
        assert row.digest.startswith("$argon2id$")


def test_tokens_that_are_none_sound_the_same(database: Database) -> None:
    account = _create(database)
    token_id, text = _issue(database, account)
    other_id, other = _issue(database, account)
    database.run(tokens.revoke, other_id, now=NOW)
    wrong = [
        "", "pld", "pld__", text[:-1], text + "0", text.upper(), text.replace("pld", "xxx"), f"pld_{token_id}_",
        f"pld_{'a' * 20}_{'0' * 64}", f"pld_{token_id}_{'0' * 64}", text.replace(token_id, other_id), other,
        "pld_" + "x" * 10**6, "\ud800_\x00_\ud800",
    ]  # fmt: skip
    told = set()
    for attempt in wrong:
        with pytest.raises(Refused) as refused:
            _verify(database, attempt)
        told.add(str(refused.value))
    assert len(told) == 1
    assert _verify(database, text).token.id == token_id


def test_a_token_expires(database: Database) -> None:
    account = _create(database)
    _, text = _issue(database, account)
    assert _verify(database, text, NOW + DAY - SECOND)
    with pytest.raises(Refused):
        _verify(database, text, NOW + DAY)
    _, forever = _issue(database, account, None)
    assert _verify(database, forever, NOW + 10_000 * DAY)


@pytest.mark.parametrize("how", ["revoke", "revoke_all", "disable", "set_password"])
def test_a_token_can_be_taken_away(database: Database, digest: PasswordHash, how: str) -> None:
    account = _create(database)
    token_id, text = _issue(database, account)
    ways: dict[str, Callable[[], object]] = {
        "revoke": lambda: database.run(tokens.revoke, token_id, now=NOW),
        "revoke_all": lambda: database.run(tokens.revoke_all, account.id, now=NOW),
        "disable": lambda: database.run(accounts.disable, account.id, now=NOW, actor="olga"),
        "set_password": lambda: database.run(accounts.set_password, account.id, digest, now=NOW, actor="olga"),
    }
    ways[how]()
    with pytest.raises(Refused):
        _verify(database, text)
    with database.read() as tx:
        assert tokens.by_id(tx, token_id).revoked == NOW
    with pytest.raises(NotFound):
        database.run(tokens.revoke, "nothing", now=NOW)


def test_a_use_is_written_down_once_a_minute(database: Database) -> None:
    _, text = _issue(database, _create(database))
    token = _verify(database, text).token
    assert tokens.needs_note(token, NOW)
    database.run(tokens.note_use, token.id, NOW)
    token = _verify(database, text).token
    assert token.used == NOW
    assert not tokens.needs_note(token, NOW + 59 * SECOND)
    assert tokens.needs_note(token, NOW + MINUTE)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("scopes", "lifetime"), [(["Read"], DAY), (["a b"], DAY), ([""], DAY), (["x"], timedelta(0))])
def test_tokens_that_make_no_sense(database: Database, scopes: list[str], lifetime: timedelta) -> None:
    account = _create(database)
    with pytest.raises(InputError):
        database.run(tokens.issue, account.id, name="x", scopes=scopes, lifetime=lifetime, now=NOW)


def test_secrets_are_new_each_time() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
