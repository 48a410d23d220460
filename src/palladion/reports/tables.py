"""Reports as tables on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from palladion.reports.comparison import ComparedSubmission

__all__ = [
    "MOST_ROWS",
    "classification_table",
    "comparison_table",
    "metrics_table",
    "outcomes_table",
    "show",
    "track_tables",
]

MOST_ROWS = 40
"""A table of outcomes has no more rows; of more data points, only failures are shown."""

# An interval without width is easily misread: one model answered otherwise would move the score far more.
_NO_WIDTH = "no width: every model was answered equally well, so that resampling these models shows no other score"


def show(*parts: RenderableType) -> None:
    """Print the parts, one below the other, to standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        # A file or a pipe has no width; 80 columns would cut messages.
        console = Console(highlight=False, width=120)
    for part in parts:
        console.print(part)


def outcomes_table(outcomes: Sequence[Mapping[str, Any]]) -> tuple[RenderableType, ...]:
    """The outcomes of an evaluation: each with its answer beside the truth, then what went wrong in words."""
    failed = [outcome for outcome in outcomes if outcome["error"] is not None]
    rows = outcomes if len(outcomes) <= MOST_ROWS else failed[:MOST_ROWS]
    parts: list[RenderableType] = []
    if rows:
        table = _table()
        table.add_column("data point", no_wrap=True)
        for name in ("answer", "poisoned", "error", "seconds", "peak MiB"):
            table.add_column(name, justify="left" if name == "error" else "right", no_wrap=True)
        for outcome in rows:
            answer, memory = outcome["probability"], outcome["peak_memory_bytes"]
            table.add_row(
                outcome["data_point"],
                "–" if answer is None else f"{answer:.4f}",
                "yes" if outcome["poisoned"] else "no",
                outcome["error"] or "",
                f"{outcome['seconds']:.2f}",
                "–" if memory is None else f"{memory / 2**20:.0f}",
            )
        parts.append(table)
    parts += [Text(f"{outcome['data_point']}: {outcome['message']}") for outcome in failed[:MOST_ROWS]]
    if len(outcomes) > MOST_ROWS:
        shown = f"the first {MOST_ROWS} of {len(failed)} failures" if len(failed) > MOST_ROWS else "only failures"
        parts.append(Text(f"Of {len(outcomes)} data points, {shown} are listed; --json has all of them."))
    return tuple(parts)


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """The scores with their intervals, beside the target."""
    table = _table()
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column(f"{metrics['confidence']:.0%} interval", justify="right")
    table.add_column("")
    reached = {True: "reached", False: "not reached", None: "undefined: one class is absent"}[metrics["reached"]]
    entropy = f"target {metrics['success_target']:.4f}: {reached}"
    rows = (
        ("cross-entropy", metrics["cross_entropy"], metrics["cross_entropy_interval"], entropy),
        ("ROC AUC", metrics["roc_auc"], metrics["roc_auc_interval"], ""),
        ("Brier", metrics["brier"], metrics["brier_interval"], ""),
        ("accuracy", metrics["accuracy"], None, ""),
    )
    for name, value, interval, note in rows:
        table.add_row(name, _number(value), _interval(interval), note)
    n = metrics["n"]
    table.add_row("data points", str(n), "", f"{metrics['poisoned']} poisoned")
    table.add_row("missing", str(metrics["missing"]), "", f"of {n}; each counts as 0.5" if metrics["missing"] else "")
    if _is_point(metrics["cross_entropy_interval"]):
        table.caption = _NO_WIDTH
    if metrics["out_of_range"]:
        table.add_row("out of range", str(metrics["out_of_range"]), "", f"of {n}; each counts as 0.5")
    return table


