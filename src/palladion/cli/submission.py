"""``palladion submission``: look at a submission before it is submitted, and pack one."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palladion.errors import InputError

if TYPE_CHECKING:
    from palladion.execution.reproduction import Reproduction
    from palladion.submissions.checks import Fault
    from palladion.submissions.outputs import OutputsCheck
    from palladion.tracks.track_file import TrackFile

app = typer.Typer(
    name="submission",
    help="Look at a submission before it is submitted, and pack one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Tracks = Annotated[
    list[Path] | None,
    typer.Option(
        "--track",
        metavar="TRACK.yaml",
        help="Of outputs: the track file, or its folder; once for each track. By default the public challenge's names.",
        show_default=False,
    ),
]
_CodeRequired = Annotated[
    bool | None,
    typer.Option(
        "--code-required/--no-code-required",
        help="Of outputs: whether code/ with a README must be there. By default what the tracks say.",
        show_default=False,
    ),
]
_ORDERS = {
    "compared": "in the order of the inputs",
    "no key": "order not compared: labels carry no key",
    "no inputs": "order not compared: no inputs at hand",
}


@app.callback()
def _submission() -> None:
    """Look at a submission before it is submitted, and pack one."""


@app.command()
def check(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A zip or a folder of outputs; or a detector: a folder, a .zip or .tar.gz of one, a .sif image, "
            "a reference detector.",
            show_default=False,
        ),
    ],
    tracks: _Tracks = None,
    code_required: _CodeRequired = None,
    family_name: Annotated[
        str,
        typer.Option("--family", metavar="NAME", help="Of a detector: the rounds it is for, by which it is called."),
    ] = "image-classification",
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a submission without running it, and tell every fault.

    Outputs of a language track are told by their names at the root, such as cls_task1.csv, or by --track: names, rows,
    order, labels, texts, size, and what is stale. Of a detector: kind, environment, command, header and schema.

    Exits with 1 where there is an error; warnings alone do not count.
    """
    from palladion.submissions.outputs import looks_like_outputs

    if tracks or looks_like_outputs(Path(path)):
        _check_outputs(Path(path), tracks or [], code_required, json_wanted)
    else:
        _check_detector(path, family_name, json_wanted)


@app.command()
def pack(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Folders with outputs, or the outputs.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE.zip", help="Zip to write; one that is there is replaced.", show_default=False)
    ],
    tracks: _Tracks = None,
    code: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder that becomes code/; by default that of this name in PATH.", show_default=False
        ),
    ] = None,
    code_required: _CodeRequired = None,
) -> None:
    """Pack outputs of a language track as the zip to hand in, and check it first.

    The zip is made anew, of what the tracks name and code/ alone; the same files give the same bytes. Nothing is
    written where there is an error: all of them are told, and the exit code is 1.
    """
    from palladion.submissions.packing import pack_outputs

    done = pack_outputs(sources, out, _load_tracks(tracks or []), code=code, code_required=code_required)
    for name, why in done.left_out:
        typer.echo(f"left out: {name}: {why}")
    _print_files(done.check)
    _print_faults(done.check.faults)
    if done.digest is None:
        typer.echo(f"{out}: not written", err=True)
        sys.exit(1)
    files = len(done.files)
    typer.echo(f"{out}: {files} file{'s' if files > 1 else ''}, {done.bytes:,} bytes, sha256 {done.digest}")


