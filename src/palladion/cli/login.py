"""``palladion login``, ``register``, ``logout`` and ``whoami``: who one is at a server."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from palladion.cli.service import Insecure, JsonWanted, Server, connected, note, print_json
from palladion.errors import InputError

if TYPE_CHECKING:
    from palladion.client import Client

__all__ = ["login", "logout", "register", "whoami"]

_Url = Annotated[
    str | None,
    typer.Argument(
        metavar="[URL]", help="The server; by default PALLADION_SERVER, or that of the last login.", show_default=False
    ),
]
_PasswordFromInput = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, one line.")
]


def login(
    url: _Url = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The account.", show_default=False)] = None,
    password_stdin: _PasswordFromInput = False,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read a token from standard input instead of a password.")
    ] = False,
    insecure: Insecure = False,
) -> None:
    """Log in at a server, which is then the one that other commands ask.

    Name and password are asked for where they are not given; the password is not shown. What is kept is a token, in
    ~/.config/palladion/credentials.json, for nobody else to read.
    """
    from palladion.client import Login, chosen_server, remember
    from palladion.client.credentials import check_token, refuse_open_way

    if password_stdin and token_stdin:
        raise InputError("give either --password-stdin or --token-stdin")
    server = chosen_server(url)
    refuse_open_way(server, insecure=insecure)
    if token_stdin:
        token = check_token(_line("the token"))
        with _client(server, token) as client:
            account = client.me().account
    else:
        with _client(server) as client:
            _refuse_password(client)
            name = name or _asked("name")
            answer = client.log_in(name, _password(password_stdin), "palladion login")
            account, token = answer.account, check_token(answer.token)
    remember(server, Login(account.name, token))
    typer.echo(f"logged in at {server} as {_shown(account.name)} ({_shown(account.role)})")


def register(
    url: _Url = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the new account.", show_default=False)
    ] = None,
    email: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="E-mail address, where the server asks for one.", show_default=False),
    ] = None,
    password_stdin: _PasswordFromInput = False,
    confirm: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="The code that was sent to the e-mail address of an account that was made."),
    ] = None,
    insecure: Insecure = False,
) -> None:
    """Make an account at a server. It may have to be approved, or confirmed, before one can log in."""
    from palladion.client import chosen_server
    from palladion.client.credentials import refuse_open_way
    from palladion.client.words import text_in_words

    server = chosen_server(url)
    refuse_open_way(server, insecure=insecure)
    with _client(server) as client:
        if confirm is not None:
            made = client.confirm_account(confirm)
        else:
            name = name or _asked("name")
            made = client.sign_up(name, _password(password_stdin, twice=True), email)
    typer.echo(f"{_shown(made.account.name)} has an account at {server}; it is {_shown(made.account.state)}")
    if made.message:
        typer.echo(text_in_words(made.message))
    if made.account.state == "active":
        typer.echo(f"log in with: palladion login {server} --name {_shown(made.account.name)}")


def logout(server: Server = None, insecure: Insecure = False) -> None:
    """Log out: the token is made void at the server, and forgotten here."""
    from palladion.client import NotAllowed, Unreachable, chosen_server, forget, load_credentials
    from palladion.client.credentials import refuse_open_way

    url = chosen_server(server)
    kept = load_credentials().logins.get(url)
    if kept is None:
        raise InputError(f"nobody is logged in at {url}")
    refuse_open_way(url, insecure=insecure)
    try:
        with _client(url, kept.token) as client:
            client.log_out()
    except NotAllowed:
        pass  # it was void already
    except Unreachable as error:
        forget(url)
        raise type(error)(f"{error}\nthe token is forgotten here, but valid there until it expires") from None
    forget(url)
    typer.echo(f"logged out at {url}")


def whoami(server: Server = None, json_wanted: JsonWanted = False, insecure: Insecure = False) -> None:
    """Who one is at the server, and in which teams."""
    from palladion.client.answers import to_document

    with connected(server, insecure) as client:
        me, url = client.me(), client.url
    if json_wanted:
        print_json({"server": url, **to_document(me)})
        return
    account = me.account
    typer.echo(f"{_shown(account.name)} at {url}: {_shown(account.role)}, {_shown(account.state)}")
    for team in me.teams:
        state = "" if team.state == "approved" else f", {_shown(team.state)}"
        typer.echo(f"{team.challenge}: team {_shown(team.name)}{state}{', captain' if team.captain else ''}")


def _client(server: str, token: str | None = None) -> "Client":
    """A client, once the server has said that it is one of Palladion."""
    from palladion.client import Client, ServerFault

    client = Client(server, token, notice=note)
    if client.server().name != "palladion":
        client.close()
        raise ServerFault(f"{server} is no server of Palladion")
    return client


def _refuse_password(client: "Client") -> None:
    """Ask for no password where it is of no use.

    Raises:
        InputError: one logs in at this server in another way.
    """
    from palladion.client.words import name_in_words

    rule = client.server().login
    if rule.password:
        return
    way = "" if rule.oidc is None else f"begin at {name_in_words(rule.oidc.start, 500)} in a browser, then "
    raise InputError(f"{client.url} takes no passwords; {way}give a token with --token-stdin")


def _asked(what: str) -> str:
    if not sys.stdin.isatty():
        raise InputError(f"no {what} is given; give --{what}")
    answer: str = typer.prompt(what, err=True)
    return answer


def _password(from_input: bool, *, twice: bool = False) -> str:
    if from_input:
        return _line("the password")
    if not sys.stdin.isatty():
        raise InputError("there is no terminal to ask for the password; give it with --password-stdin")
    answer: str = typer.prompt("password", hide_input=True, confirmation_prompt=twice, err=True)
    return answer


def _line(what: str) -> str:
    line = sys.stdin.readline(10_000).removesuffix("\n").removesuffix("\r")
    if not line:
        raise InputError(f"standard input is empty; it has to hold {what}")
    return line


def _shown(text: str) -> str:
    from palladion.client.words import name_in_words

    return name_in_words(text)
