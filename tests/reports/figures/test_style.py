from itertools import combinations

import pytest

from palladion.reports.figures import style
from palladion.reports.figures.figure import Column, rounded

from .made import DARK, WHITE

COLORS = {name: getattr(style, name) for name in ("BLUE", "VERMILLION", "GREEN", "PURPLE", "GREY")}


def linear(color: str) -> list[float]:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(color: str) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(color), strict=True))


@pytest.mark.parametrize("name", COLORS)
@pytest.mark.parametrize("background", [WHITE, DARK], ids=["light", "dark"])
def test_every_colour_can_be_seen_on_light_and_on_dark(name: str, background: float) -> None:
    low, high = sorted((luminance(COLORS[name]), background))
    assert (high + 0.05) / (low + 0.05) >= 3


@pytest.mark.parametrize(("one", "other"), list(combinations(["BLUE", "VERMILLION", "GREEN"], 2)))
def test_colours_differ_for_people_who_see_no_red_or_no_green(one: str, other: str) -> None:
    # Viénot, Brettel and Mollon (1999), protanopia and deuteranopia, in linear RGB.
    kinds = (
        ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
        ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    )
    for matrix in kinds:
        seen = [
            [sum(a * b for a, b in zip(row, linear(COLORS[name]), strict=True)) for row in matrix]
            for name in (one, other)
        ]
        assert sum((a - b) ** 2 for a, b in zip(*seen, strict=True)) ** 0.5 > 0.1


def test_cells_are_shown_with_their_digits_and_nothing_as_a_dash() -> None:
    number, count, text = Column("a", "a", digits=2), Column("b", "b", "count"), Column("c", "c", "text")
    assert [number.text(0.126), number.text(3), number.text(None)] == ["0.13", "3.00", "–"]
    assert [count.text(12), text.text("polygon"), text.text(None)] == ["12", "polygon", "–"]


def test_numbers_of_drawings_are_short_and_never_nan() -> None:
    assert rounded([1 / 3, float("nan"), 2]) == [0.333333, None, 2.0]


def test_names_in_drawings_hold_no_tags() -> None:
    assert style.escaped('<a href="x">&') == '&lt;a href="x"&gt;&amp;'


def test_error_bars_reach_from_the_lower_to_the_upper_end() -> None:
    bars = style.error_bars([1.0, 2.0], [0.5, None], [1.25, None])
    assert (bars["arrayminus"], bars["array"]) == ([0.5, 0.0], [0.25, 0.0])