@app.command()
def reproduce(
    path: Annotated[Path, typer.Argument(metavar="FILE.zip", help="Outputs with their code/.", show_default=False)],
    phase: Annotated[
        Path,
        typer.Option(
            "--round",
            metavar="DIR",
            help="Folder of the phase, with track.yaml: ROUND/phases/test.",
            show_default=False,
        ),
    ],
    seconds: Annotated[
        float, typer.Option(metavar="N", help="Most that the code may declare, in seconds of wall time.")
    ] = 86_400.0,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Most that it may declare, such as 16G; by default all that there is."),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The base model; by default that of the round.", show_default=False),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment to run in; by default the one that the code names."),
    ] = None,
    sandbox: Annotated[
        str, typer.Option(metavar="NAME", help="bubblewrap, apptainer, podman, or none: for your own code.")
    ] = "bubblewrap",
    allow: Annotated[
        float,
        typer.Option(
            metavar="PERCENT",
            help="Rows of a file that may differ. Decoding on other hardware differs in a few rows.",
        ),
    ] = 0.0,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Run the code of a submission in the sandbox, and see whether it makes the submitted outputs again.

    The code is called as code/reproduce.yaml says, within the time and memory declared there. It sees the phase as it
    was published, no network and no labels. Labels and texts are compared row by row, exactly.

    Exits with 0 where they are the same, with 1 where they are not or the code failed.
    """
    from dataclasses import replace

    from palladion.execution.environments import find
    from palladion.execution.reproduction import most_here
    from palladion.execution.reproduction import reproduce as run_reproduction
    from palladion.sizes import parse_size

    if not seconds > 0:
        raise InputError(f"--seconds: {seconds:g} s is no time; it must be more than 0")
    most = replace(most_here(), seconds=seconds)
    if memory is not None:
        most = replace(most, memory_bytes=parse_size(memory))
    done = run_reproduction(
        path,
        phase,
        base=base,
        most=most,
        environment=None if environment is None else find(environment),
        sandbox=sandbox,
        allow=allow,
        show=True,
    )
    if json_wanted:
        document = {"submission": _name(path), "round": str(phase), "sandbox": sandbox, **done.to_dict()}
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        _show_reproduction(_name(path), done)
    sys.exit(0 if done.reproduced else 1)


def _show_reproduction(name: str, done: "Reproduction") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from palladion.reports.tables import show

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("file", "task", "rows", "equal", "%", ""):
        table.add_column(heading, justify="right" if heading in ("rows", "equal", "%") else "left")
    for file in done.files:
        verdict = file.fault or ("reproduced" if file.within(done.allow) else "differs")
        # Rounded down: 100 only where all are equal. As text: what stands there may look like markup.
        share = f"{10_000 * file.equal // file.rows / 100:.2f}"
        table.add_row(file.file, Text(file.task), str(file.rows), str(file.equal), share, Text(verdict))
    show(table)
    for file in done.files:
        for row in file.differing:
            made = "nothing that can be used" if row.made is None else row.made
            typer.echo(f"{file.file}, row {row.row}: submitted: {row.submitted}")
            typer.echo(f"{' ' * len(f'{file.file}, row {row.row}')}  made:      {made}")
    for note in done.notes:
        typer.echo(f"Note: {note}")
    peak = "" if done.peak_memory_bytes is None else f", {done.peak_memory_bytes / 2**20:.0f} MiB"
    said = f"{done.seconds:.1f} s of {done.limits.seconds:g} s{peak} of {done.limits.memory_bytes / 2**20:.0f} MiB"
    typer.echo(f"The code took {said}, in the environment {done.environment}")
    if done.reproduced:
        allowed = "" if done.allow == 0 else f"; {done.allow:g} % of a file's rows may differ"
        typer.echo(f"{name}: reproduced{allowed}")
    else:
        typer.echo(f"{name}: not reproduced: {done.reason}")


def _check_outputs(path: Path, tracks: list[Path], code_required: bool | None, json_wanted: bool) -> None:
    from palladion.submissions.outputs import examine_outputs

    loaded = _load_tracks(tracks)
    found = examine_outputs(path, loaded, code_required=code_required)
    name = _name(path)
    if json_wanted:
        files = [{"file": file.file, "task": file.task, "rows": file.rows, "order": file.order} for file in found.files]
        known = [track.name for _, track in loaded]
        _print_json(found.faults, submission=name, kind="outputs", tracks=known, files=files)
    else:
        known = [f"{track.name} ({track.phase} phase)" for _, track in loaded]
        typer.echo(f"{name}: outputs for {', '.join(known) or 'the public challenge'}")
        _print_files(found)
        _print_faults(found.faults)
    _end(found.faults, json_wanted)


def _check_detector(path: str, family_name: str, json_wanted: bool) -> None:
    from palladion.submissions import DataPointPaths, Kind, Place, family, opened
    from palladion.submissions.checks import check_submission

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
    if json_wanted:
        resources = {"cpus": needs.cpus, "memory": needs.memory, "gpus": needs.gpus}
        _print_json(
            faults,
            submission=submission.name,
            kind=str(submission.kind),
            environment=needs.environment,
            resources=resources,
            command=command,
        )
    else:
        typer.echo(f"{submission.name}: {submission.kind}")
        typer.echo(
            f"environment: {needs.environment or 'the default one'}; {_resources(needs.cpus, needs.memory, needs.gpus)}"
        )
        typer.echo(f"one data point by hand: {shlex.join(command)}")
        _print_faults(faults)
    _end(faults, json_wanted)


def _load_tracks(paths: list[Path]) -> "list[tuple[Path, TrackFile]]":
    from palladion.tracks.track_file import load_track, track_path

    return [(track_path(path).parent, load_track(path)) for path in paths]


def _name(path: Path) -> str:
    from palladion.submissions.checks import printable

    return printable(path.name or path.resolve().name, 120)


def _print_files(found: "OutputsCheck") -> None:
    for file in found.files:
        typer.echo(f"{file.file}: {file.task}, {file.rows} row{'' if file.rows == 1 else 's'}; {_ORDERS[file.order]}")


def _print_faults(faults: "list[Fault]") -> None:
    for fault in faults:
        typer.echo(str(fault))


def _print_json(faults: "list[Fault]", **more: Any) -> None:
    listed = [
        {
            "severity": str(fault.severity),
            "code": fault.code,
            "file": fault.file,
            "where": fault.where,
            "message": fault.message,
        }
        for fault in faults
    ]
    errors = _errors(faults)
    typer.echo(json.dumps({**more, "errors": errors, "warnings": len(faults) - errors, "faults": listed}, indent=2))


def _errors(faults: "list[Fault]") -> int:
    return sum(str(fault.severity) == "error" for fault in faults)


def _end(faults: "list[Fault]", json_wanted: bool) -> None:
    """Exits with 1 where there is an error."""
    errors = _errors(faults)
    if errors:
        if not json_wanted:
            typer.echo(f"{errors} error{'s' if errors > 1 else ''} found", err=True)
        sys.exit(1)
    if not json_wanted:
        typer.echo("no errors found")


def _resources(cpus: int, memory: int | None, gpus: int) -> str:
    said = [f"{cpus} core{'s' if cpus > 1 else ''}"]
    if memory is not None:
        said.append(f"{memory / (1 << 30):g} GiB of memory")
    if gpus:
        said.append(f"{gpus} GPU{'s' if gpus > 1 else ''}")
    return ", ".join(said)
