"""``palladion evaluate``: run a detector on a round and score it."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from palladion.errors import InputError

__all__ = ["check_output", "cluster_of", "evaluate"]


def evaluate(
    submission: Annotated[
        str,
        typer.Argument(
            help="A folder with entrypoint.py (NIST's contract) or detector.py, or the name of a reference detector: "
            "constant, inversion.",
            show_default=False,
        ),
    ],
    round_path: Annotated[Path, typer.Option("--round", metavar="DIR", help="The round.", show_default=False)],
    split: Annotated[str, typer.Option(help="train, test or holdout.")] = "test",
    json_path: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write everything as JSON; - prints it instead of tables."),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(metavar="N", help="Models that run at a time; by default as many as there are cores."),
    ] = None,
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="Wall time a model; then it is killed.")] = 600.0,
    learned: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Learned parameters: used where there are any; else the detector is configured on the train split, "
            "and they are kept there.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, also where an interrupted evaluation could go on.")
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of METADATA.csv by which the bootstrap draws models together."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Run a detector on every model of a split, and score its answers.

    An evaluation that was interrupted goes on where it was when the same command is given again.

    The detector runs as yourself, without a sandbox: for your own and for those you trust.
    """
    printed = json_path is not None and str(json_path) == "-"
    if json_path is not None and not printed:
        check_output(json_path)

    from palladion import __version__
    from palladion.execution import Options
    from palladion.execution import evaluate as run_evaluation
    from palladion.models import RoundDirectory
    from palladion.reports.detection import detection_report
    from palladion.submissions import Submission

    round_directory = RoundDirectory.open(round_path)
    split_directory = round_directory.split(split)
    # Faults of the labels and of options are told now, not after hours of running.
    labels = split_directory.labels()
    names = [entry.name for entry in split_directory.models()]
    clusters = None if cluster is None else cluster_of(split_directory.metadata, cluster, names)
    loaded = Submission.load(submission)
    options = Options(
        slots=len(os.sched_getaffinity(0)) if slots is None else slots,
        time_limit=time_limit,
        learned=learned,
        fresh=fresh,
    )
    evaluation = run_evaluation(loaded, round_directory, split, options)
    document: dict[str, Any] = {
        "submission": loaded.name,
        "round": str(round_path),
        "split": split,
        "split_same_as": round_directory.same_as.get(split),
        **detection_report(
            [outcome.to_dict() for outcome in evaluation.outcomes],
            [labels[name] for name in names],
            clusters=clusters,
            seed=seed,
        ),
        "command": evaluation.command,
        "configuration_seconds": evaluation.configuration_seconds,
        "options": {
            "slots": options.slots,
            "time_limit": time_limit,
            "learned": None if learned is None else str(learned),
            "sandbox": "none",
        },
        "version": __version__,
    }
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if printed:
        typer.echo(text, nl=False)
        return
    if json_path is not None:
        from palladion.files import write_atomically

        write_atomically(json_path, text)
    _show(document)


def _show(document: dict[str, Any]) -> None:
    from rich.text import Text

    from palladion.reports.tables import metrics_table, outcomes_table, show

    seconds = document["configuration_seconds"]
    learned = "" if seconds is None else f"\nIt learned from the train split for {seconds:.1f} s"
    if seconds is not None and document["options"]["learned"] is None:
        learned += "; --learned DIR keeps what it learned"
    same_as = document["split_same_as"]
    dry_run = "" if same_as is None else f"\nA dry run: in this round it is the {same_as} split, whose labels are open"
    show(
        *outcomes_table(document["outcomes"]),
        Text(f"{document['submission']} on the {document['split']} split of {document['round']}{dry_run}{learned}"),
        metrics_table(document["metrics"]),
    )
    # As it is, without line breaks: it is there to be copied.
    typer.echo(f"One model by hand: {document['command']}")


def check_output(path: Path) -> None:
    """See that a file can be written, before the work for it begins.

    Raises:
        InputError: its folder does not exist or cannot be written to, or it is a folder itself.
    """
    if path.is_dir():
        raise InputError("is a folder; name a file", path=path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; make it first", path=path)
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"the folder {path.parent} cannot be written to", path=path)


def cluster_of(metadata: Path, column: str, names: list[str]) -> list[str]:
    """The value of a column for each model.

    Raises:
        InputError: there is no such column, or a cell of it is empty.
    """
    from palladion.models.round_directory import read_table

    table = read_table(metadata, columns=(column,))
    clusters = []
    for name in names:
        line, row = table[name]
        if not row[column]:
            raise InputError(f"{column} is empty; every model needs a cluster", path=metadata, line=line)
        clusters.append(row[column])
    return clusters
