"""Accounts and tokens: signing up by each policy, logging in, and what a token is good for."""

import email
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from palladion.jobs.context import Smtp
from palladion.server.confirmation import Confirmations, derived, signed, unsigned
from palladion.server.errors import ApiError
from palladion.server.settings import Rate, SignUp
from palladion.storage import accounts, audit
from tests.jobs.world import NOW
from tests.server.site import API, PASSWORD, Response, Site

ADA = {"name": "ada", "email": "Ada@Example.org", "password": PASSWORD}


class Mailbox:
    """A mail server that keeps what it gets."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._came = threading.Condition()
        self.mails: list[Any] = []
        threading.Thread(target=self._run, daemon=True).start()

    def wait(self, count: int = 1) -> Any:
        """The mail that came as the ``count``-th."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.mails) >= count, 20), "no mail has come"
        return self.mails[count - 1]

    def close(self) -> None:
        self._listening.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as lines:
                self._talk(lines)

    def _talk(self, lines: Any) -> None:
        def say(text: str) -> None:
            lines.write(text.encode() + b"\r\n")
            lines.flush()

        say("220 here")
        while line := lines.readline():
            word = line[:4].upper()
            if word == b"DATA":
                say("354 go on")
                content = b""
                while (line := lines.readline()) != b".\r\n":
                    content += line
                with self._came:
                    self.mails.append(email.message_from_bytes(content))
                    self._came.notify_all()
                say("250 kept")
            elif word == b"QUIT":
                say("221 bye")
                return
            else:
                say("250 well")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    yield box
    box.close()


def _mailing(site: Site, mailbox: Mailbox) -> Site:
    """The same with a mail server."""
    smtp = Smtp(host="127.0.0.1", port=mailbox.port, security="none", sender="challenge@example.org")
    site.service.settings = replace(site.service.settings, smtp=smtp)
    return site


def _by(site: Site, approval: str, *domains: str) -> Site:
    """The same where accounts are made so."""
    sign_up = SignUp.model_validate({"approval": approval, "domains": domains})
    return site.with_settings(site.settings.model_copy(update={"sign_up": sign_up}))


def _login(site: Site, name: str = "ada", password: str = PASSWORD, **more: Any) -> Response:
    return site.client().post(f"{API}/login", json={"name": name, "password": password, **more})


def _code(mail: Any) -> str:
    assert mail["To"] == "ada@example.org"
    found = re.search(r"\S{60,}", mail.get_payload(decode=True).decode())
    assert found
    return found[0]


def _signed_up(site: Site, **changes: Any) -> dict[str, Any]:
    answer = site.client().post(f"{API}/accounts", json=ADA | changes)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


# --- Signing up -------------------------------------------------------------------------------------------------------


def test_open_to_everybody(site: Site) -> None:
    made = _signed_up(site)["account"]
    assert (made["name"], made["email"], made["role"], made["state"]) == (
        "ada",
        "ada@example.org",
        "participant",
        "active",
    )
    assert _login(site).status_code == 200


def test_by_hand(site: Site) -> None:
    site = _by(site, "manual")
    made = _signed_up(site)
    assert made["account"]["state"] == "pending"
    assert "organiser" in made["message"]
    assert _login(site).status_code == 401
    pending = site.client("olga").get(f"{API}/accounts?state=pending").json()["items"]
    assert [account["name"] for account in pending] == ["ada"]
    approved = site.client("olga").post(f"{API}/accounts/{made['account']['id']}/approve")
    assert approved.json()["state"] == "active"
    assert _login(site).status_code == 200


def test_not_at_all(site: Site) -> None:
    site = _by(site, "closed")
    answer = site.client().post(f"{API}/accounts", json=ADA)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_by_domain_once_the_address_is_confirmed(site: Site, mailbox: Mailbox) -> None:
    site = _mailing(_by(site, "domain", "example.org"), mailbox)
    made = _signed_up(site)
    assert made["account"]["state"] == "pending"
    assert _login(site).status_code == 401
    code = _code(mailbox.wait())
    answer = site.client().post(f"{API}/accounts/confirm", json={"code": code})
    assert (answer.status_code, answer.json()["account"]["state"]) == (200, "active")
    assert _login(site).status_code == 200
    # Confirmed twice it is confirmed once.
    assert site.client().post(f"{API}/accounts/confirm", json={"code": code}).status_code == 200
    with site.database.read() as tx:
        lines = audit.listing(tx, subject=f"account:{made['account']['id']}")
    assert sum(line.action == "account.confirm" for line in lines) == 1


