"""The settings of a service: one model, from ``service.yaml``, the environment and the options of the command line.

Of a setting that is given more than once the option counts, then the environment, then the file. The variable of a
setting is its path in capitals after ``PALLADION_``: ``smtp.password`` is ``PALLADION_SMTP_PASSWORD``; several values
are separated by commas. Secrets are never printed, whatever is printed of settings.
"""

import difflib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from palladion.challenge.fields import Size
from palladion.challenge.settings import Domain
from palladion.documents import load_document
from palladion.errors import InputError

__all__ = [
    "SETTINGS_FILE",
    "Limits",
    "Oidc",
    "Pages",
    "Rate",
    "Settings",
    "SignUp",
    "Smtp",
    "Webhooks",
    "WorkerSettings",
    "load_settings",
    "variables",
]

SETTINGS_FILE: Final = "service.yaml"
PREFIX: Final = "PALLADION_"
# Variables of other parts of Palladion, which are not settings of a service.
_OTHERS: Final = frozenset({"CGROUP", "ENVIRONMENTS", "SERVER", "TOKEN", "CREDENTIALS", "DATA"})


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _url(text: str) -> str:
    if not text.startswith(("https://", "http://")) or any(sign in text for sign in " \"'<>\\?#@"):
        raise ValueError("must be an address that begins with https:// or http://, without user, query and fragment")
    return text.rstrip("/")


