"""Tables of the language tracks: a round and its models, and what mitigations scored on a phase of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["language_round_tables", "play_table"]


def play_table(played: Sequence[Mapping[str, Any]]) -> Table:
    """Mitigations side by side, the best first: each task's utility, attack success and score, with intervals."""
    table = Table(box=None, pad_edge=False)
    for name in ("mitigation", "task"):
        table.add_column(name, no_wrap=True)
    for name in ("utility, 95%", "attack success, 95%", "by attack", "degenerate", "score, 95%", "overall"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in played:
        for number, (task, report) in enumerate(entry["tasks"].items()):
            head = (Text("" if number else entry["method"]), Text(task))
            overall = "" if number else f"{entry['overall']:.1f}"
            if report is None:
                table.add_row(*head, "missing", "", "", "", "0.0", overall)
                continue
            utility = "cacc" if "cacc" in report else "utility"
            ranked = entry["ranked_by"]
            intervals = report["intervals"]
            table.add_row(
                *head,
                _percent(report[utility], intervals[utility]),
                _percent(report["asr"], intervals["asr"]),
                " ".join(f"{rate:.0f}" for rate in report["asr_by_attack"].values()),
                f"{report['degenerate_rate']:.1f}" if "degenerate_rate" in report else "",
                _percent(report[ranked], intervals[ranked]),
                overall,
            )
    return table


def _percent(value: float, interval: Sequence[float]) -> Text:
    return Text(f"{value:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]")


def language_round_tables(summary: Mapping[str, Any]) -> tuple[RenderableType, ...]:
    """A round of a language track: its base, and the models of each phase with what they reached."""
    said = f"{summary['title']} ({summary['name']}), {summary['track']}, seed {summary['seed']}"
    parts: list[RenderableType] = [Text(said, style="bold")]
    if base := summary["base"]:
        unigram = f"{base['unigram_loss']:.2f} for knowing only how often tokens occur"
        parts.append(Text(f"base: {base['parameters']:,} parameters, loss {base['loss']:.2f} nats a token ({unigram})"))
    for phase, tasks in summary["phases"].items():
        parts += [Text(""), Text(phase, style="bold"), _models(tasks)]
    return tuple(parts)


def _models(tasks: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("task", "model", "attack", "trigger", "target"):
        table.add_column(name)
    for name in ("rate", "utility", "clean model's", "attack success", "attempts", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for task in tasks:
        for model in task["models"]:
            measured = (model["utility"], task["clean_utility"], model["attack_success_rate"])
            missing = any(value is None for value in measured)
            table.add_row(
                Text(task["task"]),
                Text(model["model"]),
                Text(model["attack"]),
                Text(model["family"]),
                Text(model["target"], overflow="fold"),
                f"{model['rate']:.2f}",
                "not built" if missing else f"{model['utility']:.1f}",
                "" if missing else f"{task['clean_utility']:.1f}",
                "" if missing else f"{model['attack_success_rate']:.1f}",
                "" if missing else str(model["attempts"]),
                "" if missing or model["passed"] else "did not pass",
            )
    return table