@pytest.mark.parametrize("address", ["ada@other.org", "ada@sub.example.org", "ada@example.org.evil.net", None])
def test_other_domains_wait_for_an_organiser(site: Site, mailbox: Mailbox, address: str | None) -> None:
    site = _mailing(_by(site, "domain", "example.org"), mailbox)
    made = _signed_up(site, email=address)
    assert made["account"]["state"] == "pending"
    assert "organiser" in made["message"]
    assert mailbox.mails == []


def test_without_a_mail_server_a_domain_waits_for_an_organiser(site: Site) -> None:
    assert "organiser" in _signed_up(_by(site, "domain", "example.org"))["message"]


def test_a_code_can_be_sent_again_and_nobody_learns_whether_there_is_an_account(site: Site, mailbox: Mailbox) -> None:
    site = _mailing(_by(site, "domain", "example.org"), mailbox)
    _signed_up(site)
    mailbox.wait()
    for address in ("ada@example.org", "nobody@example.org", "ada@example.org"):
        answer = site.client().post(f"{API}/accounts/code", json={"email": address})
        assert (answer.status_code, answer.content) == (204, b"")
    code = _code(mailbox.wait(3))
    # No address gets more than a few.
    for _ in range(5):
        site.client().post(f"{API}/accounts/code", json={"email": "ada@example.org"})
    assert site.client().post(f"{API}/accounts/confirm", json={"code": code}).json()["account"]["state"] == "active"
    assert len(mailbox.mails) <= 4


def test_a_code_is_good_for_one_address_and_not_for_ever(site: Site, mailbox: Mailbox) -> None:
    site = _mailing(_by(site, "domain", "example.org"), mailbox)
    made = _signed_up(site)
    code = _code(mailbox.wait())
    account = made["account"]["id"]
    now = site.world.clock()
    site.database.run(accounts.set_email, account, "other@example.org", now=now, actor="ada")
    assert site.client().post(f"{API}/accounts/confirm", json={"code": code}).status_code == 404
    site.database.run(accounts.set_email, account, "ada@example.org", now=now, actor="ada")
    site.world.clock.forward(timedelta(days=3))
    assert site.client().post(f"{API}/accounts/confirm", json={"code": code}).status_code == 404


def test_codes_cannot_be_made_up() -> None:
    codes = Confirmations(b"key")
    good = codes.code("a" * 20, "ada@example.org", NOW)
    assert codes.read(good, NOW).email == "ada@example.org"
    body, _, signature = good.partition(".")
    other = Confirmations(b"other key").code("a" * 20, "ada@example.org", NOW)
    # What was signed for something else is worth nothing here.
    elsewhere = signed(derived(b"key", "oidc"), {"account": "a" * 20, "email": "ada@example.org"}, NOW)
    for bad in ("", ".", body, f"{body}.", f".{signature}", good[:-2], other, elsewhere, good + "A", "é.é", "x" * 9999):
        with pytest.raises(ApiError):
            codes.read(bad, NOW)
    assert unsigned(derived(b"key", "confirmation"), good, NOW + timedelta(days=2)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "A"},
        {"name": "Ada"},
        {"name": "ada lovelace"},
        {"name": "a\u0000b"},
        {"name": "x" * 65},
        {"email": "nowhere"},
        {"email": "a@b\u0000.org"},
        {"password": "short"},
        {"password": "x" * 1025},
        {"role": "organiser"},
        {"state": "active"},
    ],
)
def test_what_is_no_account(site: Site, changes: dict[str, Any]) -> None:
    answer = site.client().post(f"{API}/accounts", json=ADA | changes)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid")
    password = changes.get("password", PASSWORD)
    assert password not in answer.text