def _listed(value: object) -> object:
    """What the environment says as text: several values, separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"{text[:50]!a} is no address and no network, such as 127.0.0.1 or 10.0.0.0/8") from None


Url = Annotated[str, Field(max_length=500), AfterValidator(_url)]
Network = Annotated[str, AfterValidator(_network)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_listed)]
Domains = Annotated[tuple[Domain, ...], BeforeValidator(_listed)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class SignUp(_Part):
    """Who may make an account of the service.

    Attributes:
        approval: ``challenges``: as the most open of the challenges says; ``open``: everybody; ``manual``: who an
            organiser approves; ``domain``: at once who confirms an address of one of the domains, others when an
            organiser approves; ``closed``: nobody.
        domains: of ``domain`` alone.
    """

    approval: Literal["challenges", "open", "manual", "domain", "closed"] = "challenges"
    domains: Domains = ()


class Smtp(_Part):
    """Where e-mail goes out.

    Attributes:
        host: of the mail server; without it no e-mail is sent.
        port: of the mail server.
        security: ``starttls``, ``tls`` from the first byte, or ``none``.
        user: to log in with; None: nobody does.
        password: of the user.
        sender: address in From.
    """

    host: str | None = Field(default=None, max_length=253)
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: SecretStr | None = None
    sender: str | None = Field(default=None, max_length=320)


class Oidc(_Part):
    """An OpenID provider that people may log in with.

    Attributes:
        issuer: its address; its discovery document says the rest. Without it there is no such login.
        client_id: what it calls this service.
        client_secret: what this service proves itself with; None: by PKCE alone.
        title: what people call it.
        scopes: what is asked for.
    """

    issuer: Url | None = None
    client_id: str | None = Field(default=None, max_length=500)
    client_secret: SecretStr | None = None
    title: str = Field(default="OpenID", max_length=100)
    scopes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ("openid", "email", "profile")


class Rate(_Part):
    """How often something may be done: so many at once, and then so many each second.

    Attributes:
        per_second: in the long run.
        burst: at once.
    """

    per_second: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
    burst: Count


class Limits(_Part):
    """What requests may cost. Sizes are in bytes.

    Attributes:
        upload: most of one file.
        chunk: most of one request of an upload.
        body: most of the body of any other request.
        upload_day: all that one account uploads within a day.
        uploads: unfinished uploads of one account.
        checks: submissions of one account that are checked; those that are faulty cost no quota, but work.
        account: requests of an account.
        address: requests without a token that is good, of one network address.
        files: published files that one account, or without an account one address, downloads; a round has thousands.
        sign_ups: accounts made from one network address.
        connections: connections at a time.
        idle_seconds: a client that sends nothing for so long, in the midst of a request, is disconnected.
        request_seconds: the body of a request other than an upload has to be there after so long.
        free_disk: the service is not ready, and takes no uploads, with less than this left on its disk.
    """

    upload: Size = 1 << 30
    chunk: Size = 16 << 20
    body: Size = 1 << 20
    upload_day: Size = 16 << 30
    uploads: Count = 8
    account: Rate = Rate(per_second=20, burst=200)
    address: Rate = Rate(per_second=10, burst=100)
    files: Rate = Rate(per_second=500, burst=5000)
    checks: Rate = Rate(per_second=0.1, burst=30)
    sign_ups: Rate = Rate(per_second=0.01, burst=20)
    connections: Count = 1000
    idle_seconds: Seconds = 30.0
    request_seconds: Seconds = 60.0
    free_disk: Size = 256 << 20

    @field_validator("account", "address", "files", "checks", "sign_ups", mode="before")
    @classmethod
    def _rest_by_default(cls, given: object, info: ValidationInfo) -> object:
        """One half of a rate may be given alone."""
        default = cls.model_fields[str(info.field_name)].default
        return default.model_dump() | given if isinstance(given, dict) else given


class WorkerSettings(_Part):
    """The worker within the service.

    Attributes:
        enabled: whether there is one.
        slots: data points of code submissions at a time; None: as many as there are processors.
        sandbox: what code runs in.
        lease_seconds: a job is given to another worker when nothing was heard of its worker for so long.
        grace_seconds: what runs may go on for so long when the service is stopped; then it is handed back.
    """

    enabled: bool = True
    slots: Annotated[int, Field(ge=1, le=4096)] | None = None
    sandbox: str = "bubblewrap"
    lease_seconds: Annotated[float, Field(ge=2, le=86_400, allow_inf_nan=False)] = 15.0
    grace_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 30.0


class Pages(_Part):
    """The pages that people read.

    Attributes:
        title: what they call this service.
        session_days: whoever has logged in on a page has to do it again after so long.
        fresh_seconds: how old the pages may be that whoever has not logged in sees; 0: made anew for everybody.
    """

    title: str = Field(default="Palladion", min_length=1, max_length=60)
    session_days: Annotated[int, Field(ge=1, le=365)] = 14
    fresh_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.25


class Webhooks(_Part):
    """Where events may be posted.

    Attributes:
        private_addresses: whether to addresses of private networks and of this machine as well.
    """

    private_addresses: bool = False


class Settings(_Part):
    """The settings of a service.

    Attributes:
        data: its folder.
        public_url: the address that participants use.
        host, port: where it listens; port 0 is any that is free.
        database: path or URL; None: ``palladion.db`` in the folder. A secret, because a URL may hold a password.
        artifacts: path or URL of the store of files; None: ``artifacts`` in the folder.
        trusted_proxies: addresses whose X-Forwarded-For and X-Forwarded-Proto are believed.
        sign_up: who may make an account.
        smtp: where e-mail goes out.
        oidc: an OpenID provider.
        limits: what requests may cost.
        worker: the worker within the service.
        webhooks: where events may be posted.
        pages: that people read.
    """

    data: Path
    public_url: Url | None = None
    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    database: SecretStr | None = None
    artifacts: SecretStr | None = None
    trusted_proxies: Networks = ()
    sign_up: SignUp = SignUp()
    smtp: Smtp = Smtp()
    oidc: Oidc = Oidc()
    limits: Limits = Limits()
    worker: WorkerSettings = WorkerSettings()
    webhooks: Webhooks = Webhooks()
    pages: Pages = Pages()

    @property
    def database_url(self) -> str:
        """Path or URL of the database."""
        given = self.database
        return str(self.data / "palladion.db") if given is None else given.get_secret_value()

    @property
    def artifacts_url(self) -> str:
        """Path or URL of the store of files."""
        given = self.artifacts
        return str(self.data / "artifacts") if given is None else given.get_secret_value()


class _File(Settings):
    """What ``service.yaml`` may say: all but the folder that it lies in."""

    data: Path = Path()


_Override = tuple[tuple[str, ...], object, str]
"""Path of the setting, value, and how whoever gave it calls it."""


def variables(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every variable of the environment that is a setting, with the path of the setting."""
    for name, field in model.model_fields.items():
        here = (*path, name)
        kinds = [field.annotation, *get_args(field.annotation)]
        part = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if part is not None:
            yield from variables(part, here)
        elif here != ("data",):
            yield PREFIX + "_".join(here).upper(), here


