"""``palladion challenge``: begin, check and read a challenge file."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from palladion.challenge import Challenge, Metric, Stage, Track
    from palladion.rounds.stage_data import StageCheck

__all__ = ["app"]

app = typer.Typer(help="Begin, check and read a challenge file.", no_args_is_help=True, rich_markup_mode=None)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="challenge.yaml, or the folder that holds it.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command()
def new(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the new challenge.", show_default=False)],
    like: Annotated[
        str, typer.Option(metavar="NAME", help="trojai: rounds of poisoned models; antibad: language tracks.")
    ] = "trojai",
) -> None:
    """Write a commented challenge.yaml to begin with; it passes check as it stands."""
    from palladion.challenge import CHALLENGE_FILE
    from palladion.challenge.templates import challenge_text
    from palladion.errors import InputError
    from palladion.files import write_atomically

    path = directory / CHALLENGE_FILE
    text = challenge_text(like, directory.resolve().name)
    if path.exists() or path.is_symlink():
        raise InputError("is there already; give another folder, or change it", path=path)
    write_atomically(path, text)
    typer.echo(f"{path}: written; change it, then: palladion challenge check {directory}")


@app.command()
def check(
    file: File,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Look at every file of the rounds, as palladion round check does.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the random answers.")] = 0,
    json_wanted: Json = False,
) -> None:
    """Check a challenge file and the data of its stages; score perfect, constant, inverted and random answers on it.

    Every fault of the file is told at once, with its line. Data that is not there yet is told with the command that
    builds it, and is no fault.
    """
    from palladion.challenge import challenge_path, load_challenge
    from palladion.errors import InputError
    from palladion.rounds.stage_data import check_stage

    path = challenge_path(file)
    challenge = load_challenge(path)
    checks = [
        (track, [check_stage(path.parent, track, stage, thorough=thorough, seed=seed) for stage in track.stages])
        for track in challenge.tracks
    ]
    faults = list(dict.fromkeys(fault for _, found in checks for one in found for fault in one.faults))
    notes = list(dict.fromkeys(note for _, found in checks for one in found for note in one.notes))
    if json_wanted:
        _print_json(
            {
                "challenge": challenge.name,
                "tracks": {track.name: [_check_json(one) for one in found] for track, found in checks},
                "faults": faults,
                "notes": notes,
            }
        )
    else:
        from rich.text import Text

        from palladion.reports.tables import show as print_parts

        tables = [_sanity_table(track, found) for track, found in checks if any(one.sanity for one in found)]
        print_parts(*tables, *(Text(f"note: {note}") for note in notes))
    if faults:
        told = f"{len(faults)} fault{'' if len(faults) == 1 else 's'} in the data"
        raise InputError("\n".join([f"{path}: {told}:", *faults]))
    if not json_wanted:
        typer.echo(f"{path}: no faults found")


@app.command()
def show(file: File, json_wanted: Json = False) -> None:
    """Tell what a challenge file means: stages with their dates, goals, quotas, limits and feedback in words."""
    from palladion.challenge import challenge_path, load_challenge

    path = challenge_path(file)
    challenge = load_challenge(path)
    if json_wanted:
        _print_json(_challenge_json(challenge))
        return
    from palladion.reports.tables import show as print_parts

    print_parts(*_challenge_parts(challenge, path.parent, datetime.now(UTC)))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a challenge file, for editors and other programs."""
    from palladion.challenge import challenge_schema

    _print_json(challenge_schema())


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def _check_json(found: "StageCheck") -> dict[str, Any]:
    return {
        "stage": found.stage,
        "data": found.found,
        "faults": list(found.faults),
        "notes": list(found.notes),
        "sanity": {split: {one.kind: one.values for one in results} for split, results in found.sanity.items()},
    }


def _sanity_table(track: "Track", found: "list[StageCheck]") -> "RenderableType":
    """How the four known submissions score in the metric that ranks."""
    from rich import box
    from rich.table import Table

    from palladion.challenge.sanity import KINDS

    table = Table(
        box=box.SIMPLE, pad_edge=False, title=f"{track.name}: {_direction(track.metric)}", title_justify="left"
    )
    table.add_column("stage", no_wrap=True)
    table.add_column("split", no_wrap=True)
    for kind in KINDS:
        table.add_column(kind, justify="right", no_wrap=True)
    table.add_column("goal", justify="right", no_wrap=True)
    for one in found:
        for split, results in one.sanity.items():
            values = {result.kind: result.values.get(track.metric.name) for result in results}
            goal = track.goal(track.stage(one.stage))
            table.add_row(one.stage, split, *(_number(values[kind]) for kind in KINDS), _number(goal))
    return table


