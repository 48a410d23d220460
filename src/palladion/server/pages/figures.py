"""Small figures within tables, as SVG: attributes alone, because a page may hold no style."""

from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from palladion.server.models import HistoryPoint

__all__ = ["bar", "sparkline"]

_WIDTH, _HEIGHT = 96, 20
_MOST_POINTS = 60


def bar(share: float | None, label: str) -> Markup:
    """How much of a way is done.

    Args:
        share: from 0 to 1; what is outside is drawn at the end. None: nothing is drawn.
        label: what a screen reader says.
    """
    if share is None:
        return Markup()
    width = round(max(0.0, min(1.0, share)) * _WIDTH, 1)
    kind = "bar full" if share >= 1 else "bar"
    return Markup(
        '<svg class="{}" viewBox="0 0 {} 8" width="{}" height="8" role="img" aria-label="{}">'
        '<rect class="track" width="{}" height="8" rx="4"/><rect class="fill" width="{}" height="8" rx="4"/></svg>'
    ).format(kind, _WIDTH, _WIDTH, label, _WIDTH, width)


def sparkline(
    history: Sequence[HistoryPoint], label: str, *, higher_is_better: bool, until: datetime | None = None
) -> Markup:
    """The best of a team over time, as steps; upwards is always better.

    Args:
        history: oldest first.
        label: what a screen reader says.
        higher_is_better: of the values; otherwise they are drawn upside down.
        until: where the line ends; None: at the last value.
    """
    if not history:
        return Markup()
    points = [(point.at, point.value) for point in history[-_MOST_POINTS:]]
    start = points[0][0]
    end = max(points[-1][0], until) if until is not None else points[-1][0]
    length = (end - start).total_seconds()
    values = [value if higher_is_better else -value for _, value in points]
    low, high = min(values), max(values)

    def x(at: datetime) -> float:
        return 2 + (_WIDTH - 4) * ((at - start).total_seconds() / length if length > 0 else 1.0)

    def y(value: float) -> float:
        return _HEIGHT - 3 - (_HEIGHT - 6) * ((value - low) / (high - low) if high > low else 0.5)

    path = [f"M{x(start):.1f} {y(values[0]):.1f}"]
    for (at, _), value in zip(points[1:], values[1:], strict=True):
        path.append(f"H{x(at):.1f}V{y(value):.1f}")
    if until is not None or length == 0:
        path.append(f"H{_WIDTH - 2}")
    return Markup(
        '<svg class="spark" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{label}">'
        '<path d="{path}"/><circle cx="{cx:.1f}" cy="{cy:.1f}" r="2"/></svg>'
    ).format(w=_WIDTH, h=_HEIGHT, label=label, path="".join(path), cx=x(points[-1][0]), cy=y(values[-1]))
