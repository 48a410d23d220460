"""``palladion round``: build, show and check rounds."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Build, show and check rounds of clean and poisoned models.", no_args_is_help=True, rich_markup_mode=None
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The round.", show_default=False)]


@app.command()
def build(
    round_: Annotated[
        str,
        typer.Argument(
            metavar="ROUND", help="round-0, round-1, or the path of a round's .yaml file.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory to build in, or to go on in.", show_default=False)
    ],
    scale: Annotated[str, typer.Option(help="small: networks that a laptop trains in seconds.")] = "small",
    train: Annotated[int | None, typer.Option(min=1, metavar="N", help="Models in the train split.")] = None,
    test: Annotated[int | None, typer.Option(min=0, metavar="N", help="Models in the test split; 0 for none.")] = None,
    holdout: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Models in the holdout split; 0 for none.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, metavar="S", help="The same seed gives the same files.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="J", help="Models trained at a time; by default as many as there are cores."),
    ] = None,
) -> None:
    """Build a round, or go on with one: models that are there already are kept."""
    from palladion.errors import BuildError, InputError
    from palladion.rounds.build import build_round
    from palladion.rounds.spec import load_preset

    spec = load_preset(round_)
    if scale != spec.scale:
        raise InputError(f"--scale: {spec.name} has no scale {scale!r}; there is {spec.scale}")
    spec = spec.with_options(seed=seed, models={"train": train, "test": test, "holdout": holdout})
    try:
        report = build_round(spec, out, jobs=jobs or len(os.sched_getaffinity(0)))
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on where it was (in {out})", err=True)
        raise
    counts = ", ".join(
        f"{name} {split.models}" if split.models is not None else f"{name} = {split.same_as}"
        for name, split in spec.splits.items()
    )
    reused = f", {report.reused} were there already" if report.reused else ""
    typer.echo(f"{out}: {spec.title}, seed {spec.seed}: {counts} models; built {len(report.built)}{reused}")
    if report.failed:
        raise BuildError(
            f"{len(report.failed)} models did not pass their gates in {spec.gates.attempts} attempts and are marked "
            f"so (converged = False): {', '.join(report.failed)}"
        )


@app.command()
def show(directory: Directory) -> None:
    """What a round holds: its splits, factors and how well its models were trained."""
    from rich.console import Console
    from rich.table import Table

    from palladion.rounds.summary import summarise

    summary = summarise(directory)
    spec = summary.spec
    console = Console()
    console.print(f"[bold]{spec.title}[/bold] ({spec.name}), scale {spec.scale}, seed {spec.seed}")
    if spec.description:
        console.print(spec.description, style="dim")
    table = Table(box=None, pad_edge=False)
    table.add_column("split", no_wrap=True)
    for heading in ("models", "poisoned", "clean", "least", "attack", "least", "retried", "failed"):
        table.add_column(heading, justify="right")
    for split in summary.splits:
        name = f"{split.name} = {split.same_as}" if split.same_as else split.name
        if split.poisoned is None:
            table.add_row(name, f"{split.present} of {split.models}", "not complete: build it again to go on")
            continue
        table.add_row(
            name,
            str(split.models),
            str(split.poisoned),
            _rate(split.clean_accuracy),
            _rate(split.least_clean_accuracy),
            _rate(split.attack_success),
            _rate(split.least_attack_success),
            str(split.retried),
            str(split.unconverged),
        )
    console.print(table)
    for split in summary.splits:
        if split.factors is None or split.same_as:
            continue
        console.print(f"\n[bold]{split.name}[/bold]: models of each level, clean + poisoned")
        levels = Table("factor", "levels", box=None, pad_edge=False)
        for factor, counts in split.factors.items():
            levels.add_row(factor, "  ".join(f"{level}: {c}+{p}" for level, (c, p) in counts.items()))
        console.print(levels)


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


@app.command()
def check(directory: Directory) -> None:
    """Check a round; every fault is named with its file."""
    from palladion.rounds.check import check_round

    faults = check_round(directory)
    for fault in faults:
        typer.echo(str(fault))
    if faults:
        typer.echo(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} found", err=True)
        sys.exit(1)
    typer.echo(f"{directory}: no faults found")
