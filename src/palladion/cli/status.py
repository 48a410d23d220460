"""``palladion status``: what became of what one has submitted, and what is left."""

from typing import TYPE_CHECKING, Annotated

import typer

from palladion.cli.service import Insecure, JsonWanted, Server, connected, note, now, print_json
from palladion.errors import InputError

if TYPE_CHECKING:
    from palladion.client import Client
    from palladion.client.answers import QuotaReport, Submission

__all__ = ["status"]

_MOST_ROWS = 50


def status(
    submission: Annotated[
        str | None,
        typer.Argument(
            metavar="[SUBMISSION]", help="Id of a submission; by default all of the team.", show_default=False
        ),
    ] = None,
    challenge: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of this challenge; by default of all that one takes part in."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Of one submission: wait until it has ended.")] = False,
    server: Server = None,
    json_wanted: JsonWanted = False,
    insecure: Insecure = False,
) -> None:
    """Show submissions with their states and scores, and how many are left.

    Of one submission, the scores with their intervals; with --wait the exit codes are those of submit.
    """
    with connected(server, insecure) as client:
        if submission is not None:
            _one(client, submission, wait, json_wanted)
        elif wait:
            raise InputError("--wait needs the id of a submission")
        else:
            _all(client, challenge, json_wanted)


def _one(client: "Client", name: str, wait: bool, json_wanted: bool) -> None:
    from palladion.cli.submit import end, show_result, waited
    from palladion.client.answers import to_document
    from palladion.client.stages import track_of
    from palladion.client.words import clock, name_in_words

    found = client.submission(name)
    if wait:
        found = waited(client, found, quiet=json_wanted)
    if json_wanted:
        print_json(to_document(found))
    else:
        place = f"{found.challenge}/{found.track}/{found.stage}"
        typer.echo(
            f"{found.id}: {name_in_words(found.filename)}, number {found.ordinal} of {name_in_words(found.team.name)} "
            f"in {place}, {clock(found.created, now())}"
        )
        show_result(found, track_of(client, found))
    if wait:
        end(found)


def _all(client: "Client", challenge: str | None, json_wanted: bool) -> None:
    from palladion.client import place
    from palladion.client.answers import to_document

    if challenge is None:
        names = list(dict.fromkeys(team.challenge for team in client.me().teams))
    else:
        names = [place(challenge, most=1).challenge]
    found = [(name, client.submissions(name), _quota(client, name)) for name in names]
    if json_wanted:
        print_json(
            {
                "challenges": [
                    {
                        "challenge": name,
                        "quota": None if quota is None else to_document(quota),
                        "submissions": [to_document(submission) for submission in submissions],
                    }
                    for name, submissions, quota in found
                ]
            }
        )
        return
    for name, submissions, quota in found:
        _show(client, name, submissions, quota)
    if not names:
        typer.echo("in no team yet: make one with palladion team create CHALLENGE NAME, or join one with its code")


def _quota(client: "Client", challenge: str) -> "QuotaReport | None":
    from palladion.client import Conflict, NotAllowed

    try:
        return client.quota(challenge)
    except (Conflict, NotAllowed):
        return None  # without a team, as organisers are, there is none


def _show(client: "Client", name: str, submissions: "list[Submission]", quota: "QuotaReport | None") -> None:
    from palladion.client.tables import quota_line, submissions_table
    from palladion.client.words import name_in_words
    from palladion.reports.tables import show

    tracks = {f"{name}/{track.name}": track for track in client.challenge(name).tracks}
    team = "" if quota is None else f", team {name_in_words(quota.team.name)}"
    typer.echo(f"{name}{team}")
    if submissions:
        show(submissions_table(submissions[:_MOST_ROWS], tracks, now()))
    else:
        typer.echo("nothing has been submitted yet")
    if len(submissions) > _MOST_ROWS:
        note(f"the latest {_MOST_ROWS} of {len(submissions)}; --json has all of them")
    for left in () if quota is None else quota.tracks:
        typer.echo(f"{left.track}: {quota_line(left, now())}")
