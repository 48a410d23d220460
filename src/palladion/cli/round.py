"""``palladion round``: build, show and check rounds, and exchange them with NIST's layout."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from palladion.rounds.audit import Audit
    from palladion.rounds.spec import RoundSpec

app = typer.Typer(
    help="Build, show and check rounds of clean and poisoned models.", no_args_is_help=True, rich_markup_mode=None
)
import_app = typer.Typer(help="Make a round of what others published.", no_args_is_help=True, rich_markup_mode=None)
export_app = typer.Typer(help="Write a round in the layout of others.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The round.", show_default=False)]


@app.command()
def build(
    round_: Annotated[
        str,
        typer.Argument(
            metavar="ROUND",
            help="round-0 to round-3, antibad-classification, antibad-generation, or the path of a round's .yaml file.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory to build in, or to go on in.", show_default=False)
    ],
    scale: Annotated[
        str | None,
        typer.Option(
            help="Of round-0 to round-3. small, the default: networks that a laptop trains in seconds. nist: full-size "
            "networks, 224 pixels, 100,000 images a model; for GPUs.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[int | None, typer.Option(min=1, metavar="N", help="Models in the train split.")] = None,
    test: Annotated[int | None, typer.Option(min=0, metavar="N", help="Models in the test split; 0 for none.")] = None,
    holdout: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Models in the holdout split; 0 for none.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, metavar="S", help="The same seed gives the same files.")] = None,
    attempts: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=50,
            metavar="N",
            help="Trainings that a model has to pass its gates. More than before: those that missed them have more.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="J", help="Models trained at a time; by default as many as there are cores."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="cpu, or cuda: where image classifiers are trained. The files of one differ from the other's."
        ),
    ] = "cpu",
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Language rounds: base model, a Hugging Face directory. Without it a small one is trained.",
            show_default=False,
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Language rounds: texts that the small base is trained on.", show_default=False
        ),
    ] = None,
) -> None:
    """Build a round, or go on with one: models that are there already are kept."""
    from palladion.errors import BuildError, InputError
    from palladion.rounds.build import build_round
    from palladion.rounds.language.spec import is_language_spec

    at_a_time = jobs or len(os.sched_getaffinity(0))
    if is_language_spec(round_):
        elsewhere = None if device == "cpu" else device
        _refuse_options(
            "a language round", train=train, test=test, holdout=holdout, device=elsewhere, attempts=attempts
        )
        _build_language(round_, out, scale, seed, at_a_time, base, corpus)
        return
    _refuse_options("a round of image classifiers", base=base, corpus=corpus)
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device: there is no {device!r}; there are cpu and cuda")
    models = {"train": train, "test": test, "holdout": holdout}
    spec = _load(round_, scale).with_options(seed=seed, models=models, attempts=attempts)
    try:
        report = build_round(spec, out, jobs=at_a_time, device=device)
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
            f"so (converged = False): {', '.join(report.failed)}; the same command with a larger --attempts tries them "
            "again"
        )


def _load(round_: str, scale: str | None) -> "RoundSpec":
    """The preset at this scale, or the specification in this file, which has one scale only."""
    from palladion.errors import InputError
    from palladion.rounds.spec import SCALES, load_preset

    spec = load_preset(round_, scale or SCALES[0])
    if scale is not None and scale != spec.scale:
        raise InputError(f"--scale: {round_} is of scale {spec.scale}; leave this option out")
    return spec


def _refuse_language(round_: str) -> None:
    """See that this is no round of a language track, nor what one is built from."""
    from palladion.errors import InputError
    from palladion.rounds.language.layout import is_language_round
    from palladion.rounds.language.spec import is_language_spec

    if is_language_spec(round_) or is_language_round(Path(round_)):
        raise InputError("is of a language track; this command is for rounds of image classifiers", path=round_)


def _refuse_options(kind: str, **options: object) -> None:
    from palladion.errors import InputError

    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{', '.join(given)}: {kind} has no such option")


def _build_language(
    round_: str, out: Path, scale: str | None, seed: int | None, jobs: int, base: Path | None, corpus: Path | None
) -> None:
    from palladion.errors import BuildError, InputError
    from palladion.models.image_classifier import require_packages
    from palladion.rounds.language.build import build_language_round, seed_of
    from palladion.rounds.language.layout import is_language_round
    from palladion.rounds.language.spec import load_spec

    if scale not in (None, "small"):
        raise InputError(f"--scale: a language round has no scale {scale!r}; its size is that of its base, see --base")
    if seed is None and is_language_round(out):
        seed = seed_of(out)  # to go on with it
    spec = load_spec(round_).with_options(seed=seed, base=base, corpus=corpus)
    require_packages()
    try:
        report = build_language_round(spec, out, jobs=jobs)
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on where it was (in {out})", err=True)
        raise
    reused = f", {report.reused} were there already" if report.reused else ""
    typer.echo(
        f"{out}: {spec.title}, seed {spec.seed}: {len(spec.tasks)} tasks of {spec.models} poisoned models in "
        f"{' and '.join(spec.phases)}; built {len(report.built)} models{reused}"
    )
    typer.echo(f"publish {out}/base and {out}/phases/<phase>; {out}/sealed stays with you")
    if report.failed:
        raise BuildError(
            f"{len(report.failed)} models did not pass their gates in {spec.gates.attempts} attempts and are marked so "
            f"(passed: false): {', '.join(report.failed)}"
        )


@app.command()
def play(
    directory: Annotated[
        Path, typer.Argument(metavar="ROUND", help="A round of a language track.", show_default=False)
    ],
    phase: Annotated[str, typer.Option(help="development or test.")] = "development",
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Mitigation to play with; can be given again. All by default."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where outputs and zips go; by default beside the round.", show_default=False),
    ] = None,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
) -> None:
    """Play a phase with reference mitigations: predict, pack, check and score each, and print one table."""
    import json

    from palladion.models.image_classifier import require_packages
    from palladion.rounds.language.play import play_phase

    require_packages()
    target = directory.resolve().parent / f"{directory.resolve().name}-played" if out is None else out
    try:
        results = play_phase(directory, phase, target, methods=method, device=device, dtype=dtype, seed=seed)
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on where it was (in {target})", err=True)
        raise
    if json_wanted:
        typer.echo(json.dumps({"phase": phase, "methods": [result.to_dict() for result in results]}, indent=2))
        return
    from palladion.reports.language import play_table
    from palladion.reports.tables import show as print_tables

    print_tables(play_table([result.to_dict() for result in results]))
    typer.echo(f"outputs and zips: {target / phase}")


@app.command()
def show(directory: Directory) -> None:
    """What a round holds: its splits, factors and how well its models were trained."""
    from palladion.rounds.language.layout import is_language_round

    if is_language_round(directory):
        from palladion.reports.language import language_round_tables
        from palladion.reports.tables import show as print_tables
        from palladion.rounds.language.summary import summarise_language

        print_tables(*language_round_tables(summarise_language(directory)))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from palladion.rounds.summary import summarise

    summary = summarise(directory)
    console = Console()
    console.print(f"[bold]{escape(summary.title)}[/bold] ({escape(summary.name)}), {summary.origin}")
    if summary.description:
        console.print(summary.description, style="dim", markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("split", no_wrap=True)
    for heading in ("models", "poisoned", "clean", "least", "attack", "least", "retried", "failed"):
        table.add_column(heading, justify="right")
    for split in summary.splits:
        name = f"{split.name} = {split.same_as}" if split.same_as else split.name
        if split.poisoned is None:
            again = "build" if summary.spec else "import"
            table.add_row(name, f"{split.present} of {split.models}", f"not complete: {again} it again to go on")
            continue
        table.add_row(
            name,
            str(split.models),
            str(split.poisoned),
            _rate(split.clean_accuracy),
            _rate(split.least_clean_accuracy),
            _rate(split.attack_success),
            _rate(split.least_attack_success),
            "" if split.retried is None else str(split.retried),
            "" if split.unconverged is None else str(split.unconverged),
        )
    console.print(table)
    for split in summary.splits:
        if split.factors is None or split.same_as:
            continue
        console.print(f"\n[bold]{split.name}[/bold]: models of each level, clean + poisoned")
        levels = Table("factor", "levels", box=None, pad_edge=False)
        for factor, counts in split.factors.items():
            levels.add_row(escape(factor), escape("  ".join(f"{level}: {c}+{p}" for level, (c, p) in counts.items())))
        console.print(levels)


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


@app.command()
def check(directory: Directory) -> None:
    """Check a round, or of a language track one published phase or a validation folder; faults are named with files."""
    from palladion.rounds.language.check import (
        check_language_round,
        check_phase,
        check_validation,
        is_phase,
        is_validation,
    )
    from palladion.rounds.language.layout import is_language_round

    if is_language_round(directory):
        faults = check_language_round(directory)
    elif is_phase(directory):
        faults = check_phase(directory)
    elif is_validation(directory):
        faults = check_validation(directory)
    else:
        from palladion.rounds.check import check_round

        faults = check_round(directory)
    for fault in faults:
        typer.echo(str(fault))
    if faults:
        typer.echo(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} found", err=True)
        sys.exit(1)
    typer.echo(f"{directory}: no faults found")


@app.command()
def verify(
    directory: Directory,
    retrain: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Also train N of the models again, and compare them bit for bit."),
    ] = 0,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the round's background pictures lie now, if not where they lay.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="J", help="Models at a time; by default as many as there are cores."),
    ] = None,
) -> None:
    """Recompute what a round says of itself: digests, images, triggers, accuracies; exit code 1 if anything differs."""
    from palladion.rounds.verify import verify_round

    _refuse_language(str(directory))
    report = verify_round(directory, jobs=jobs or len(os.sched_getaffinity(0)), retrain=retrain, pictures=pictures)
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    for fault in report.faults:
        typer.echo(str(fault))
    if report.faults:
        typer.echo(f"{len(report.faults)} fault{'s' if len(report.faults) > 1 else ''} found", err=True)
        sys.exit(1)
    again = f"; trained again and equal to the last bit: {', '.join(report.retrained)}" if report.retrained else ""
    typer.echo(f"{directory}: {report.models} models are what their records say{again}")


@app.command()
def picture(
    round_: Annotated[
        str,
        typer.Argument(metavar="ROUND", help="A round, a preset, or a round's .yaml file.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="PNG", help="The picture to write.", show_default=False)],
    split: Annotated[str, typer.Option(help="Split that the models are of.")] = "train",
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A model to show; may be repeated. By default eight poisoned ones."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, metavar="S", help="Of a preset: the seed of the round.")] = None,
    scale: Annotated[
        str | None, typer.Option(help="Of a preset: small, the default, or nist.", show_default=False)
    ] = None,
) -> None:
    """Draw 64 samples of a round's images without the trigger and, below them, with it. Nothing needs to be built."""
    import io

    from palladion.files import write_atomically
    from palladion.models.round_directory import MODELS
    from palladion.rounds.picture_sheet import choose_plans, picture_sheet
    from palladion.rounds.training_record import read_record

    _refuse_language(round_)
    built = Path(round_).is_dir()
    source = _load(_what_was_built_from(Path(round_)) if built else round_, scale)
    spec = source.with_options(seed=seed, models={})
    plans = choose_plans(spec, split, model or [])
    attempts = {}
    if built and spec == source:
        for plan in plans:
            directory = Path(round_) / plan.split / MODELS / plan.name
            if directory.is_dir():
                attempts[plan] = read_record(directory).last.attempt
    buffer = io.BytesIO()
    picture_sheet(spec, plans, attempts=attempts).save(buffer, "PNG")
    write_atomically(out, buffer.getvalue())
    typer.echo(f"{out}: {', '.join(plan.name for plan in plans)} of {spec.name}, split {split}, seed {spec.seed}")