def _challenge_parts(challenge: "Challenge", folder: Path, now: datetime) -> "list[RenderableType]":
    from rich.text import Text

    approval = {
        "open": "everybody may have an account",
        "manual": "an organiser approves each account",
        "domain": f"at once for {', '.join(challenge.registration.domains)}; an organiser approves others",
    }[challenge.registration.approval]
    parts: list[RenderableType] = [Text(f"{challenge.title} ({challenge.name})", style="bold")]
    if challenge.description:
        parts += [Text(challenge.description.strip()), Text("")]
    parts.append(Text(f"registration: {approval}; a team has at most {challenge.teams.most_members} members"))
    for track in challenge.tracks:
        parts += _track_parts(track, challenge.stage_word, folder, now)
    return parts


def _track_parts(track: "Track", stage_word: str, folder: Path, now: datetime) -> "list[RenderableType]":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from palladion.challenge.feedback import policy_words
    from palladion.challenge.quotas import quota_words
    from palladion.sizes import size_text

    rule = track.submission
    holding = f", holding {', '.join(rule.files)}" if rule.files else ""
    advance = {
        "command": f"an organiser concludes a {stage_word}",
        "date": f"the end of a {stage_word} concludes it",
        "goal": f"a {stage_word} is concluded when {track.advance.teams} "
        f"team{'' if track.advance.teams == 1 else 's'} reached its goal",
    }[track.advance.when]
    lines = (
        ("metrics", ", ".join([_direction(track.metric), *(metric.title for metric in track.all_metrics[1:])])),
        ("submission", f"{rule.kind}, at most {size_text(rule.bytes)}{holding}"),
        ("quotas", quota_words(track.quotas)),
        ("feedback", policy_words(track.feedback)),
        ("limits", _limits(track)),
        ("advance", advance),
    )
    parts: list[RenderableType] = [Text(""), Text(f"{track.title} ({track.name}, {track.task})", style="bold")]
    parts += [Text(f"{name + ':':<12}{text}") for name, text in lines]
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in (stage_word, "title", "opens", "closes", "goal", "data"):
        table.add_column(name, no_wrap=name in (stage_word, "goal"))
    for stage in track.stages:
        dates = [_date(instant, now) for instant in (stage.opens, stage.closes)]
        there = "there" if (folder / stage.data).is_dir() else "not there"
        table.add_row(
            stage.name, Text(_stage_title(stage)), *dates, _goal(track, stage), Text(f"{stage.data}: {there}")
        )
    return [*parts, table]


def _stage_title(stage: "Stage") -> str:
    said = [stage.title]
    if stage.dry_run:
        said.append("(test is train)")
    if stage.code_required:
        said.append("(with code)")
    return " ".join(said)


def _limits(track: "Track") -> str:
    from palladion.sizes import size_text

    limits = track.limits
    said = [
        f"{limits.seconds:g} s a data point",
        f"{size_text(limits.memory)} of memory",
        f"{size_text(limits.scratch)} of scratch",
        f"{limits.processes} processes",
        f"{limits.cpus} core{'' if limits.cpus == 1 else 's'}",
        f"{limits.gpus} GPU{'' if limits.gpus == 1 else 's'}",
    ]
    if limits.total_seconds is not None:
        said.append(f"{limits.total_seconds:g} s in all")
    return ", ".join(said)


def _date(instant: datetime | None, now: datetime) -> str:
    from palladion.challenge.instants import in_words, until

    return "by command" if instant is None else f"{in_words(instant)} ({until(instant, now)})"


def _goal(track: "Track", stage: "Stage") -> str:
    goal = track.goal(stage)
    if goal is None:
        return "none"
    return f"{track.metric.name} {'≥' if track.metric.higher_is_better else '≤'} {goal:.4f}"


def _direction(metric: "Metric") -> str:
    return f"{metric.title} ranks, {'higher' if metric.higher_is_better else 'lower'} is better"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _challenge_json(challenge: "Challenge") -> dict[str, Any]:
    """What the file says, with the goals that follow from it."""
    data: dict[str, Any] = challenge.model_dump(mode="json")
    for track, track_data in zip(challenge.tracks, data["tracks"], strict=True):
        for stage, stage_data in zip(track.stages, track_data["stages"], strict=True):
            stage_data["goal"] = track.goal(stage)
    return data