def comparison_table(rows: Sequence[ComparedSubmission]) -> Table:
    """Submissions side by side, the best first, each with its difference from the first."""
    table = _table()
    table.add_column("submission")
    for name in ("cross-entropy, 95%", "target", "behind the first, 95%", "ROC AUC", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        reached = {True: "reached", False: "not reached", None: "undefined"}[row.reached]
        behind = row.behind_first
        table.add_row(
            Text(row.submission),
            f"{_number(row.cross_entropy)}  {_interval(row.cross_entropy_interval)}",
            f"{_number(row.success_target)} {reached}",
            "" if behind is None else f"{_number(behind.estimate)}  {_interval(behind.interval)}",
            _number(row.roc_auc),
            str(row.missing),
        )
    if any(_is_point(row.cross_entropy_interval) for row in rows):
        table.caption = _NO_WIDTH
    return table


def classification_table(metrics: Mapping[str, Any]) -> Table:
    """Clean accuracy, attack success and the scores made of them, in percent."""
    table = _table()
    table.add_column("score")
    table.add_column("percent", justify="right")
    table.add_column("inputs", justify="right")
    table.add_row("clean accuracy", f"{metrics['clean_accuracy']:.2f}", str(metrics["clean"]))
    for attack in metrics["attacks"]:
        table.add_row(f"attack success, {attack['attack']}", f"{attack['rate']:.2f}", str(attack["eligible"]))
    table.add_row("attack success, mean", f"{metrics['attack_success_rate']:.2f}", "")
    table.add_row("task score", f"{metrics['task_score']:.2f}", "")
    table.add_row("difference score", f"{metrics['difference_score']:.2f}", "")
    table.add_row("missing", "", str(metrics["missing"]))
    return table


def track_tables(report: Mapping[str, Any]) -> tuple[RenderableType, ...]:
    """The scores of a language track with their intervals, in percent, then what the answers were like."""
    intervals = report["intervals"]
    table = _table()
    table.add_column("score")
    table.add_column("percent", justify="right", no_wrap=True)
    table.add_column(f"{report['confidence']:.0%} interval", justify="right", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("")
    generated = "utility" in report
    name = f"utility ({report['utility_metric']})" if generated else "clean accuracy (CACC)"
    key = "utility" if generated else "cacc"
    table.add_row(name, _percent(report[key]), _percents(intervals[key]), str(report["n_clean"]), "")
    for attack in report["attacks"]:
        table.add_row(
            Text(f"attack success, {attack['attack']}"),
            _percent(attack["asr"]),
            _percents(attack["interval"]),
            str(attack["eligible"]),
            f"{attack['excluded']} left out: the target is their truth" if attack["excluded"] else "",
        )
    scores = (("attack success, mean", "asr"), ("task score", "task_score"), ("difference score", "difference_score"))
    for name, key in scores:
        table.add_row(name, _percent(report[key]), _percents(intervals[key]), "", "")
    if generated:
        rate, rows = report["degenerate_rate"], report["n_clean"] + report["n_poisoned"]
        kinds = ", ".join(f"{count} {kind}" for kind, count in report["degenerate"].items() if count)
        table.add_row("degenerate outputs", _percent(rate), _percents(intervals["degenerate_rate"]), str(rows), kinds)
    missing = report["missing"]
    if any(missing.values()):
        which = f"{missing['clean']} clean, {missing['poisoned']} poisoned: wrong, and attacks that succeeded"
        table.add_row("missing answers", "", "", str(sum(missing.values())), which)
    if report.get("unfinished_searches"):
        count = str(report["unfinished_searches"])
        table.add_row("unfinished searches", "", "", count, "took too long: attacks that succeeded")
    if not generated:
        return (table,)
    others = _table()
    others.add_column("utility of the clean rows")
    others.add_column("percent", justify="right", no_wrap=True)
    others.add_column(f"{report['confidence']:.0%} interval", justify="right", no_wrap=True)
    for metric, value in report["utilities"].items():
        others.add_row(metric, _percent(value), _percents(intervals["utilities"][metric]))
    return (table, others)


def _percent(value: float) -> str:
    return f"{value:.2f}"


def _percents(interval: Sequence[float]) -> str:
    return rf"\[{interval[0]:.2f}, {interval[1]:.2f}]"


def _is_point(interval: Sequence[float]) -> bool:
    return interval[0] == interval[1]


def _table() -> Table:
    return Table(box=box.SIMPLE, pad_edge=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:.4f}, {interval[1]:.4f}]".replace("[", r"\[")