def test_names_and_addresses_are_taken_once(site: Site) -> None:
    _signed_up(site)
    for changes in ({"email": "x@example.org"}, {"name": "ada2", "email": "ADA@example.org"}):
        assert site.client().post(f"{API}/accounts", json=ADA | changes).json()["error"]["code"] == "conflict"


def test_nobody_makes_accounts_by_the_dozen(site: Site) -> None:
    site = site.with_limits(sign_ups=Rate(per_second=0.001, burst=3))
    client = site.client()
    found = [client.post(f"{API}/accounts", json={"name": f"x{i}", "password": PASSWORD}).status_code for i in range(5)]
    assert found == [201, 201, 201, 429, 429]


def test_challenges_say_who_may_sign_up_where_the_service_does_not(site: Site) -> None:
    assert site.client().get(f"{API}/").json()["sign_up"] == "open"
    site.redefine(("title: A challenge", "title: A challenge\nregistration: {approval: manual}"))
    assert site.client().get(f"{API}/").json()["sign_up"] == "manual"
    site.redefine(("{approval: manual}", "{approval: domain, domains: [example.org]}"))
    assert site.client().get(f"{API}/").json()["sign_up"] == "domain"


# --- Logging in -------------------------------------------------------------------------------------------------------


def test_a_login_gives_a_token_for_thirty_days(site: Site) -> None:
    _signed_up(site)
    told = _login(site).json()
    assert told["account"]["name"] == "ada"
    assert told["details"]["scopes"] == ["read", "submit"]
    site.tokens["ada"] = told["token"]
    me = site.client("ada").get(f"{API}/me").json()
    assert (me["account"]["name"], me["token"]["id"], me["teams"]) == ("ada", told["details"]["id"], [])
    site.world.clock.forward(timedelta(days=30))
    assert site.client("ada").get(f"{API}/me").status_code == 401


def test_scopes_can_be_fewer_but_not_more(site: Site) -> None:
    _signed_up(site)
    assert _login(site, scopes=["read"]).json()["details"]["scopes"] == ["read"]
    assert _login(site, scopes=["organise"]).status_code == 422
    assert _login(site, scopes=["everything"]).status_code == 422


def test_an_organiser_gets_what_an_organiser_needs(site: Site) -> None:
    made = _signed_up(site)["account"]
    answer = site.client("olga").post(f"{API}/accounts/{made['id']}/role", json={"role": "organiser"})
    assert answer.json()["role"] == "organiser"
    assert _login(site).json()["details"]["scopes"] == ["organise", "read", "submit"]


def test_wrong_is_told_the_same_whatever_is_wrong(site: Site) -> None:
    _signed_up(site)
    site.account("off", state="disabled")
    answers = [_login(site, "ada", "wrong password"), _login(site, "nobody"), _login(site, "off"), _login(site, "olga")]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1


def test_after_some_failures_one_has_to_wait(site: Site) -> None:
    _signed_up(site)
    codes = [_login(site, "ada", "wrong password").status_code for _ in range(6)]
    assert codes[:5] == [401] * 5
    answer = _login(site)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) == answer.json()["error"]["retry_after"] <= 32
    site.world.clock.forward(timedelta(seconds=40))
    assert _login(site).status_code == 200


