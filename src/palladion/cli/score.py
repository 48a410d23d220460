"""``palladion score``: score answers that were made elsewhere."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from palladion.cli.evaluate import check_output, cluster_of
from palladion.errors import InputError

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
    from palladion.reports.sweep import draw_sweep, require_matplotlib, write_sweep
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
    predictions: _Predictions,
    truth: Annotated[
        Path,
        typer.Option(
            "--truth",
            metavar="TRUTH.csv",
            help="Columns input_id, label, target, attack; attack is empty for clean inputs.",
            show_default=False,
        ),
    ],
    json_wanted: _Json = False,
) -> None:
    """Score a mitigated classifier: columns input_id, label. All scores are in percent.

    An input without an answer counts as a wrong one, and of a triggered input as an attack that succeeded.
    """
    metrics = _classification_metrics(predictions, truth)
    if json_wanted:
        _print_json({"metrics": metrics})
        return
    from palladion.reports.tables import classification_table, show

    show(classification_table(metrics))


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