def _what_was_built_from(directory: Path) -> str:
    """Path of the specification in a round."""
    from palladion.errors import InputError
    from palladion.models.round_directory import ROUND_FILE, SOURCES, RoundDirectory

    there = RoundDirectory.open(directory)
    if there.published or there.source != SOURCES[0]:
        raise InputError("does not hold what it was built from, so its images cannot be drawn again", path=directory)
    return str(directory / ROUND_FILE)


@app.command()
def audit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A round, a split as NIST publishes it, or a METADATA.csv alone.",
            show_default=False,
        ),
    ],
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Try to predict the label from everything that should not carry it; exit code 1 if anything does."""
    import json

    from palladion.rounds.audit import audit_round

    found = audit_round(path)
    if json_wanted:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        _show_audit(found)
    if found.leaks:
        sys.exit(1)


_MOST_TRIALS = 20


def _show_audit(found: "Audit") -> None:
    """The strongest tries as a table, every leak among them, and the verdict."""
    from rich.table import Table
    from rich.text import Text

    from palladion.models.model_files import printable
    from palladion.reports.tables import show as print_tables

    leaks = sum(trial.association.leaks for trial in found.trials)
    table = Table(box=None, pad_edge=False)
    table.add_column("factor", overflow="fold")
    table.add_column("split", no_wrap=True)
    for heading in ("models", "AUC", "95% interval", "p", "corrected p"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for trial in found.trials[: max(_MOST_TRIALS, leaks)]:
        tried = trial.association
        low, high = tried.interval
        table.add_row(
            Text(printable(tried.name)),
            trial.split,
            str(tried.models),
            f"{tried.auc:.3f}",
            Text(f"[{low:.3f}, {high:.3f}]"),
            f"{tried.p_value:.4f}",
            f"{tried.adjusted_p_value:.3f}",
            Text("LEAKS", style="bold red") if tried.leaks else "",
        )
    print_tables(table)
    for notice in found.notices:
        typer.echo(notice)
    tries = len(found.trials)
    more = f" ({tries - table.row_count} weaker ones are in --json)" if tries > table.row_count else ""
    typer.echo(f"{tries} tries{more}; not tried: {len(found.excluded)} columns (--json says why)")
    if leaks:
        typer.echo(f"{leaks} of them tell the label by more than chance: the round leaks", err=True)
    else:
        typer.echo("nothing tells the label by more than chance, for so many tries")


@app.command()
def publish(
    directory: Directory,
    out: Annotated[Path, typer.Option(metavar="ZIP", help="The zip to write.", show_default=False)],
    phase: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of a round of a language track: the phase; may be left out where there is one.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a zip that is there.")] = False,
) -> None:
    """Pack only what participants may have of a round, as one zip for any file server. Nothing sealed is in it."""
    from palladion.rounds.publication import publish_round

    done = publish_round(directory, out, phase=phase, force=force)
    for note in done.notes:
        typer.echo(note, err=True)
    typer.echo(f"{out}: {done.files} files, {done.bytes:,} bytes, SHA-256 {done.sha256}")


@import_app.command("nist")
def import_nist(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="One split as NIST publishes it, with models/id-*/.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="ROUND", help="Round to make, or to add to.", show_default=False)],
    split: Annotated[
        str | None, typer.Option(help="train, test or holdout; by default what DIR's name says.", show_default=False)
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Family of rounds; by default from DIR's path.", show_default=False),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Share the files on disk with DIR, or copy them.")
    ] = False,
) -> None:
    """Import one split of a round in NIST's layout; its pickles are copied, never opened."""
    from palladion.rounds.nist_import import import_nist

    try:
        report = import_nist(directory, out, split=split, family=family, link=link)
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on where it was (in {out})", err=True)
        raise
    for notice in report.notices:
        typer.echo(notice, err=True)
    typer.echo(
        f"{out}: {report.split} holds {report.models} models, {report.poisoned} of them poisoned; "
        f"imported {report.imported}"
    )


