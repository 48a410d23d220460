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
    """Draw the cross-entropies of the subsets, their exact mean, the base-rate guess and its half; below, the AUCs."""
    require_matplotlib(path)
    # Not pyplot: that keeps figures in a global list and may look for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    entropy, auc = figure.subplots(2, sharex=True, height_ratios=(3, 1.4))
    percent = 100 * sweep.prevalence
    repeats = sweep.cross_entropy.shape[1]
    for axes, subsets in ((entropy, sweep.cross_entropy), (auc, sweep.roc_auc)):
        for repeat in range(repeats):
            label = f"{repeats} random subsets a level" if repeat == 0 else None
            axes.plot(percent, subsets[:, repeat], ".", color="#7f9bc4", markersize=3, alpha=0.6, label=label)
        axes.grid(visible=True, alpha=0.3)
    entropy.plot(percent, sweep.expected_cross_entropy, color="#1f3f77", label="expected over all subsets")
    entropy.plot(
        percent, sweep.base_rate_cross_entropy, color="#888888", linestyle="--", label="guessing the base rate"
    )
    entropy.plot(percent, sweep.success_target, color="#b5483a", label="half of that: the target")
    auc.axhline(sweep.expected_roc_auc, color="#1f3f77")
    entropy.set_ylim(bottom=0)
    entropy.set_ylabel("cross-entropy (nats)")
    # A file's name may hold a dollar sign, which would begin a formula.
    entropy.set_title(title, parse_math=False)
    entropy.legend()
    auc.set_xlim(0, 100)
    auc.set_ylabel("ROC AUC")
    auc.set_xlabel("poisoned models (%)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=150)
    write_atomically(path, buffer.getvalue())
