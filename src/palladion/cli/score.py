"""``palladion score``: score answers that were made elsewhere."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palladion.cli.evaluate import check_output, cluster_of
from palladion.errors import InputError, PalladionError

if TYPE_CHECKING:
    from palladion.tracks.outputs import OutputFault

__all__ = ["app"]

app = typer.Typer(
    name="score", help="Score answers that were made elsewhere.", no_args_is_help=True, rich_markup_mode=None
)

_Predictions = Annotated[Path, typer.Argument(metavar="PREDICTIONS.csv", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
_Seed = Annotated[int, typer.Option(help="Of the random draws.")]
_Metadata = Annotated[
    Path,
    typer.Option("--truth", metavar="METADATA.csv", help="Columns model_name, poisoned.", show_default=False),
]
_LABEL = re.compile(r"[0-9]{1,9}")
_MOST_FAULTS = 20
_DATA_HELP = "Validation folder: clean.json, poisoned.json, meta.json."
_TWO_WAYS = "name either --data DIR, --clean FILE.csv and --poisoned FILE.csv, or PREDICTIONS.csv and --truth TRUTH.csv"


@app.command()
def detection(
    predictions: _Predictions,
    truth: _Metadata,
    json_wanted: _Json = False,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of METADATA.csv by which the bootstrap draws models together."),
    ] = None,
    seed: _Seed = 0,
) -> None:
    """Score the answers of a detector: columns model_name, probability.

    A model without an answer, or with one that is not a finite number, counts as missing; one outside [0, 1] as out of
    range. Both are scored as 0.5.
    """
    from palladion.reports.detection import detection_report

    outcomes, poisoned = _read_answers(predictions, truth)
    names = [outcome["data_point"] for outcome in outcomes]
    clusters = None if cluster is None else cluster_of(truth, cluster, names)
    report = detection_report(outcomes, poisoned, clusters=clusters, seed=seed)
    if json_wanted:
        _print_json(report)
        return
    from rich.text import Text

    from palladion.reports.tables import metrics_table, show

    faults = [outcome for outcome in outcomes if outcome["error"] is not None]
    shown = [Text(f"{outcome['data_point']}: {outcome['message']}") for outcome in faults[:_MOST_FAULTS]]
    if len(faults) > len(shown):
        shown.append(Text(f"… and {len(faults) - len(shown)} more; --json has all of them."))
    show(*shown, metrics_table(report["metrics"]))


@app.command()
def sweep(
    predictions: _Predictions,
    truth: _Metadata,
    csv_path: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write one row a level and subset.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw it; .pdf and .svg as well.")] = None,
    seed: _Seed = 0,
) -> None:
    """Score the answers as if 1 %, 2 %, … 99 % of the models were poisoned."""
    if csv_path is None and figure is None:
        raise InputError("nothing to do: name --csv FILE, --figure FILE.png, or both")
    for path in (csv_path, figure):
        if path is not None:
            check_output(path)
    from palladion.reports.figures.sweep import draw_sweep, require_matplotlib, write_sweep
    from palladion.scoring import UNANSWERED_PROBABILITY, prevalence_sweep

    if figure is not None:
        require_matplotlib(figure)
    outcomes, poisoned = _read_answers(predictions, truth)
    answers = [UNANSWERED_PROBABILITY if o["probability"] is None else o["probability"] for o in outcomes]
    result = prevalence_sweep(answers, poisoned, seed=seed)
    if csv_path is not None:
        write_sweep(result, csv_path)
    if figure is not None:
        draw_sweep(result, figure, title=predictions.name)
    missing = sum(outcome["error"] is not None for outcome in outcomes)
    typer.echo(f"{len(outcomes)} models, {missing} without an answer that counts")
    for level in (10, 50, 90):
        i = level - 1
        typer.echo(
            f"at {level} % poisoned: cross-entropy {result.expected_cross_entropy[i]:.4f} expected, "
            f"target {result.success_target[i]:.4f}"
        )


@app.command()
def classification(
    predictions: Annotated[
        Path | None,
        typer.Argument(metavar="PREDICTIONS.csv", help="With --truth: columns input_id, label.", show_default=False),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="TRUTH.csv",
            help="Columns input_id, label, target, attack; attack is empty for clean inputs.",
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help=_DATA_HELP)] = None,
    clean: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Column label: a row for each of clean.json.")
    ] = None,
    poisoned: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Column label: a row for each of poisoned.json.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="How many there are: a label beyond counts as missing.")
    ] = None,
    json_wanted: _Json = False,
    seed: _Seed = 0,
) -> None:
    """Score a mitigated classifier: a validation folder and labels for both of its files. All scores are in percent.

    An input without an answer counts as a wrong one, and of a triggered input as an attack that succeeded.

    Or one table of labels by input_id, PREDICTIONS.csv, and one of the truth.
    """
    if data is not None or clean is not None or poisoned is not None:
        if predictions is not None or truth is not None or data is None or clean is None or poisoned is None:
            raise InputError(_TWO_WAYS)
        from palladion.tracks.evaluation import evaluate_classification
        from palladion.tracks.inputs import Track
        from palladion.tracks.outputs import read_labels, refuse_fatal
        from palladion.tracks.validation import ValidationFolder

        folder = ValidationFolder.load(data, task=Track.CLASSIFICATION)
        labels, faults = read_labels(clean, rows=len(folder.clean), classes=classes)
        triggered, more = read_labels(poisoned, rows=len(folder.poisoned), classes=classes)
        refuse_fatal([*faults, *more])
        _show_track(evaluate_classification(folder, labels, triggered, seed=seed), [*faults, *more], json_wanted)
        return
    if predictions is None or truth is None:
        raise InputError(_TWO_WAYS)
    metrics = _classification_metrics(predictions, truth)
    if json_wanted:
        _print_json({"metrics": metrics})
        return
    from palladion.reports.tables import classification_table, show

    show(classification_table(metrics))


@app.command()
def generation(
    data: Annotated[Path, typer.Option(metavar="DIR", help=_DATA_HELP, show_default=False)],
    clean: Annotated[
        Path,
        typer.Option(metavar="FILE.json", help="Records with output: one for each of clean.json.", show_default=False),
    ],
    poisoned: Annotated[
        Path,
        typer.Option(
            metavar="FILE.json", help="Records with output: one for each of poisoned.json.", show_default=False
        ),
    ],
    utility: Annotated[
        str, typer.Option(metavar="METRIC", help="Of the task score: exact, token_f1, rouge_l, chrf or bleu.")
    ] = "rouge_l",
    json_wanted: _Json = False,
    seed: _Seed = 0,
) -> None:
    """Score generated texts: a validation folder and outputs for both of its files. All scores are in percent.

    An input without an output has a utility of 0, and is of a triggered input an attack that succeeded. An empty output
    is an output: it counts, and is compared as it is.
    """
    from palladion.scoring import UTILITIES

    if utility not in UTILITIES:
        raise InputError(f"--utility is {ascii(utility)[:40]}; it must be one of {', '.join(UTILITIES)}")
    from palladion.tracks.evaluation import evaluate_generation
    from palladion.tracks.inputs import Track
    from palladion.tracks.outputs import read_generations, refuse_fatal
    from palladion.tracks.validation import ValidationFolder

    folder = ValidationFolder.load(data, task=Track.GENERATION)
    texts, faults = read_generations(clean, rows=None, inputs=[row.row.values for row in folder.clean])
    triggered, more = read_generations(poisoned, rows=None, inputs=[row.row.values for row in folder.poisoned])
    refuse_fatal([*faults, *more])
    report = evaluate_generation(folder, texts, triggered, utility=utility, seed=seed)
    _show_track(report, [*faults, *more], json_wanted)


@app.command()
def phase(
    outputs: Annotated[
        Path, typer.Argument(metavar="OUTPUTS", help="A zip of outputs, or a folder of them.", show_default=False)
    ],
    directory: Annotated[
        Path,
        typer.Option("--round", metavar="ROUND", help="A round with what is sealed of it.", show_default=False),
    ],
    name: Annotated[str, typer.Option("--phase", help="development or test.")] = "development",
    json_wanted: _Json = False,
    seed: _Seed = 0,
) -> None:
    """Score a submission to a phase of a language track, as its server does. All scores are in percent.

    It is checked first: where there is an error nothing is scored, all faults are told, and the exit code is 1.
    A task without outputs counts 0.
    """
    from palladion.rounds.language import layout
    from palladion.submissions.phase_scores import score_submission
    from palladion.tracks.track_file import load_track

    folder = layout.existing_phase(directory, name)
    scores = score_submission(outputs, folder, load_track(folder), directory / layout.SEALED / name, seed=seed)
    if scores.errors:
        told = [f"{outputs}: cannot be scored; {len(scores.errors)} of its faults are errors:", *scores.faults]
        raise PalladionError("\n".join(map(str, told)))
    if json_wanted:
        _print_json(scores.to_dict())
        return
    from rich.text import Text

    from palladion.reports.tables import show, track_tables

    show(*(Text(str(fault)) for fault in scores.faults))
    for result in scores.results:
        show(Text(f"{result.task}: {result.score:.2f}", style="bold"))
        if result.report is not None:
            show(*track_tables(result.report))
    show(Text(f"overall, by {scores.ranked_by}: {scores.overall:.2f}", style="bold"))


@app.command()
def compare(
    reports: Annotated[
        list[Path],
        typer.Argument(metavar="REPORT.json...", help="Written by palladion evaluate --json.", show_default=False),
    ],
    json_wanted: _Json = False,
    seed: _Seed = 0,
) -> None:
    """Put evaluations of the same data points side by side, the best first.

    The difference of each from the first is tested on the same resamples of the data points (paired bootstrap).
    """
    from palladion.reports.comparison import compare_reports, read_report

    rows = compare_reports([read_report(path) for path in reports], seed=seed)
    if json_wanted:
        _print_json({"submissions": [row.to_dict() for row in rows]})
        return
    from palladion.reports.tables import comparison_table, show

    show(comparison_table(rows))


def _show_track(report: dict[str, Any], faults: "list[OutputFault]", json_wanted: bool) -> None:
    """Print what both language tracks print: the scores, and the faults that only cost answers."""
    if json_wanted:
        listed = [{"code": f.code, "file": f.file, "row": f.row, "message": f.message} for f in faults]
        _print_json({**report, "faults": listed})
        return
    from rich.text import Text

    from palladion.reports.tables import show, track_tables

    shown = [Text(str(fault)) for fault in faults[:_MOST_FAULTS]]
    if len(faults) > len(shown):
        shown.append(Text(f"… and {len(faults) - len(shown)} more; --json has them."))
    show(*shown, *track_tables(report))


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def _read_answers(predictions: Path, truth: Path) -> tuple[list[dict[str, Any]], list[bool]]:
    """One outcome a model of the truth, in the order of the names, and the labels."""
    from palladion.models.round_directory import read_labels, read_table
    from palladion.scoring import AnswerStatus, parse_answer

    labels = read_labels(truth)
    table = read_table(predictions, columns=("probability",))
    for name, (line, _) in table.items():
        if name not in labels:
            raise InputError(f"there is no model {name} in {truth}", path=predictions, line=line)
    outcomes: list[dict[str, Any]] = []
    for name in sorted(labels):
        line, row = table.get(name, (0, {}))
        text = row.get("probability")
        probability, status = parse_answer(text)
        error = message = None
        if status is AnswerStatus.MISSING:
            error = "no_answer"
            message = f"{predictions} has no row for it" if not line else f"line {line} has no probability"
        elif status is not AnswerStatus.OK:
            error = "bad_answer"
            message = f"line {line}: the probability is {ascii(text)[:60]}; it must be a number from 0 to 1"
        outcomes.append(
            {"data_point": name, "probability": probability, "error": error, "message": message, "status": status}
        )
    return outcomes, [labels[outcome["data_point"]] for outcome in outcomes]


def _classification_metrics(predictions: Path, truth: Path) -> dict[str, Any]:
    from palladion.models.round_directory import read_table
    from palladion.scoring import (
        MISSING_LABEL,
        clean_accuracy,
        difference_score,
        label_attack_success_rate,
        task_score,
    )

    rows = read_table(truth, key="input_id", columns=("label", "target", "attack"))
    answers = read_table(predictions, key="input_id", columns=("label",))
    for name, (line, _) in answers.items():
        if name not in rows:
            raise InputError(f"there is no input {name} in {truth}", path=predictions, line=line)
    given: dict[str, int] = {
        name: int(row["label"]) for name, (_, row) in answers.items() if _LABEL.fullmatch(row["label"])
    }
    clean: list[tuple[int, int]] = []
    triggered: list[tuple[int, int, int, str]] = []
    for name, (line, row) in rows.items():
        label = _label(row, "label", truth, line)
        answer = given.get(name, MISSING_LABEL)
        if row["attack"]:
            triggered.append((answer, label, _label(row, "target", truth, line), row["attack"]))
        else:
            clean.append((answer, label))
    if not clean or not triggered:
        kind = "triggered" if clean else "clean"
        raise InputError(f"holds no {kind} input (attack is empty for clean ones)", path=truth)
    utility = clean_accuracy(*zip(*clean, strict=True))
    answer_, label_, target_, attacks = zip(*triggered, strict=True)
    success = label_attack_success_rate(answer_, label_, target_, attacks=attacks)
    return {
        "n": len(rows),
        "clean": len(clean),
        "missing": len(rows) - len(given),
        "clean_accuracy": utility,
        "attack_success_rate": success.rate,
        "attacks": [
            {"attack": a.attack, "eligible": a.eligible, "succeeded": a.succeeded, "rate": a.rate}
            for a in success.attacks
        ],
        "task_score": task_score(utility, success.rate),
        "difference_score": difference_score(utility, success.rate),
    }


def _label(row: dict[str, str], column: str, path: Path, line: int) -> int:
    if not _LABEL.fullmatch(row[column]):
        raise InputError(f"{column} is {row[column]!r}; it must be a whole number from 0", path=path, line=line)
    return int(row[column])