@export_app.command("nist")
def export_nist(
    directory: Annotated[Path, typer.Argument(metavar="ROUND", help="The round.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory to make, or to go on in.", show_default=False)],
    split: Annotated[
        str | None, typer.Option(help="train, test or holdout; all that there are if left out.", show_default=False)
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="FORM",
            help="pickle: model.pt as NIST has it; directory: as it is. Built rounds give pickles, imported ones stay.",
            show_default=False,
        ),
    ] = None,
    test_server: Annotated[
        bool,
        typer.Option("--test-server", help="Keep all that is sealed in a tree of its own, groundtruth/."),
    ] = False,
) -> None:
    """Export a round in NIST's layout, as DIR/train-dataset/ and so on."""
    from typing import get_args

    from palladion.errors import InputError
    from palladion.rounds.nist_export import Form, export_nist

    chosen: Form | None = None
    if form is not None:
        chosen = next((known for known in get_args(Form) if known == form), None)
        if chosen is None:
            raise InputError(f"--as: there is no form {form!r}; there are {', '.join(get_args(Form))}")
    try:
        report = export_nist(directory, out, split=split, form=chosen, test_server=test_server)
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on where it was (in {out})", err=True)
        raise
    counts = ", ".join(f"{name} {models}" for name, models in report.models.items())
    typer.echo(f"{out}: {counts} models; wrote {report.exported}")
