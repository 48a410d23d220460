"""A prevalence sweep: on a page, as a CSV file, and on paper."""

import csv
import io
from pathlib import Path
from typing import Final

from palladion.errors import InputError, PalladionError
from palladion.files import write_atomically
from palladion.reports.figures.figure import Column, Figure, rounded
from palladion.reports.figures.style import BLUE, GREY, VERMILLION, axis, layout
from palladion.scoring import PrevalenceSweep

__all__ = [
    "FIGURE_SUFFIXES",
    "draw_sweep",
    "require_matplotlib",
    "sweep_csv",
    "sweep_figure",
    "sweep_image",
    "write_sweep",
]

FIGURE_SUFFIXES: Final = (".png", ".pdf", ".svg")

# What both drawings call the same.
_EXPECTED: Final = "expected over all subsets"
_GUESSING: Final = "guessing the base rate"
_TARGET: Final = "half of that: the target"
_SHARE: Final = "poisoned models (%)"
_ENTROPY: Final = "cross-entropy (nats)"

_COLUMNS: Final = (
    Column("level", "poisoned (%)", "count"),
    Column("poisoned", "poisoned", "count"),
    Column("clean", "clean", "count"),
    Column("expected_cross_entropy", "cross-entropy expected (nats)"),
    Column("lowest", "lowest subset"),
    Column("highest", "highest subset"),
    Column("base_rate_cross_entropy", "guessing"),
    Column("success_target", "target"),
    Column("reached", "target reached", "text"),
)


def sweep_figure(sweep: PrevalenceSweep) -> Figure:
    """The cross-entropies of the subsets, their exact mean, the base-rate guess and its half; below, the AUCs.

    The table has a row a level; the CSV file (:func:`sweep_csv`) one a level and subset.
    """
    percent = rounded(100 * sweep.prevalence)
    repeats = sweep.cross_entropy.shape[1]
    every = [share for share in percent for _ in range(repeats)]
    reached = sweep.expected_cross_entropy <= sweep.success_target
    rows = tuple(
        {
            "level": int(level),
            "poisoned": int(sweep.poisoned[i]),
            "clean": int(sweep.clean[i]),
            "expected_cross_entropy": float(sweep.expected_cross_entropy[i]),
            "lowest": float(sweep.cross_entropy[i].min()),
            "highest": float(sweep.cross_entropy[i].max()),
            "base_rate_cross_entropy": float(sweep.base_rate_cross_entropy[i]),
            "success_target": float(sweep.success_target[i]),
            "reached": "yes" if reached[i] else "no",
        }
        for i, level in enumerate(sweep.level)
    )
    dots = {"type": "scatter", "mode": "markers", "x": every, "marker": {"color": BLUE, "size": 4, "opacity": 0.75}}
    lines = (
        (_EXPECTED, sweep.expected_cross_entropy, {"color": BLUE, "width": 2.5}),
        (_GUESSING, sweep.base_rate_cross_entropy, {"color": GREY, "width": 2, "dash": "dash"}),
        (_TARGET, sweep.success_target, {"color": VERMILLION, "width": 2.5, "dash": "dot"}),
    )
    drawing = {
        "data": [
            {
                **dots,
                "name": f"{repeats} random subsets a level",
                "y": rounded(sweep.cross_entropy.ravel()),
                "hovertemplate": "%{x:.1f} %: %{y:.4f} nats<extra></extra>",
            },
            *(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": name,
                    "x": percent,
                    "y": rounded(values),
                    "line": line,
                    "hovertemplate": "%{x:.1f} %: %{y:.4f} nats<extra>" + name + "</extra>",
                }
                for name, values, line in lines
            ),
            {
                **dots,
                "name": "AUC of the subsets",
                "y": rounded(sweep.roc_auc.ravel()),
                "yaxis": "y2",
                "showlegend": False,
                "hovertemplate": "%{x:.1f} %: AUC %{y:.4f}<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": "AUC expected",
                "x": [percent[0], percent[-1]],
                "y": rounded([sweep.expected_roc_auc] * 2),
                "yaxis": "y2",
                "line": {"color": BLUE, "width": 2.5},
                "showlegend": False,
                "hovertemplate": "AUC %{y:.4f}<extra></extra>",
            },
        ],
        "layout": layout(
            height=600,
            xaxis=axis(_SHARE, range=[0, 100], anchor="y2"),
            yaxis=axis(_ENTROPY, domain=[0.36, 1], rangemode="tozero"),
            yaxis2=axis("ROC AUC", domain=[0, 0.27]),
        ),
    }
    levels = sweep.level[reached]
    told = f"It is reached at {levels.size} of {len(rows)} levels" + (
        f", from {levels.min()} % to {levels.max()} %." if levels.size else "."
    )
    notes = (
        "What the score would be if another share of the models were poisoned: at each level random subsets of these "
        "data points, as large as they can be, with the exact mean over all such subsets.",
        f"The target is half the cross-entropy of always answering the share of poisoned models. {told}",
    )
    return Figure("sweep", "Other shares of poisoned models", notes, drawing, _COLUMNS, rows)


