"""``palladion stage``: the stages of a challenge; list them, and, for organisers, open, close and conclude them."""

from typing import TYPE_CHECKING, Annotated

import typer

from palladion.cli.service import Insecure, JsonWanted, Server, connected, note, print_json
from palladion.errors import PalladionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from palladion.client import Client
    from palladion.client.answers import Stage, Step

__all__ = ["app"]

app = typer.Typer(
    help="List the stages of a challenge; organisers open, close and conclude them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Stage = Annotated[str, typer.Argument(metavar="CHALLENGE/TRACK/STAGE", help="The stage.", show_default=False)]


class _FailedError(PalladionError):
    """What was waited for has failed."""

    exit_code = 4


@app.command(name="list")
def list_(
    challenge: Annotated[
        str, typer.Argument(metavar="CHALLENGE[/TRACK]", help="The challenge, or a track.", show_default=False)
    ],
    server: Server = None,
    json_wanted: JsonWanted = False,
    insecure: Insecure = False,
) -> None:
    """List the stages with their states, dates and goals."""
    from palladion.client import place
    from palladion.client.answers import to_document
    from palladion.client.stages import find_track
    from palladion.client.tables import stages_table
    from palladion.reports.tables import show

    asked = place(challenge, most=2)
    with connected(server, insecure, anonymous=True) as client:
        found = client.challenge(asked.challenge)
    tracks = found.tracks if asked.track is None else (find_track(found, asked),)
    if json_wanted:
        print_json({"stages": [to_document(stage) for track in tracks for stage in track.stages]})
    else:
        show(stages_table(found, tracks))


@app.command(name="open")
def open_(stage: _Stage, server: Server = None, json_wanted: JsonWanted = False, insecure: Insecure = False) -> None:
    """Open a stage for submissions.

    Its data is checked first, and known answers are scored on it: where they do not rank as they should, it stays
    closed and every fault is told.
    """
    with connected(server, insecure) as client:
        _say(_with_faults(lambda: client.open_stage(*_names(stage))), json_wanted)


@app.command()
def close(stage: _Stage, server: Server = None, json_wanted: JsonWanted = False, insecure: Insecure = False) -> None:
    """Close a stage to new submissions; those that were accepted run to their end."""
    with connected(server, insecure) as client:
        _say(client.close_stage(*_names(stage)), json_wanted)


@app.command()
def conclude(
    stage: _Stage,
    submissions: Annotated[
        list[str] | None,
        typer.Option(
            "--submission",
            metavar="ID",
            help="Run this one on the holdout, too, beside the best of each team; can be given again.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is concluded, and tell each step.")] = False,
    server: Server = None,
    json_wanted: JsonWanted = False,
    insecure: Insecure = False,
) -> None:
    """Conclude a stage: close it, run the best submissions on the holdout, publish, and open the next stage.

    It goes on at the server whether one waits or not. Exits with 4 where one waits and a step has failed.
    """
    from palladion.client.waiting import wait_for_conclusion

    names = _names(stage)
    with connected(server, insecure) as client:
        begun = client.conclude_stage(*names, tuple(submissions or ()))
        if wait:
            steps = _Steps(quiet=json_wanted)
            try:
                begun = wait_for_conclusion(client, begun, steps, _Watch(client, stage, names[0]))
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"stopped waiting; {stage} goes on being concluded at the server") from None
    _say(begun, json_wanted)


@app.command()
def rescore(stage: _Stage, server: Server = None, json_wanted: JsonWanted = False, insecure: Insecure = False) -> None:
    """Score the submissions of a stage again with the server's scorer, beside the scores that there are."""
    from palladion.client.answers import to_document
    from palladion.client.words import name_in_words, quantity

    with connected(server, insecure) as client:
        done = client.rescore_stage(*_names(stage))
    if json_wanted:
        print_json(to_document(done))
        return
    version = name_in_words(done.scorer)
    typer.echo(f"{stage}: {quantity(done.evaluations, 'evaluation')} with scorer {version}")
    typer.echo(f"once they are done, show them with: palladion stage switch {stage} {version}")


@app.command()
def switch(
    stage: _Stage,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Of the scorer.", show_default=False)],
    server: Server = None,
    json_wanted: JsonWanted = False,
    insecure: Insecure = False,
) -> None:
    """Show the scores of another version of the scorer on the leaderboard."""
    with connected(server, insecure) as client:
        _say(client.switch_stage(*_names(stage), version), json_wanted)


class _Steps:
    """Tells each step of a conclusion once when it begins, when it waits for something, and when it is done."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._told: set[str] = set()

    def __call__(self, stage: "Stage") -> None:
        from palladion.client.words import name_in_words, text_in_words

        for step in stage.steps or ():
            title = name_in_words(step.title or step.name, 200)
            if step.finished is not None:
                self._tell(f"{title}: {_what_came(step)}")
            elif step.waits:
                self._tell(f"{title}: {text_in_words(step.waits)}")
            elif step.started is not None:
                self._tell(f"{title}: begun")

    def _tell(self, line: str) -> None:
        if line not in self._told and not self._quiet:
            note(line)
        self._told.add(line)


def _what_came(step: "Step") -> str:
    """What a step that is finished has done, where the server says it: not every stage needs every step."""
    from palladion.client.words import name_in_words, text_in_words

    detail = step.detail if isinstance(step.detail, dict) else {}
    if detail.get("skipped"):
        return f"not needed: {text_in_words(str(detail['skipped']))}"
    if "next" in detail:
        return "there is none" if detail["next"] is None else f"done: {name_in_words(str(detail['next']))}"
    if detail.get("opened"):
        return f"done: {name_in_words(str(detail['opened']))} is open"
    if "opened" in detail:
        opens = detail.get("opens")
        return "nothing to open" if opens is None else f"not now: it opens {name_in_words(str(opens))}"
    return "done"


class _Watch:
    """Sees that a conclusion has failed: other than those that had failed before it was begun."""

    def __init__(self, client: "Client", stage: str, challenge: str) -> None:
        self._client, self._stage, self._challenge = client, stage, challenge
        self._before = {job.id for job in client.failed_conclusions(challenge)}

    def __call__(self) -> None:
        from palladion.client.words import text_in_words

        for job in self._client.failed_conclusions(self._challenge):
            if job.id not in self._before:
                raise _FailedError(
                    f"{self._stage} could not be concluded: {text_in_words(job.reason or 'no reason is told')}\n"
                    f"once that is mended, it goes on where it was: palladion stage conclude {self._stage}"
                )


def _with_faults(act: "Callable[[], Stage]") -> "Stage":
    """What ``act`` gives; where the stage cannot open for several reasons, every one is told first."""
    from palladion.client import Conflict

    try:
        return act()
    except Conflict as error:
        # A single one is in the message.
        for fault in error.faults if len(error.faults) > 1 else ():
            note(str(fault))
        raise


def _say(stage: "Stage", json_wanted: bool) -> None:
    from palladion.client.answers import to_document
    from palladion.client.words import name_in_words

    if json_wanted:
        print_json(to_document(stage))
    else:
        typer.echo(f"{stage.challenge}/{stage.track}/{stage.name}: {name_in_words(stage.state)}")


def _names(text: str) -> tuple[str, str, str]:
    from palladion.client import place

    asked = place(text, least=3)
    assert asked.track is not None
    assert asked.stage is not None
    return asked.challenge, asked.track, asked.stage