def load_settings(
    data: Path, *, options: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings of the service in a folder.

    Args:
        data: the folder; ``service.yaml`` in it may be absent.
        options: of the command line, by the path of the setting with dots, such as ``worker.slots``; None: not given.
        environment: variables; by default those of this process.

    Raises:
        InputError: something is wrong; every fault with its line in the file, or the name of its variable or option.
    """
    path = data / SETTINGS_FILE
    # Checked by itself first: what is wrong in the file is told with its lines.
    given = load_document(path, _File) if path.exists() else _File()
    if "data" in given.model_fields_set:
        raise InputError("data is the folder that this file lies in; leave it out", path=path)
    values = given.model_dump(exclude_unset=True) | {"data": data.absolute()}
    overrides = [*_from_environment(os.environ if environment is None else environment), *_from_options(options or {})]
    for place, value, _ in overrides:
        within = values
        for part in place[:-1]:
            within = within.setdefault(part, {})
        within[place[-1]] = value
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(_faults(error, overrides, path))) from None
    _check_together(settings, path)
    return settings


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Override]:
    known = dict(variables())
    for name, value in sorted(environment.items()):
        if name in known:
            yield known[name], value, name
        elif name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _OTHERS:
            # Only what is nearly a setting: other programs may have variables of their own.
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            if near:
                raise InputError(f"the variable {name} is no setting; did you mean {near[0]}?")


def _from_options(options: Mapping[str, object]) -> Iterator[_Override]:
    for name, value in options.items():
        if value is not None:
            yield tuple(name.split(".")), value, "--" + name.split(".")[-1].replace("_", "-")


def _faults(error: ValidationError, overrides: list[_Override], path: Path) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        place = tuple(str(part) for part in fault["loc"])
        source = next((what for given, _, what in reversed(overrides) if given == place[: len(given)]), None)
        message = fault["msg"].removeprefix("Value error, ")
        yield f"{source or f'{path}: ' + '.'.join(place)}: {message}"


def _check_together(settings: Settings, path: Path) -> None:
    """What one setting asks of another; a part of it may be in the file and a part in the environment."""
    faults = []
    if settings.smtp.host is not None and settings.smtp.sender is None:
        faults.append("smtp needs a sender, such as challenge@example.org")
    if settings.smtp.host is None and (settings.smtp.user or settings.smtp.password):
        faults.append("smtp needs a host")
    if settings.oidc.issuer is not None:
        if settings.oidc.client_id is None:
            faults.append("oidc needs a client_id")
        if settings.public_url is None:
            faults.append("oidc needs public_url: the provider sends people back to it")
        if "openid" not in settings.oidc.scopes:
            faults.append("oidc.scopes must hold openid")
    if settings.sign_up.approval == "domain" and not settings.sign_up.domains:
        faults.append("sign_up by domain needs at least one, such as domains: [example.org]")
    if settings.sign_up.approval != "domain" and settings.sign_up.domains:
        faults.append(f"sign_up.domains does not belong to approval: {settings.sign_up.approval}")
    if faults:
        raise InputError("\n".join(f"{path}: {fault}" for fault in faults))
