"""Organisers see what each team was told, in bits, and nobody else does."""

import math
import re
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from palladion.scoring import PointScores
from palladion.storage import stages
from tests.jobs.world import do_all, outputs
from tests.server.pages.browser import Browser
from tests.server.site import API, LABELS, Site
from tests.server.test_views import FEEDBACK

BOARD = f"{LABELS}/development/leaderboard"


def _leak(site: Site, who: str = "olga") -> Any:
    return site.client(who).get(BOARD).json()["leak"]


def _points(rows: int) -> PointScores:
    """Rows of a language track, all of them clean."""
    nothing = np.zeros(0)
    return PointScores(
        "classification",
        {"task1/utility": np.zeros(rows), "task1/success": nothing, "task1/attack": nothing.astype(np.int32)},
    )


def _policy(site: Site, policy: str) -> None:
    site.redefine((FEEDBACK[0], FEEDBACK[1].format(policy)))


def test_a_ladder_by_hand(site: Site) -> None:
    _policy(site, "policy: ladder, step: 5.0")
    # Told as 50; not better by 5; told as 55.
    ids = [
        site.scored("development", {"overall": (value, value - 7, value + 7), "cacc": 50.0}, mark=str(i), points=points)
        for i, (value, points) in enumerate(((51.9, _points(600)), (53.0, None), (57.4, None)))
    ]
    site.scored("development", {"overall": 20.0}, team=1)
    with site.database.write() as tx:
        stages.goal_reached(tx, ids[2].id, now=site.world.clock(), actor="service")
    # Of what does not rank nothing is told, so it counts for nothing.
    page = site.client("person-0").get(f"{API}/submissions/{ids[2].id}").json()
    assert (page["scores"]["overall"]["value"], page["scores"]["cacc"]) == (55.0, None)
    leak = _leak(site)
    # One of 41 values from -100 to 100; then one decision of two, and one of the ten values above; both with one of the
    # widths 1, 2, 5 and 10 steps or none of them; and the third was the first to reach the goal.
    bits = math.log2(41 * 5) + math.log2(3 * 2) + math.log2(10 * 5) + math.log2(3 * 4)
    assert leak["labels"] == 600
    assert leak["teams"][0] == {
        "team": {"id": site.teams[0].id, "name": "Team 0"},
        "submissions": 3,
        "tellings": 2,
        "bits": pytest.approx(bits),
        "share": pytest.approx(bits / 600),
    }
    assert (leak["teams"][1]["submissions"], leak["teams"][1]["tellings"]) == (1, 1)
    assert leak["teams"][1]["bits"] == pytest.approx(math.log2(41))
    assert leak["bits"] == pytest.approx(bits + math.log2(41))
    assert (leak["share"], leak["over"]) == (pytest.approx(bits / 600), False)


def test_organisers_alone_see_it(site: Site) -> None:
    site.scored("development", {"overall": 50.0}, points=_points(100))
    for who in ("person-0", "person-1", "oscar", "lone"):
        assert _leak(site, who) is None
    page = site.client("olga").get(f"{API}/challenges/demo/organising").json()
    (shown,) = [one["leak"] for one in page["leaks"] if one["stage"] == "development"]
    # An exact value has 52 bits of a hundred.
    assert shown == _leak(site)
    assert (shown["bits"], shown["over"]) == (52, True)
    assert "1 team has more than 10 %" in shown["words"]


@pytest.mark.parametrize(("policy", "rows"), [("policy: none", 16), ("policy: none, public: 0.5", 8)])
def test_the_labels_are_those_of_the_part_that_is_told_of(site: Site, policy: str, rows: int) -> None:
    _policy(site, policy)
    submission = site.world.submit(outputs(wrong=3), "development")
    do_all(site.world)
    leak = _leak(site)
    # Ten rows are clean, and of the poisoned ones six count: a label that is the target anyway says nothing.
    assert leak["labels"] == rows
    assert (leak["bits"], leak["share"], leak["words"]) == (0, 0, "Nothing has been told yet.")
    with site.database.write() as tx:
        stages.goal_reached(tx, submission.id, now=site.world.clock(), actor="service")
    # Anew after a while.
    site.world.clock.forward(timedelta(minutes=1))
    assert _leak(site)["bits"] == 1
    assert _leak(site)["share"] == pytest.approx(1 / rows)


def test_the_page_has_it_team_by_team(site: Site) -> None:
    _policy(site, "policy: ladder, step: 5.0")
    for mark, value in enumerate((50.0, 51.0, 60.0)):
        site.scored("development", {"overall": value}, mark=str(mark), points=_points(100))
    page = Browser(site, "olga").page("/challenges/demo/organise")
    table = page[page.index("What was told, team by team") :]
    cells = re.findall(r"<td[^>]*>\s*(?:<[^>]*>)*\s*([\d.]+)", table[: table.index("</table>")])
    # One of 41 values; one decision of two; one of the ten values from 55 to 100.
    bits = math.log2(41 * 6 * 10)
    assert cells[:3] == ["3", "2", f"{bits:.1f}"]
    assert f"{bits:.1f} %" in table
    assert "1 team has more than 10 %" in page
