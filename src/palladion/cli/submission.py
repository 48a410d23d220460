"""``palladion submission``: look at a submission before it is submitted."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="submission", help="Look at a submission before it is submitted.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _submission() -> None:
    """Look at a submission before it is submitted."""


@app.command()
def check(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A folder, a .zip or .tar.gz of one, a .sif image, or a reference detector.",
            show_default=False,
        ),
    ],
    family_name: Annotated[
        str, typer.Option("--family", metavar="NAME", help="The rounds that it is for, by which it is called.")
    ] = "image-classification",
) -> None:
    """Check a submission without running it: kind, environment, command, and every fault.

    Exits with 1 where there is an error; warnings alone do not count.
    """
    from palladion.submissions import DataPointPaths, Kind, Place, family, opened
    from palladion.submissions.checks import FaultSeverity, check_submission

    chosen = family(family_name)
    model = Path("MODEL/model.pt" if chosen.model == "file" else "MODEL")
    paths = DataPointPaths(
        model, Path("MODEL") / chosen.examples[0], Path("result.txt"), Path("scratch"), chosen.placeholders()
    )
    with opened(path) as submission:
        faults = check_submission(submission, chosen)
        place = Place(Path("python"), None if submission.directory is None else Path(submission.name))
        command = submission.infer_command(paths, None, place=place, family=chosen)
        if submission.kind is Kind.IMAGE:
            assert submission.image is not None
            command = ["apptainer", "run", submission.image.name, *command]
        needs = submission.manifest
    typer.echo(f"{submission.name}: {submission.kind}")
    typer.echo(
        f"environment: {needs.environment or 'the default one'}; {_resources(needs.cpus, needs.memory, needs.gpus)}"
    )
    typer.echo(f"one data point by hand: {shlex.join(command)}")
    for fault in faults:
        typer.echo(str(fault))
    errors = sum(fault.severity is FaultSeverity.ERROR for fault in faults)
    if errors:
        typer.echo(f"{errors} error{'s' if errors > 1 else ''} found", err=True)
        sys.exit(1)
    typer.echo("no errors found")


def _resources(cpus: int, memory: int | None, gpus: int) -> str:
    said = [f"{cpus} core{'s' if cpus > 1 else ''}"]
    if memory is not None:
        said.append(f"{memory / (1 << 30):g} GiB of memory")
    if gpus:
        said.append(f"{gpus} GPU{'s' if gpus > 1 else ''}")
    return ", ".join(said)
