import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from palladion.client.credentials import (
    Login,
    chosen_server,
    credentials_path,
    forget,
    load_credentials,
    refuse_open_way,
    remember,
    token_for,
)
from palladion.errors import InputError

ADA = Login("ada", "pld_aaaaaaaa_secret-of-ada")
BOB = Login("bob", "pld_bbbbbbbb_secret-of-bob")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "palladion" / "credentials.json"


def test_the_file_lies_where_configuration_does(tmp_path: Path) -> None:
    assert credentials_path({"XDG_CONFIG_HOME": "/etc/x"}) == Path("/etc/x/palladion/credentials.json")
    # A relative folder would be another in every working directory.
    assert credentials_path({"XDG_CONFIG_HOME": "x"}) == Path("~/.config/palladion/credentials.json").expanduser()


def test_a_login_is_kept_for_nobody_else_to_read(path: Path) -> None:
    assert load_credentials(path).logins == {}
    remember("https://a.example", ADA, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    kept = load_credentials(path)
    assert kept.current == "https://a.example"
    assert kept.logins == {"https://a.example": ADA}


def test_the_last_login_is_the_current_one(path: Path) -> None:
    remember("https://a.example", ADA, path)
    remember("https://b.example", BOB, path)
    assert chosen_server(None, {}, path) == "https://b.example"
    assert token_for("https://a.example", {}, path) == ADA.token
    assert token_for("https://c.example", {}, path) is None
    assert forget("https://b.example", path)
    assert not forget("https://b.example", path)
    assert chosen_server(None, {}, path) == "https://a.example"
    assert forget("https://a.example", path)
    with pytest.raises(InputError, match="palladion login"):
        chosen_server(None, {}, path)


def test_logins_at_the_same_time_lose_none(path: Path) -> None:
    servers = [f"https://s{i}.example" for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda server: remember(server, ADA, path), servers))
    assert set(load_credentials(path).logins) == set(servers)


def test_the_environment_stands_in(path: Path) -> None:
    remember("https://a.example", ADA, path)
    environment = {"PALLADION_SERVER": "https://env.example/", "PALLADION_TOKEN": "pld_env_secret"}
    assert chosen_server(None, environment, path) == "https://env.example"
    assert chosen_server("https://a.example", environment, path) == "https://a.example"
    assert token_for("https://env.example", environment, path) == "pld_env_secret"
    # The token of the environment goes to the server of the environment, and to no other.
    assert token_for("https://a.example", environment, path) == ADA.token
    assert token_for("https://c.example", environment, path) is None
    assert token_for("https://c.example", {"PALLADION_TOKEN": "pld_env_secret"}, path) == "pld_env_secret"


def test_a_token_is_never_printed(path: Path) -> None:
    remember("https://a.example", ADA, path)
    assert "secret" not in repr(load_credentials(path))
    for token in ("se cret-token", "secret-töken", "secret-token\r\nX-Header: 1", "s" * 5000):
        with pytest.raises(InputError) as error:
            remember("https://a.example", Login("ada", token), path)
        assert "secret" not in str(error.value)
        with pytest.raises(InputError) as error:
            token_for("https://a.example", {"PALLADION_TOKEN": token}, path)
        assert "secret" not in str(error.value)
    assert load_credentials(path).logins["https://a.example"] == ADA


def test_a_file_that_others_can_read_is_not_used(path: Path) -> None:
    remember("https://a.example", ADA, path)
    path.chmod(0o644)
    with pytest.raises(InputError, match="can be read by others"):
        load_credentials(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 10_000,
        json.dumps({"format": "palladion-credentials/2"}),
        json.dumps({"format": "palladion-credentials/1", "servers": {"https://a.example": "pld_secret"}}),
        json.dumps(
            {"format": "palladion-credentials/1", "servers": {"javascript:x": {"account": "a", "token": "t" * 9}}}
        ),
        json.dumps({"format": "palladion-credentials/1", "servers": {"https://a.example": {"account": "a"}}}),
        json.dumps({"format": "palladion-credentials/1", "servers": []}),
    ],
)
def test_a_damaged_file_is_told_and_kept(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(InputError, match="is damaged"):
        load_credentials(path)
    with pytest.raises(InputError, match="is damaged"):
        remember("https://a.example", ADA, path)
    assert path.read_text() == content


def test_no_secret_goes_where_others_can_read_it() -> None:
    refuse_open_way("https://a.example", insecure=False)
    refuse_open_way("http://127.0.0.1:8000", insecure=False)
    refuse_open_way("http://a.example", insecure=True)
    with pytest.raises(InputError, match="without encryption"):
        refuse_open_way("http://a.example", insecure=False)
