"""``palladion evaluate``: run a detector on a round and score it."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from palladion.errors import InputError

__all__ = ["check_output", "cluster_of", "evaluate"]

_MODES = ("warm", "cold")


def evaluate(
    submission: Annotated[
        str,
        typer.Argument(
            help="A folder or archive with entrypoint.py (NIST's contract), detector.py or a script, an Apptainer "
            "image, or the name of a reference detector: constant, inversion.",
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
        typer.Option(metavar="N", help="Models that run at a time; by default as many as cores and memory allow."),
    ] = None,
    sandbox: Annotated[
        str,
        typer.Option(metavar="NAME", help="bubblewrap, apptainer, podman, or none: your own detectors, open splits."),
    ] = "bubblewrap",
    mode: Annotated[
        str,
        typer.Option(metavar="MODE", help="warm: import libraries once for all models; cold: for each of them anew."),
    ] = "warm",
    environment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment to run in; by default the submission's, or Palladion's own."),
    ] = None,
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="Wall time a model; then it is killed.")] = 600.0,
    cpu_time: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Processor time a model; by default without limit.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wall time of all models together; by default no limit.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory a model, such as 512M or 8G; by default 4G.")
    ] = None,
    scratch: Annotated[
        str, typer.Option(metavar="SIZE", help="Files that it may write a model; they count as memory too.")
    ] = "2G",
    processes: Annotated[int, typer.Option(min=1, metavar="N", help="Processes and threads at a time, a model.")] = 256,
    cpus: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processors a model; by default the submission's, or 1.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Graphics processors a model; by default the submission's.")
    ] = None,
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

    The detector runs in a sandbox: it sees one model at a time, and neither labels, network nor anything else of this
    machine. An evaluation that was interrupted goes on where it was when the same command is given again.
    """
    printed = json_path is not None and str(json_path) == "-"
    if json_path is not None and not printed:
        check_output(json_path)

    from palladion import __version__
    from palladion.execution.environments import DEFAULT, find
    from palladion.execution.evaluation import Options
    from palladion.execution.evaluation import evaluate as run_evaluation
    from palladion.execution.machine import check_machine, slots_for
    from palladion.execution.sandbox.contract import Limits
    from palladion.execution.sandbox.probes import refuse_unless_sealed
    from palladion.models import RoundDirectory
    from palladion.reports.detection import detection_report
    from palladion.submissions import family, opened, parse_size
    from palladion.submissions.checks import FaultSeverity, check_submission

    if mode not in _MODES:
        raise InputError(f"--mode: there is no mode {mode!r}; there are {', '.join(_MODES)}")
    round_directory = RoundDirectory.open(round_path)
    split_directory = round_directory.split(split)
    # Faults of the labels and of options are told now, not after hours of running.
    labels = split_directory.labels()
    names = [entry.name for entry in split_directory.models()]
    clusters = None if cluster is None else cluster_of(split_directory.metadata, cluster, names)
    round_family = family(round_directory.family)
    with opened(submission) as loaded:
        manifest = loaded.manifest
        declared = manifest.memory if memory is None else parse_size(memory)
        limits = Limits(
            seconds=time_limit,
            cpu_seconds=cpu_time,
            memory_bytes=Limits().memory_bytes if declared is None else declared,
            processes=processes,
            scratch_bytes=parse_size(scratch),
            cpus=manifest.cpus if cpus is None else cpus,
        )
        named = find(environment or manifest.environment or DEFAULT)
        wanted_gpus = manifest.gpus if gpus is None else gpus
        options = Options(
            environment=named,
            slots=slots_for(limits, wanted_gpus) if slots is None else slots,
            limits=limits,
            budget=budget,
            sandbox=sandbox,
            warm=mode == "warm",
            gpus=wanted_gpus,
            learned=learned,
            fresh=fresh,
        )
        check_machine(limits, options.gpus)
        if round_directory.is_sealed(split):
            refuse_unless_sealed(sandbox, f"the {split} split is sealed")
        errors = [fault for fault in check_submission(loaded, round_family) if fault.severity is FaultSeverity.ERROR]
        with named.held():
            evaluation = run_evaluation(loaded, round_directory, split, round_family, options)
    notes = list(evaluation.notes)
    if errors:
        notes.append(
            f"NIST's harness would refuse this submission for {len(errors)} fault{'s' if len(errors) > 1 else ''}, "
            f"first: {str(errors[0]).removeprefix('error: ')}; palladion submission check {submission} lists all"
        )
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
            "sandbox": sandbox,
            "mode": "warm" if evaluation.warm else "cold",
            "environment": named.name,
            "environment_digest": named.digest,
            "slots": options.slots,
            "gpus": options.gpus,
            "time_limit": time_limit,
            "cpu_time": cpu_time,
            "budget": budget,
            "memory_bytes": limits.memory_bytes,
            "scratch_bytes": limits.scratch_bytes,
            "processes": limits.processes,
            "cpus": limits.cpus,
            "learned": None if learned is None else str(learned),
        },
        "notes": notes,
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
    for note in document["notes"]:
        typer.echo(f"Note: {note}")
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
