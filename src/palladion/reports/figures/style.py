"""Colours and axes.

Every colour has a contrast of at least 3 to 1 both against white and against a dark page, as WCAG 2.2 asks of graphics
(1.4.11), so that one drawing serves both; backgrounds are transparent. The colours are those of Okabe and Ito's
palette that do so, which people with any kind of colour blindness can tell apart; and nothing is told by colour alone,
but by the form of markers, dashes or hatching as well. The colour of words needs more contrast than one value can have
on both: the script of the page sets it, and that of the grid, as the page has them.
"""

from collections.abc import Sequence
from typing import Any, Final

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "MARKERS",
    "PURPLE",
    "VERMILLION",
    "axis",
    "band",
    "error_bars",
    "escaped",
    "layout",
    "straight",
]

BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
GREY: Final = "#7A7A7A"
"""For what is there to compare with: guessing, perfection."""

MARKERS: Final = ("circle", "diamond", "square", "triangle-up")
_CLEAR: Final = "rgba(0,0,0,0)"


def layout(**more: Any) -> dict[str, Any]:
    """A layout: transparent, with room for the axes' titles, the legend above the figure."""
    return {
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"size": 14, "color": GREY},
        "margin": {"l": 70, "r": 20, "t": 50, "b": 60},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        "hovermode": "closest",
        "height": 440,
        **more,
    }


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis; the title says the unit."""
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": "rgba(122,122,122,0.25)",
        "linecolor": GREY,
        "zeroline": False,
        "automargin": True,
        **more,
    }


def band(x: Sequence[Any], low: Sequence[Any], high: Sequence[Any], *, name: str, color: str) -> list[dict[str, Any]]:
    """Two traces: the lower edge, and the upper one with all that is between."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    edge = {"mode": "lines", "type": "scatter", "line": {"width": 0}, "hoverinfo": "skip"}
    fill = f"rgba({red},{green},{blue},0.25)"
    return [
        {**edge, "x": list(x), "y": list(low), "showlegend": False},
        {**edge, "x": list(x), "y": list(high), "name": name, "fill": "tonexty", "fillcolor": fill},
    ]


def straight(x: Sequence[float], y: Sequence[float], *, name: str, dash: str = "dash") -> dict[str, Any]:
    """A line to compare with."""
    line = {"color": GREY, "width": 1.5, "dash": dash}
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "name": name, "line": line}


def error_bars(values: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None]) -> dict[str, Any]:
    """Bars from the lower to the upper end of each interval; of no length where there is none."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if h is None else max(0.0, h - v) for v, h in zip(values, highs, strict=True)],
        "arrayminus": [0.0 if w is None else max(0.0, v - w) for v, w in zip(values, lows, strict=True)],
        "thickness": 1.5,
        "width": 3,
    }


def escaped(text: str) -> str:
    """A name for a drawing: plotly takes some tags in texts, links among them, and a team may call itself anything."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
