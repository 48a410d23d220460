"""``palladion leaderboard``: who stands where in a stage."""

from typing import Annotated

import typer

from palladion.cli.service import Insecure, JsonWanted, Server, connected, print_json
from palladion.errors import InputError

__all__ = ["leaderboard"]


def leaderboard(
    stage: Annotated[
        str,
        typer.Argument(
            metavar="CHALLENGE/TRACK[/STAGE]", help="The stage; by default the open one of the track, or its last."
        ),
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="Every submission, not only the best one of each team.")
    ] = False,
    json_wanted: JsonWanted = False,
    csv_wanted: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    server: Server = None,
    insecure: Insecure = False,
) -> None:
    """Show the leaderboard of a stage: ranks, scores with their intervals, and who has reached the goal."""
    from palladion.client import place
    from palladion.client.stages import shown_stage
    from palladion.client.tables import board_tables
    from palladion.client.words import text_in_words
    from palladion.reports.tables import show

    if json_wanted and csv_wanted:
        raise InputError("give either --json or --csv")
    asked = place(stage, least=2)
    with connected(server, insecure, anonymous=True) as client:
        names = shown_stage(client, asked)
        if csv_wanted:
            # What a terminal would obey is no part of a table; the line breaks are.
            typer.echo(text_in_words(client.leaderboard_csv(*names, everything=everything), most=None))
        elif json_wanted:
            print_json(client.leaderboard_document(*names, everything=everything))
        else:
            show(*board_tables(client.leaderboard(*names, everything=everything)))
