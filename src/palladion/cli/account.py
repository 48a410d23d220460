"""``palladion account``: who may take part, for organisers."""

from typing import TYPE_CHECKING, Annotated

import typer

from palladion.cli.service import Insecure, JsonWanted, Server, connected, print_json
from palladion.errors import InputError

if TYPE_CHECKING:
    from palladion.client import Client

__all__ = ["app"]

app = typer.Typer(
    help="List, approve and disable the accounts of a server.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_STATES = ("pending", "active", "disabled")
_Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Accounts, by name or id.", show_default=False)]


@app.command(name="list")
def list_(
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only those that are pending, active or disabled.")
    ] = None,
    server: Server = None,
    json_wanted: JsonWanted = False,
    insecure: Insecure = False,
) -> None:
    """List the accounts. Those that wait for approval are pending."""
    from palladion.client.answers import to_document
    from palladion.client.tables import accounts_table
    from palladion.reports.tables import show

    if state is not None and state not in _STATES:
        raise InputError(f"--state: {state[:40]!a} is none of {', '.join(_STATES)}")
    with connected(server, insecure) as client:
        accounts = client.accounts(state)
    if json_wanted:
        print_json({"accounts": [to_document(account) for account in accounts]})
    elif accounts:
        show(accounts_table(accounts))
    else:
        typer.echo("no such account")


@app.command()
def approve(names: _Names, server: Server = None, insecure: Insecure = False) -> None:
    """Let accounts in."""
    with connected(server, insecure) as client:
        for name, account in _resolved(client, names):
            client.approve_account(account)
            typer.echo(f"{name}: approved")


@app.command()
def disable(names: _Names, server: Server = None, insecure: Insecure = False) -> None:
    """Shut accounts out. Their tokens are void at once; what they have submitted stays."""
    with connected(server, insecure) as client:
        for name, account in _resolved(client, names):
            client.disable_account(account)
            typer.echo(f"{name}: disabled")


def _resolved(client: "Client", names: list[str]) -> list[tuple[str, str]]:
    """Printable name and id of each account; all are known before anything is done to one.

    Raises:
        InputError: there is no account of a name.
    """
    from palladion.client.words import name_in_words

    accounts = client.accounts()
    by_name = {account.name: account for account in accounts}
    # A name may look like another account's id.
    known = {account.id: account for account in accounts} | by_name
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"there is no account {', '.join(f'{name[:80]!a}' for name in unknown)}")
    return [(name_in_words(known[name].name), known[name].id) for name in names]
