"""What the commands over the service's API have in common: their options, and how they say what they do."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from palladion.client import Client

__all__ = ["Insecure", "JsonWanted", "Server", "connected", "note", "now", "print_json"]

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="The server; by default PALLADION_SERVER, or that of the last login.",
        show_default=False,
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Send the token by plain http to another machine: others may read it on the way."),
]
JsonWanted = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def connected(server: str | None, insecure: bool, *, anonymous: bool = False) -> "Client":
    """A client for the server that is meant; see :func:`palladion.client.connect`."""
    from palladion.client import connect

    return connect(server, insecure=insecure, anonymous=anonymous, notice=note)


def note(text: str) -> None:
    """Say something that is no part of the answer."""
    typer.echo(text, err=True)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def print_json(document: Any) -> None:
    """Print one JSON object."""
    import json

    typer.echo(json.dumps(document, indent=2))
