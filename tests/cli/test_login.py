import json
import stat
from pathlib import Path

import pytest

from palladion.client import Client, NotAllowed, load_credentials
from tests.cli.conftest import PASSWORD, Cli, Person, RunningService, token_of
from tests.client.rough_server import rough_server


def kept(tmp_path: Path) -> Path:
    return tmp_path / "configuration" / "palladion" / "credentials.json"


def test_from_no_account_to_none(service: RunningService, cli: Cli, tmp_path: Path) -> None:
    done = cli("register", service.url, "--name", "grace", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert done.code == 0
    assert "grace has an account" in done.out
    assert "palladion login" in done.out
    assert not kept(tmp_path).exists()
    done = cli("login", service.url, "--name", "grace", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (done.code, done.out) == (0, f"logged in at {service.url} as grace (participant)\n")
    assert stat.S_IMODE(kept(tmp_path).stat().st_mode) == 0o600
    token = load_credentials(kept(tmp_path)).logins[service.url].token
    assert token not in done.out + done.err
    assert PASSWORD not in kept(tmp_path).read_text()
    done = cli("whoami")
    assert (done.code, done.out) == (0, f"grace at {service.url}: participant, active\n")
    done = cli("whoami", "--json")
    assert json.loads(done.out)["account"]["name"] == "grace"
    assert cli("logout").code == 0
    # The server knows the token no more, and nothing of it is left here.
    with Client(service.url, token) as client, pytest.raises(NotAllowed):
        client.me()
    assert token not in kept(tmp_path).read_text()
    assert cli("whoami").code == 2


def test_a_wrong_password_keeps_nothing(service: RunningService, cli: Cli, person: Person, tmp_path: Path) -> None:
    done = cli("login", service.url, "--name", person.name, "--password-stdin", stdin="wrong password\n")
    assert done.code == 1
    assert "wrong password" not in done.err
    assert not kept(tmp_path).exists()


def test_a_token_logs_in(service: RunningService, cli: Cli, person: Person, tmp_path: Path) -> None:
    token = token_of(person)
    done = cli("login", service.url, "--token-stdin", stdin=f"{token}\n")
    assert (done.code, done.out) == (0, f"logged in at {service.url} as {person.name} (participant)\n")
    done = cli("login", service.url, "--token-stdin", stdin="pld_" + "a" * 20 + "_" + "0" * 64 + "\n")
    assert done.code == 1
    # The login before is as it was.
    assert load_credentials(kept(tmp_path)).logins[service.url].token == token
    done = cli("login", service.url, "--token-stdin", stdin="two words of a token\n")
    assert done.code == 2
    assert "two words" not in done.err


def test_the_environment_stands_in_for_a_login(
    service: RunningService, cli: Cli, person: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PALLADION_SERVER", service.url)
    monkeypatch.setenv("PALLADION_TOKEN", token_of(person))
    assert person.name in cli("whoami").out
    assert not kept(tmp_path).exists()
    # There is no login to end; the token is not this command's to make void.
    assert cli("logout").code == 2
    assert person.name in cli("whoami").out


def test_what_cannot_be_asked_is_said(service: RunningService, cli: Cli) -> None:
    done = cli("login", service.url)
    assert (done.code, "give --name" in done.err) == (2, True)
    done = cli("login", service.url, "--name", "ada")
    assert (done.code, "--password-stdin" in done.err) == (2, True)
    done = cli("login", service.url, "--name", "ada", "--password-stdin")
    assert (done.code, "standard input is empty" in done.err) == (2, True)
    assert cli("login", service.url, "--token-stdin", "--password-stdin", stdin="x").code == 2
    assert cli("whoami").code == 2
    assert cli("login").code == 2


def test_nothing_secret_is_sent_where_others_can_read_it(cli: Cli) -> None:
    # An address of documentation, where nobody answers: that the command ends at once shows that nothing was sent.
    for command in ("login", "register"):
        done = cli(command, "http://192.0.2.1", "--name", "ada", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert done.code == 2
        assert "without encryption" in done.err


def test_another_kind_of_server_gets_no_password(cli: Cli, tmp_path: Path) -> None:
    with rough_server() as rough:
        rough.answers["/"] = {"name": "something else"}
        done = cli("login", rough.url, "--name", "ada", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert done.code == 1
        assert "no server of Palladion" in done.err
        assert [method for method, _ in rough.seen] == ["GET"]
    assert not kept(tmp_path).exists()


def test_a_server_without_passwords_says_how_else(cli: Cli) -> None:
    with rough_server() as rough:
        oidc = {"issuer": "https://id.example", "title": "ID", "start": "https://id.example/\x1b[2J"}
        rough.answers["/"] = {"name": "palladion", "login": {"password": False, "oidc": oidc}}
        done = cli("login", rough.url, "--name", "ada", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert done.code == 2
        assert "begin at https://id.example/\\x1b[2J in a browser" in done.err
        assert {method for method, _ in rough.seen} == {"GET"}


def test_a_server_that_is_away(
    cli: Cli, person: Person, service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palladion.client.api.time.sleep", lambda _: None)
    path = person.configuration / "palladion" / "credentials.json"
    path.write_text(path.read_text().replace(service.url, "http://127.0.0.1:1"))
    path.chmod(0o600)
    done = cli("logout", person=person)
    assert done.code == 5
    assert "cannot be reached" in done.err
    assert "valid there until it expires" in done.err
    assert load_credentials(path).logins == {}


def test_accounts_are_named_once(service: RunningService, cli: Cli, person: Person) -> None:
    done = cli("register", service.url, "--name", person.name, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert done.code == 1
    done = cli("register", service.url, "--name", "x", "--password-stdin", stdin="short\n")
    assert done.code == 2
    assert "short" not in done.out
    assert cli("register", service.url, "--confirm", "no-such-code").code in (1, 2)