def test_many_that_log_in_at_once_do_not_take_all_the_memory(site: Site) -> None:
    """Each hash takes 64 MiB; the others wait for their turn."""
    _signed_up(site)
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(_login(site).status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 8


def test_logging_out_ends_this_token_and_no_other(site: Site) -> None:
    _signed_up(site)
    for mark in ("one", "two"):
        site.tokens[mark] = _login(site).json()["token"]
    assert site.client("one").post(f"{API}/logout").status_code == 204
    assert site.client("one").get(f"{API}/me").status_code == 401
    assert site.client("two").get(f"{API}/me").status_code == 200


# --- Tokens and one's own account -------------------------------------------------------------------------------------


def _ada(site: Site) -> Any:
    _signed_up(site)
    site.tokens["ada"] = _login(site).json()["token"]
    return site.client("ada")


def test_tokens_are_made_with_the_password(site: Site) -> None:
    client = _ada(site)
    wanted = {"name": "laptop", "scopes": ["read"], "days": 7}
    assert client.post(f"{API}/tokens", json=wanted).status_code == 422
    answer = client.post(f"{API}/tokens", json={**wanted, "password": "wrong password"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "wrong_credentials")
    made = client.post(f"{API}/tokens", json={**wanted, "password": PASSWORD})
    assert made.status_code == 201
    site.tokens["laptop"] = made.json()["token"]
    assert site.client("laptop").get(f"{API}/me").status_code == 200
    listed = client.get(f"{API}/tokens").json()["items"]
    assert [token["name"] for token in listed] == ["laptop", "login"]
    # No secret, whole or hashed, is in a list.
    assert site.tokens["laptop"].rpartition("_")[2] not in client.get(f"{API}/tokens").text
    assert "argon2" not in client.get(f"{API}/tokens").text
    site.world.clock.forward(timedelta(days=8))
    assert site.client("laptop").get(f"{API}/me").status_code == 401
    assert [token["name"] for token in client.get(f"{API}/tokens").json()["items"]] == ["login"]


def test_a_token_may_last_for_ever(site: Site) -> None:
    client = _ada(site)
    wanted = {"name": "ci", "scopes": ["submit"], "days": None, "password": PASSWORD}
    assert client.post(f"{API}/tokens", json=wanted).json()["details"]["expires"] is None
    assert client.post(f"{API}/tokens", json={**wanted, "scopes": ["organise"]}).status_code == 422
    assert client.post(f"{API}/tokens", json={**wanted, "scopes": []}).status_code == 422
    assert client.post(f"{API}/tokens", json={**wanted, "days": 0}).status_code == 422


def test_an_organiser_can_revoke_anybodys_token(site: Site) -> None:
    token = site.client("person-0").get(f"{API}/me").json()["token"]["id"]
    assert site.client("olga:submit").delete(f"{API}/tokens/{token}").status_code == 403
    assert site.client("olga:read").delete(f"{API}/tokens/{token}").status_code == 404
    assert site.client("olga").delete(f"{API}/tokens/{token}").status_code == 204
    assert site.client("person-0").get(f"{API}/me").status_code == 401


def test_a_new_password_ends_every_token(site: Site) -> None:
    client = _ada(site)
    wanted = {"old": PASSWORD, "new": "another good password"}
    assert client.post(f"{API}/me/password", json={**wanted, "old": "wrong password"}).status_code == 401
    assert client.post(f"{API}/me/password", json={**wanted, "new": "short"}).status_code == 422
    assert client.post(f"{API}/me/password", json=wanted).status_code == 204
    assert client.get(f"{API}/me").status_code == 401
    assert _login(site).status_code == 401
    assert _login(site, password="another good password").status_code == 200


def test_one_changes_ones_own_account(site: Site) -> None:
    client = _ada(site)
    assert client.patch(f"{API}/me", json={"mail": False}).json()["account"]["mail"] is False
    changed = client.patch(f"{API}/me", json={"email": "new@example.org"}).json()["account"]
    assert (changed["email"], changed["mail"]) == ("new@example.org", False)
    assert client.patch(f"{API}/me", json={"email": None}).json()["account"]["email"] is None
    assert client.patch(f"{API}/me", json={"email": "person-0@example.org"}).status_code == 409
    assert client.patch(f"{API}/me", json={"role": "organiser"}).status_code == 422


def test_the_list_of_accounts_comes_in_pages(site: Site) -> None:
    client = site.client("olga")
    everybody = [account["name"] for account in client.get(f"{API}/accounts").json()["items"]]
    assert everybody == sorted(everybody)
    found, after = [], ""
    for _ in range(len(everybody)):
        page = client.get(f"{API}/accounts?limit=2{after}").json()
        found += [account["name"] for account in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == everybody
    assert "password" not in client.get(f"{API}/accounts").text
