"""A prevalence sweep as a CSV file and as a figure on paper."""

import csv
import io
from pathlib import Path

from palladion.errors import InputError, PalladionError
from palladion.files import write_atomically
from palladion.scoring import PrevalenceSweep

__all__ = ["FIGURE_SUFFIXES", "draw_sweep", "require_matplotlib", "write_sweep"]

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")


def write_sweep(sweep: PrevalenceSweep, path: Path) -> None:
    """Write one row a level and repeat; the columns are those of :meth:`PrevalenceSweep.rows`."""
    buffer = io.StringIO(newline="")
    writer: csv.DictWriter[str] | None = None
    for row in sweep.rows():
        if writer is None:
            writer = csv.DictWriter(buffer, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    write_atomically(path, buffer.getvalue())


def require_matplotlib(path: Path) -> None:
    """See that a figure can be drawn into ``path``, before anything is computed for it.

    Raises:
        InputError: the file's name has no known ending.
        PalladionError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise InputError(f"a figure's name must end in one of {', '.join(FIGURE_SUFFIXES)}", path=path)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PalladionError("figures need matplotlib: pip install 'palladion[figures]'") from None


def draw_sweep(sweep: PrevalenceSweep, path: Path, *, title: str = "") -> None:
    """Draw the cross-entropies of the subsets, their exact mean, the base-rate guess and its half: the target."""
    require_matplotlib(path)
    # Not pyplot: that keeps figures in a global list and may look for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    percent = 100 * sweep.prevalence
    repeats = sweep.cross_entropy.shape[1]
    for repeat in range(repeats):
        label = f"{repeats} random subsets a level" if repeat == 0 else None
        axes.plot(percent, sweep.cross_entropy[:, repeat], ".", color="#7f9bc4", markersize=3, alpha=0.6, label=label)
    axes.plot(percent, sweep.expected_cross_entropy, color="#1f3f77", label="expected over all subsets")
    axes.plot(percent, sweep.base_rate_cross_entropy, color="#888888", linestyle="--", label="guessing the base rate")
    axes.plot(percent, sweep.success_target, color="#b5483a", label="half of that: the target")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("poisoned models (%)")
    axes.set_ylabel("cross-entropy (nats)")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=150)
    write_atomically(path, buffer.getvalue())
