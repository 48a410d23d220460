"""Data points for figures, and what every figure must be."""

import json
from importlib import import_module

import numpy as np

from palladion.reports.figures.figure import Figure
from palladion.reports.figures.points import Points

WHITE, DARK = 1.0, 0.0085
"""Relative luminance of the pages' backgrounds: #ffffff and #14171b."""


def made_points(n: int = 60, *, seed: int = 0, missing: int = 3, clusters: bool = False) -> Points:
    """Answers of a detector that is better than guessing, and a design of three factors."""
    generator = np.random.default_rng(seed)
    poisoned = np.arange(n) % 2 == 1
    probability = np.clip(generator.normal(0.3 + 0.4 * poisoned, 0.25), 0.001, 0.999)
    absent = np.arange(n) < missing
    probability[absent] = 0.5
    return Points.of(
        names=[f"id-{i:08d}" for i in range(n)],
        poisoned=poisoned,
        probability=probability,
        missing=absent,
        errors=["time" if gone else None for gone in absent],
        seconds=generator.uniform(1, 2, n),
        columns={
            "architecture": ["resnet" if (i // 2) % 2 else "vgg" for i in range(n)],
            "background": ["city" if (i // 4) % 2 else "road" for i in range(n)],
            "trigger": ["" if not y else "filter" if (i // 8) % 2 else "polygon" for i, y in enumerate(poisoned)],
        },
        clusters=np.arange(n) // 6 if clusters else None,
    )


def check_figure(figure: Figure) -> None:
    """A figure is something that plotly takes and JSON can say, and has a row of every column."""
    if figure.drawing is not None:
        # Plotly's own checks of every key and value.
        import_module("plotly.graph_objects").Figure(figure.drawing)
        json.dumps(figure.drawing, allow_nan=False)
        assert figure.drawing["layout"]["paper_bgcolor"] == figure.drawing["layout"]["plot_bgcolor"] == "rgba(0,0,0,0)"
    columns = [column.name for column in figure.columns]
    assert len(set(columns)) == len(columns)
    for row in figure.rows:
        assert list(row) == columns
        assert all(cell is None or type(cell) in (str, int, float) for cell in row.values())
    json.dumps(list(map(dict, figure.rows)), allow_nan=False)
    assert all(note.endswith((".", ":")) for note in figure.notes)


def axis_titles(figure: Figure) -> list[str]:
    """The titles of all axes of a drawing."""
    assert figure.drawing is not None
    layout = figure.drawing["layout"]
    return [layout[name]["title"]["text"] for name in layout if name.startswith(("xaxis", "yaxis"))]
