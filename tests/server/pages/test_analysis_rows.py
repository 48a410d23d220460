"""What pages show of the single rows of a language track, and to whom."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from sqlalchemy import update

from palladion.scoring import PointScores, metric_value
from palladion.server.pages.row_lists import PAGE
from palladion.storage import evaluations
from palladion.storage.tables import PointScores as Kept
from palladion.storage.tables import Submission
from tests.server.pages.browser import Browser, text_of
from tests.server.pages.evaluated import evaluated_rows, make_analysed
from tests.server.site import Site

ANALYSIS = "/challenges/demo/labels/development/analysis"
EVIL = "<i>word"
CLEAN, EACH = 150, 60
UTILITY = [round(40 + 0.123457 * i, 6) for i in range(CLEAN)]
SUCCESS = [100.0 * (i % 3 == 0) for i in range(2 * EACH)]


def made_points() -> PointScores:
    """Two tasks: one with 150 clean rows and 60 of each of two attacks, one that was not answered."""
    return PointScores(
        "classification",
        {
            "one/utility": np.array(UTILITY),
            "one/success": np.array(SUCCESS),
            "one/attack": np.array([i // EACH for i in range(2 * EACH)]),
            "two/utility": np.zeros(0),
            "two/success": np.zeros(0),
            "two/attack": np.zeros(0, np.int32),
        },
    )


@dataclass
class Made:
    """A site with a submission whose rows are known on the sealed test split and on the open validation split."""

    site: Site
    rows: Submission


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    site = make_analysed(tmp_path_factory.mktemp("rows"))
    yield Made(site, evaluated_rows(site, made_points(), {"one": [EVIL, "style"]}))
    site.database.close()


def address(made: Made, ending: str = "", **query: Any) -> str:
    return f"{ANALYSIS}{ending}?{urlencode({'submission': made.rows.id, **query}, doseq=True)}"


def analysis(made: Made, who: str = "person-0", **query: Any) -> dict[str, Any]:
    answer = Browser(made.site, who).get(address(made, ".json", split="validation", **query))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["analysis"]
    return found


def value(found: dict[str, Any], metric: str) -> float | None:
    told = next(score["value"] for score in found["scores"] if score["metric"] == metric)
    return None if told is None else float(told["value"])


def test_a_team_reads_the_rows_of_an_open_split_page_by_page(made: Made) -> None:
    first, second = analysis(made), analysis(made, page=2)
    assert (first["n"], first["poisoned"], first["all"]) == (270, 120, 270)
    assert (first["rows"]["page"], first["rows"]["pages"], second["rows"]["page"]) == (1, 2, 2)
    assert [len(found["rows"]["rows"]) for found in (first, second)] == [PAGE, 270 - PAGE]
    rows = first["rows"]["rows"] + second["rows"]["rows"]
    assert [row["utility"] for row in rows[:CLEAN]] == UTILITY
    assert rows[1] == {
        "task": "one", "kind": "clean", "row": 2, "attack": None, "utility": UTILITY[1], "success": None,
    }  # fmt: skip
    assert rows[CLEAN] == {
        "task": "one", "kind": "poisoned", "row": 1, "attack": EVIL, "utility": None, "success": True,
    }  # fmt: skip
    browser = Browser(made.site, "person-0")
    assert browser.get(address(made, split="validation", page=3)).status_code == 404
    page = browser.page(address(made, split="validation"))
    following = re.search(r'<a rel="next" href="([^"]+)"', page)
    assert following is not None
    assert 'rel="prev"' not in page
    last = browser.page(unescape(following[1]).removesuffix("#rows"))
    assert "page 2 of 2" in text_of(last)
    assert 'rel="next"' not in last
    assert EVIL not in page + last
    assert EVIL in unescape(last)


def test_scores_of_all_rows_are_those_of_the_scorer(made: Made) -> None:
    found = analysis(made)
    for metric in ("overall", "cacc", "asr"):
        assert value(found, metric) == pytest.approx(metric_value(made_points(), metric)), metric
    one, two = found["rows"]["tasks"]
    assert (one["task"], one["clean"], one["poisoned"], one["answered"]) == ("one", CLEAN, 2 * EACH, True)
    assert one["scores"]["cacc"]["low"] < one["scores"]["cacc"]["value"] < one["scores"]["cacc"]["high"]
    assert (two["answered"], two["scores"]["asr"]["value"]) == (False, 100)
    page = text_of(Browser(made.site, "person-0").page(address(made, split="validation")))
    assert "was not answered" in page


def test_the_figure_has_the_groups_that_were_chosen(made: Made) -> None:
    def attacks(*where: str) -> list[str]:
        return [row["rows"] for figure in analysis(made, where=where)["figures"] for row in figure["rows"]]

    assert attacks() == [EVIL, "style"]
    assert attacks("attack:style") == ["style"]
    assert attacks("kind:poisoned", "task:one") == [EVIL, "style"]
    assert analysis(made, where=["kind:clean"])["figures"] == []


def test_a_part_has_the_scores_of_that_part(made: Made) -> None:
    word = analysis(made, where=["attack:" + EVIL])
    assert (word["n"], word["poisoned"], word["where"]) == (EACH, EACH, ["attack:" + EVIL])
    assert value(word, "asr") == pytest.approx(100 * 20 / 60)
    assert value(word, "cacc") is value(word, "overall") is None
    clean = analysis(made, where=["kind:clean", "task:one"])
    assert value(clean, "cacc") == pytest.approx(np.mean(UTILITY))
    assert value(clean, "asr") is None
    assert {row["kind"] for row in clean["rows"]["rows"]} == {"clean"}
    page = Browser(made.site, "person-0").page(address(made, split="validation", where=["kind:clean", "task:one"]))
    assert "150 of 270 rows" in text_of(page)
    assert 'value="kind:clean" checked' in page
    assert f'href="{ANALYSIS}?submission={made.rows.id}&amp;split=validation">All rows' in page
    # In another order, with the same conditions, from the first page.
    assert "where=kind%3Aclean&amp;where=task%3Aone&amp;split=validation&amp;sort=utility#rows" in page


def test_rows_are_sorted_by_the_address(made: Made) -> None:
    found = analysis(made, sort="-utility")["rows"]
    assert [row["utility"] for row in found["rows"][:3]] == UTILITY[:-4:-1]
    assert [row["success"] for row in analysis(made, sort="-success")["rows"]["rows"][:41]] == [True] * 40 + [False]
    page = Browser(made.site, "person-0").page(address(made, split="validation", sort="-utility"))
    assert re.search(r'aria-sort="descending"><a href="[^"]+">Utility', page)
    assert 'name="sort" value="-utility"' in page
    assert Browser(made.site, "person-0").get(address(made, sort="colour")).status_code == 422


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"where": "colour:red"}, "there is no factor 'colour'; there are task, kind, attack"),
        ({"where": "attack:none"}, "the factor attack has no level 'none'"),
        ({"where": ["kind:clean", "attack:style"]}, "no row has all of these levels"),
        ({"prevalence": "0.5"}, "shares of poisoned data points are of detection"),
    ],
)
def test_what_cannot_be_asked_for_is_told_in_words(made: Made, query: dict[str, Any], words: str) -> None:
    for ending in ("", ".csv"):
        answer = Browser(made.site, "person-0").get(address(made, ending, split="validation", **query))
        assert answer.status_code == 422
        assert words[1:] in unescape(answer.text)


def test_the_csv_has_every_row_that_was_chosen(made: Made) -> None:
    client = Browser(made.site, "person-0")
    rows = list(csv.DictReader(io.StringIO(client.get(address(made, ".csv", split="validation", page=2)).text)))
    assert list(rows[0]) == ["task", "kind", "row", "attack", "utility", "success"]
    assert len(rows) == 270
    assert [float(row["utility"]) for row in rows[:CLEAN]] == UTILITY
    assert [row["success"] for row in rows[CLEAN:]] == ["yes" if won else "no" for won in SUCCESS]
    part = client.get(address(made, ".csv", split="validation", where="attack:style", sort="-row")).text.splitlines()
    assert len(part) == EACH + 1
    assert part[1] == f"one,poisoned,{2 * EACH},style,,{'yes' if SUCCESS[-1] else 'no'}"


@pytest.mark.parametrize("who", [None, "person-0", "person-1", "lone", "oscar"])
def test_rows_of_a_sealed_split_are_shown_to_nobody_but_organisers(made: Made, who: str | None) -> None:
    asked = [
        address(made, ending, **{**query, **({"split": split} if split else {})})
        for ending in ("", ".json", ".csv", "/attacks.csv")
        for query in ({}, {"where": "kind:poisoned"}, {"sort": "-utility"}, {"where": "task:one", "page": 1})
        for split in ("", "test")
    ]
    planted = ("40.123457", "40.1", "style", "two")
    organiser, client = Browser(made.site, "olga"), Browser(made.site, who)
    # An organiser has looked before: what was made is kept, and is theirs alone.
    told = [organiser.get(one) for one in asked]
    assert all(answer.status_code == 200 for answer in told)
    assert any(planted[0] in answer.text for answer in told)
    for one in asked:
        answer = client.get(one)
        body = answer.text.partition("<main")[2] or answer.text
        assert not any(word in body for word in planted), (who, one)
        if "/attacks.csv" in one:
            assert answer.status_code == (403 if who == "person-0" else 404)
    if who == "person-0":
        assert "the test split is sealed" in unescape(client.get(address(made)).text)
        assert client.get(address(made, ".csv")).text == "task,kind,row,attack,utility,success\r\n"
    else:
        # The open split of another team is none of theirs either.
        for ending in ("", ".json", ".csv"):
            assert client.get(address(made, ending, split="validation")).status_code in (401, 303, 404)


def test_what_is_no_list_of_scores_is_left_out(made: Made) -> None:
    broken = evaluated_rows(made.site, made_points(), {"one": ["word"]}, team=1, mark="broken")
    with made.site.database.write() as tx:
        for evaluation in evaluations.of_submission(tx, broken.id):
            tx.execute(update(Kept).where(Kept.evaluation_id == evaluation.id).values(data=b"none"))
    answer = Browser(made.site, "person-1").get(f"{ANALYSIS}.json?submission={broken.id}&split=validation")
    assert answer.status_code == 200
    assert answer.json()["analysis"]["rows"] is None