def sweep_csv(sweep: PrevalenceSweep) -> str:
    """One row a level and repeat; the columns are those of :meth:`PrevalenceSweep.rows`. Nothing is rounded."""
    buffer = io.StringIO(newline="")
    writer: csv.DictWriter[str] | None = None
    for row in sweep.rows():
        if writer is None:
            writer = csv.DictWriter(buffer, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return buffer.getvalue()


def write_sweep(sweep: PrevalenceSweep, path: Path) -> None:
    """Write :func:`sweep_csv` into a file."""
    write_atomically(path, sweep_csv(sweep))


def require_matplotlib(path: Path) -> None:
    """See that a figure can be drawn into ``path``, before anything is computed for it.

    Raises:
        InputError: the file's name has no known ending.
        PalladionError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise InputError(f"a figure's name must end in one of {', '.join(FIGURE_SUFFIXES)}", path=path)
    _require_matplotlib()


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PalladionError("figures need matplotlib: pip install 'palladion[figures]'") from None


def draw_sweep(sweep: PrevalenceSweep, path: Path, *, title: str = "") -> None:
    """Write :func:`sweep_image` into a file, in the format of its ending."""
    require_matplotlib(path)
    write_atomically(path, sweep_image(sweep, path.suffix[1:].lower(), title=title))


def sweep_image(sweep: PrevalenceSweep, kind: str, *, title: str = "") -> bytes:
    """What :func:`sweep_figure` draws, on paper.

    Args:
        sweep: the scores.
        kind: png, pdf or svg.
        title: above it.

    Raises:
        PalladionError: matplotlib is not installed.
    """
    _require_matplotlib()
    # Not pyplot: that keeps figures in a global list and may look for a display.
    from matplotlib.figure import Figure as Sheet

    sheet = Sheet(figsize=(8, 7), layout="constrained")
    entropy, auc = sheet.subplots(2, sharex=True, height_ratios=(3, 1.4))
    percent = 100 * sweep.prevalence
    repeats = sweep.cross_entropy.shape[1]
    for axes, subsets in ((entropy, sweep.cross_entropy), (auc, sweep.roc_auc)):
        for repeat in range(repeats):
            label = f"{repeats} random subsets a level" if repeat == 0 else None
            axes.plot(percent, subsets[:, repeat], ".", color=BLUE, markersize=3, alpha=0.35, label=label)
        axes.grid(visible=True, alpha=0.3)
    entropy.plot(percent, sweep.expected_cross_entropy, color=BLUE, label=_EXPECTED)
    entropy.plot(percent, sweep.base_rate_cross_entropy, color=GREY, linestyle="--", label=_GUESSING)
    entropy.plot(percent, sweep.success_target, color=VERMILLION, linestyle=":", linewidth=2, label=_TARGET)
    auc.axhline(sweep.expected_roc_auc, color=BLUE)
    entropy.set_ylim(bottom=0)
    entropy.set_ylabel(_ENTROPY)
    # A file's name may hold a dollar sign, which would begin a formula.
    entropy.set_title(title, parse_math=False)
    entropy.legend()
    auc.set_xlim(0, 100)
    auc.set_ylabel("ROC AUC")
    auc.set_xlabel(_SHARE)
    buffer = io.BytesIO()
    sheet.savefig(buffer, format=kind, dpi=150)
    return buffer.getvalue()
