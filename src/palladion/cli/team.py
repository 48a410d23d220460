"""``palladion team``: the team that one takes part in a challenge with."""

from typing import TYPE_CHECKING, Annotated

import typer

from palladion.cli.service import Insecure, JsonWanted, Server, connected, now, print_json
from palladion.errors import InputError

if TYPE_CHECKING:
    from palladion.client.answers import Team

__all__ = ["app"]

app = typer.Typer(
    help="Make, join, show and leave the team that one takes part with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Challenge = Annotated[str, typer.Argument(metavar="CHALLENGE", help="The challenge.", show_default=False)]
_Teams = Annotated[list[str], typer.Argument(metavar="TEAM...", help="Teams, by name or id.", show_default=False)]


@app.command()
def create(
    challenge: _Challenge,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the team.", show_default=False)],
    server: Server = None,
    json_wanted: JsonWanted = False,
    insecure: Insecure = False,
) -> None:
    """Make a team and be its captain. An account is in one team of a challenge."""
    with connected(server, insecure) as client:
        team = client.create_team(_name(challenge), name)
    _show(team, json_wanted)


@app.command()
def invite(
    challenge: _Challenge,
    uses: Annotated[int, typer.Option(metavar="N", min=1, max=50, help="How many may join with it.")] = 1,
    days: Annotated[int, typer.Option(metavar="N", min=1, max=30, help="How long it can be used.")] = 7,
    server: Server = None,
    json_wanted: JsonWanted = False,
    insecure: Insecure = False,
) -> None:
    """Make a code with which others join the team. Give it to them in private."""
    from palladion.client.answers import to_document
    from palladion.client.words import clock, name_in_words, quantity

    with connected(server, insecure) as client:
        invitation = client.invite(_name(challenge), uses=uses, days=days)
    if json_wanted:
        print_json(to_document(invitation))
        return
    typer.echo(name_in_words(invitation.code, 500))
    until = "" if invitation.expires is None else f", until {clock(invitation.expires, now())}"
    typer.echo(
        f"for {quantity(invitation.uses, 'member')}{until}: palladion team join {challenge} CODE",
        err=True,
    )


@app.command()
def join(
    challenge: _Challenge,
    code: Annotated[str, typer.Argument(metavar="CODE", help="From somebody of the team.", show_default=False)],
    server: Server = None,
    json_wanted: JsonWanted = False,
    insecure: Insecure = False,
) -> None:
    """Join the team that a code is of."""
    with connected(server, insecure) as client:
        team = client.join_team(_name(challenge), code)
    _show(team, json_wanted)


@app.command()
def leave(challenge: _Challenge, server: Server = None, insecure: Insecure = False) -> None:
    """Leave the team. After it has submitted, only an organiser can let somebody go."""
    with connected(server, insecure) as client:
        client.leave_team(_name(challenge))
    typer.echo(f"{challenge}: left the team")


@app.command()
def show(
    challenge: _Challenge, server: Server = None, json_wanted: JsonWanted = False, insecure: Insecure = False
) -> None:
    """Show the team with its members; all teams, for organisers and observers."""
    from palladion.client.answers import to_document

    with connected(server, insecure) as client:
        teams = client.teams(_name(challenge))
    if json_wanted:
        print_json({"teams": [to_document(team) for team in teams]})
        return
    for team in teams:
        _show(team, False)
    if not teams:
        typer.echo(f"no team yet; make one with: palladion team create {challenge} NAME, or join one with its code")


@app.command()
def approve(challenge: _Challenge, teams: _Teams, server: Server = None, insecure: Insecure = False) -> None:
    """Let teams submit that wait for an organiser."""
    _decide(challenge, teams, server, insecure, approved=True)


@app.command()
def refuse(challenge: _Challenge, teams: _Teams, server: Server = None, insecure: Insecure = False) -> None:
    """Let teams submit no more, for organisers; what they have submitted stays."""
    _decide(challenge, teams, server, insecure, approved=False)


def _decide(challenge: str, names: list[str], server: str | None, insecure: bool, *, approved: bool) -> None:
    from palladion.client.words import name_in_words

    with connected(server, insecure) as client:
        teams = client.teams(_name(challenge))
        # A name may look like another team's id.
        known = {team.id: team for team in teams} | {team.name: team for team in teams}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InputError(f"{challenge} has no team {', '.join(f'{name[:80]!a}' for name in unknown)}")
        for name in names:
            team = client.decide_team(challenge, known[name].id, approved=approved)
            typer.echo(f"{name_in_words(team.name)}: {name_in_words(team.state)}")


def _name(challenge: str) -> str:
    from palladion.client import place

    return place(challenge, most=1).challenge


def _show(team: "Team", json_wanted: bool) -> None:
    from palladion.client.answers import to_document
    from palladion.client.tables import team_table
    from palladion.client.words import name_in_words
    from palladion.reports.tables import show

    if json_wanted:
        print_json(to_document(team))
        return
    typer.echo(f"{name_in_words(team.name)}: {name_in_words(team.state)}")
    if team.members:
        show(team_table(team))
