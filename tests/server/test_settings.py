"""Settings: from the file, the environment and the options, with every fault where it is."""

from pathlib import Path
from typing import Any

import pytest

from palladion.errors import InputError
from palladion.server.installation import job_settings
from palladion.server.settings import SETTINGS_FILE, Settings, load_settings, variables

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECRET = "hunter2hunter2"


def _load(folder: Path, text: str = "", options: dict[str, Any] | None = None, **environment: str) -> Settings:
    if text:
        (folder / SETTINGS_FILE).write_text(text)
    return load_settings(folder, options=options, environment=environment)


def _faults(folder: Path, text: str = "", options: dict[str, Any] | None = None, **environment: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        _load(folder, text, options, **environment)
    return str(caught.value).splitlines()


def test_without_anything_it_is_a_service_of_one_process_for_this_machine(tmp_path: Path) -> None:
    settings = _load(tmp_path)
    assert (settings.host, settings.port, settings.trusted_proxies) == ("127.0.0.1", 8000, ())
    assert settings.database_url == str(tmp_path / "palladion.db")
    assert settings.artifacts_url == str(tmp_path / "artifacts")
    assert settings.worker.enabled


def test_an_option_counts_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    text = "port: 1001\nworker: {slots: 1, lease_seconds: 20}\npublic_url: https://a.example.org\n"
    environment = {"PALLADION_PORT": "1002", "PALLADION_WORKER_SLOTS": "2"}
    settings = _load(tmp_path, text, {"port": 1003, "worker.slots": None}, **environment)
    assert (settings.port, settings.worker.slots, settings.worker.lease_seconds) == (1003, 2, 20.0)
    assert settings.public_url == "https://a.example.org"


def test_every_setting_has_a_variable(tmp_path: Path) -> None:
    names = dict(variables())
    assert names["PALLADION_SMTP_PASSWORD"] == ("smtp", "password")
    assert names["PALLADION_LIMITS_ACCOUNT_BURST"] == ("limits", "account", "burst")
    assert "PALLADION_DATA" not in names
    settings = _load(
        tmp_path,
        PALLADION_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8",
        PALLADION_LIMITS_ACCOUNT_BURST="7",
        PALLADION_LIMITS_UPLOAD="5M",
        PALLADION_WORKER_ENABLED="false",
        PALLADION_WEBHOOKS_PRIVATE_ADDRESSES="true",
    )
    assert settings.trusted_proxies == ("127.0.0.1/32", "10.0.0.0/8")
    assert (settings.limits.account.burst, settings.limits.account.per_second) == (7, 20)
    assert settings.limits.upload == 5 << 20
    assert (settings.worker.enabled, settings.webhooks.private_addresses) == (False, True)


def test_a_part_may_be_in_the_file_and_another_in_the_environment(tmp_path: Path) -> None:
    text = "smtp: {host: mail.example.org, sender: a@example.org, user: a}\n"
    settings = _load(tmp_path, text, PALLADION_SMTP_PASSWORD=SECRET)
    jobs = job_settings(settings)
    assert jobs.smtp is not None
    assert (jobs.smtp.host, jobs.smtp.password) == ("mail.example.org", SECRET)


def test_faults_of_the_file_are_told_all_at_once_with_their_lines(tmp_path: Path) -> None:
    text = "host: 127.0.0.1\nprot: 8000\nlimits:\n  upload: many\n  chunks: 1M\nworker: {slots: 0}\n"
    faults = _faults(tmp_path, text)
    assert len(faults) == 4
    path = tmp_path / SETTINGS_FILE
    assert f"{path}, line 2: there is no key 'prot'; did you mean 'port'?" in faults
    assert any(fault.startswith(f"{path}, line 4: limits.upload:") for fault in faults)
    assert any(fault.startswith(f"{path}, line 5: there is no key 'limits.chunks'; did you") for fault in faults)
    assert any(fault.startswith(f"{path}, line 6: worker.slots:") for fault in faults)


def test_faults_elsewhere_name_their_variable_or_option(tmp_path: Path) -> None:
    faults = _faults(tmp_path, "", {"port": 70_000}, PALLADION_LIMITS_CHUNK="lots", PALLADION_PUBLIC_URL="here")
    assert [fault.partition(":")[0] for fault in faults] == ["PALLADION_PUBLIC_URL", "--port", "PALLADION_LIMITS_CHUNK"]


def test_a_variable_that_is_nearly_one_is_a_slip(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, PALLADION_SMTP_PASWORD=SECRET)
    assert fault == "the variable PALLADION_SMTP_PASWORD is no setting; did you mean PALLADION_SMTP_PASSWORD?"
    # Others are somebody else's.
    _load(tmp_path, PALLADION_ENVIRONMENTS="/x", PALLADION_TOKEN="x", PALLADION_SOMETHING_ELSE="x")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("smtp: {host: mail.example.org}", "sender"),
        ("smtp: {user: a}", "host"),
        ("oidc: {issuer: 'https://id.example.org', client_id: a}", "public_url"),
        ("oidc: {issuer: 'https://id.example.org'}\npublic_url: 'https://a.example.org'", "client_id"),
        ("sign_up: {approval: domain}", "domains"),
        ("sign_up: {approval: open, domains: [example.org]}", "domains"),
        ("sign_up: {approval: domain, domains: [Example]}", "domain"),
        ("trusted_proxies: ['*']", "network"),
        ("public_url: 'https://user:pass@example.org'", "public_url"),
        ("public_url: 'ftp://example.org'", "public_url"),
        ("data: /elsewhere", "data"),
        ("[]", "keys"),
        ("a: &a [*a]", "aliases"),
        ("- : : -", "YAML"),
        ("port: .nan", "port"),
        ("worker: {lease_seconds: .inf}", "lease"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, text: str, word: str) -> None:
    assert any(word in fault for fault in _faults(tmp_path, text + "\n"))


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    text = f"""
database: postgresql://me:{SECRET}@db/palladion
smtp: {{host: a.org, sender: a@a.org, user: a, password: {SECRET}}}
oidc: {{issuer: 'https://id.example.org', client_id: a, client_secret: {SECRET}}}
public_url: https://a.example.org
"""
    settings = _load(tmp_path, text)
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown
    assert SECRET not in repr(job_settings(settings))
    assert settings.database_url.endswith("/palladion")
    assert SECRET in settings.database_url
    # Nor where the setting is at fault.
    for name in ("PALLADION_SMTP_PORT", "PALLADION_OIDC_SCOPES_X"):
        with pytest.raises(InputError) as caught:
            _load(tmp_path, f"smtp: {{port: {SECRET}, password: [{SECRET}]}}\n", None, **{name: SECRET})
        assert SECRET not in str(caught.value)


def test_every_setting_is_documented() -> None:
    page = (DOCS / "service.md").read_text()
    for name, path in variables():
        assert f"`{'.'.join(path)}`" in page, name
