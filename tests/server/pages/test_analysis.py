"""What pages show of single data points, and to whom."""

import csv
import io
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest

from palladion.reports.figures.sweep import sweep_csv
from palladion.scoring import cross_entropy, mean_cross_entropy, prevalence_sweep, subset_sizes
from palladion.server.errors import ApiError
from palladion.server.pages.analyses import Kept
from palladion.storage import stages
from palladion.storage.tables import Submission
from tests.server.pages.browser import Browser
from tests.server.pages.evaluated import ANALYSIS, LABELS, STRANGE, answers, evaluated, make_analysed
from tests.server.site import Site

OPEN, SEALED, HELD = answers(17), answers(29), answers(43)
FIGURES = ["sweep", "reliability", "roc", "cross-entropy", "mistakes", "factors", "effects", "interactions"]
HIDDEN = "the test split is sealed: single data points and logs of it are never shown"


@dataclass
class Made:
    """A site with a submission whose points its team may see, and others whose points it may not."""

    site: Site
    open: Submission
    sealed: Submission
    other: Submission
    labels: Submission


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    site = make_analysed(tmp_path_factory.mktemp("analysed"))
    shown = evaluated(site, "round-0", [*OPEN[:-1], None])
    other = evaluated(site, "round-0", answers(5), team=1)
    with site.database.write() as tx:
        stages.change(tx, site.world.stages["round-0"].id, "closed", now=site.world.clock(), actor="olga")
        stages.change(tx, site.world.stages["round-1"].id, "open", now=site.world.clock(), actor="olga")
    sealed = evaluated(site, "round-1", SEALED, splits=("test", "holdout"))
    labels = site.scored("development", {"overall": 50.0})
    yield Made(site, shown, sealed, other, labels)
    site.database.close()


def address(found: Submission, ending: str = "", stage: str = "round-0", **query: Any) -> str:
    return f"{ANALYSIS}/{stage}/analysis{ending}?{urlencode({'submission': found.id, **query}, doseq=True)}"


def truth(where: slice = slice(None)) -> list[bool]:
    return list(LABELS[where])


def given(probabilities: list[float]) -> list[float]:
    """As they are scored: the last data point of the open submission was not answered."""
    return [*probabilities[:-1], 0.5]


# --- What is shown ----------------------------------------------------------------------------------------------------


def test_a_team_sees_every_figure_of_an_open_split_as_drawing_and_as_table(made: Made) -> None:
    client = Browser(made.site, "person-0")
    page = client.get(address(made.open))
    assert page.status_code == 200, page.text
    for name in FIGURES:
        assert f'<figure class="plot" id="{name}">' in page.text
    drawings = re.findall(r'<script type="application/json" id="drawing-[a-z-]+">(.*?)</script>', page.text, re.DOTALL)
    assert len(drawings) == len(FIGURES) - 1
    for drawing in drawings:
        assert set(json.loads(drawing)) == {"data", "layout"}
    assert page.text.count("<table>") >= len(FIGURES)
    found = client.get(address(made.open, ".json")).json()["analysis"]
    assert [figure["name"] for figure in found["figures"]] == FIGURES
    assert (found["n"], found["poisoned"], found["missing"]) == (24, 12, 1)
    score = next(score for score in found["scores"] if score["metric"] == "cross_entropy")
    assert score["value"]["value"] == pytest.approx(mean_cross_entropy(given(OPEN), truth()))
    assert score["value"]["low"] < score["value"]["value"] < score["value"]["high"]
    assert score["value"]["text"] in page.text


def test_names_from_the_data_are_text_wherever_they_stand(made: Made) -> None:
    text = Browser(made.site, "person-0").get(address(made.open)).text
    assert STRANGE not in text
    assert "background: &lt;/script&gt;" in text or "&lt;/script&gt;&lt;b&gt;strange" in text
    assert STRANGE in unescape(text)


def test_pages_let_scripts_write_styles_only_where_something_is_drawn(made: Made) -> None:
    client = Browser(made.site, "person-0")
    drawn = client.get(address(made.open)).headers["content-security-policy"]
    assert "style-src 'self' 'unsafe-inline'" in drawn
    assert "script-src 'self';" in drawn
    plain = Browser(made.site).get(f"{ANALYSIS}/round-0/analysis").headers["content-security-policy"]
    assert "unsafe-inline" not in plain


def test_the_data_points_as_csv_hold_their_factors(made: Made) -> None:
    rows = list(csv.DictReader(io.StringIO(Browser(made.site, "person-0").get(address(made.open, ".csv")).text)))
    assert list(rows[0]) == [
        "data_point", "poisoned", "probability", "missing", "error", "seconds",
        "architecture", "background", "trigger_type",
    ]  # fmt: skip
    assert len(rows) == 24
    costs = cross_entropy(given(OPEN), truth())
    assert rows[0]["data_point"] == f"id-{int(costs.argmax()):08d}"
    by_name = {row["data_point"]: row for row in rows}
    assert float(by_name["id-00000003"]["probability"]) == OPEN[3]
    assert (by_name["id-00000003"]["architecture"], by_name["id-00000003"]["trigger_type"]) == ("vgg", "polygon")
    assert by_name["id-00000002"]["trigger_type"] == ""
    assert (by_name["id-00000023"]["probability"], by_name["id-00000023"]["error"]) == ("", "timeout")


# --- Any part of it ---------------------------------------------------------------------------------------------------


def test_a_part_by_factors_has_the_scores_of_that_part(made: Made) -> None:
    client = Browser(made.site, "person-0")
    where = ["architecture:resnet", "poisoned:poisoned"]
    found = client.get(address(made.open, ".json", where=where)).json()["analysis"]
    chosen = [i for i in range(24) if i // 2 % 2 == 0 and LABELS[i]]
    assert (found["n"], found["all"], found["where"]) == (len(chosen), 24, where)
    score = next(score for score in found["scores"] if score["metric"] == "cross_entropy")
    assert score["value"]["value"] == pytest.approx(
        mean_cross_entropy([given(OPEN)[i] for i in chosen], [True] * len(chosen))
    )
    # With one class alone there are no AUC, no sweep and no target, and that is said.
    assert next(score for score in found["scores"] if score["metric"] == "roc_auc")["value"] is None
    assert found["target"] is None
    page = unescape(client.get(address(made.open, where=where)).text)
    assert f"{len(chosen)} of 24 data points" in page
    assert "needs poisoned and clean data points" in page
    assert 'value="architecture:resnet" checked' in page


def test_another_prevalence_is_a_random_subset_that_can_be_had_again(made: Made) -> None:
    client = Browser(made.site, "person-0")
    one, same, other = (
        client.get(address(made.open, ".json", prevalence="0.2", draw=draw)).json()["analysis"] for draw in (0, 0, 1)
    )
    assert (one["poisoned"], one["n"] - one["poisoned"]) == subset_sizes(20, 12, 12)
    names = [[point["name"] for point in found["points"]] for found in (one, same, other)]
    assert names[0] == names[1] != names[2]
    page = client.get(address(made.open, prevalence="0.2"))
    assert "of which 20 % are poisoned" in page.text
    assert "draw=1" in page.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"where": "colour:red"}, "there is no factor 'colour'"),
        ({"where": "architecture:alexnet"}, "the factor architecture has no level 'alexnet'; it has resnet, vgg"),
        ({"where": "architecture"}, "is no condition"),
        ({"where": ["poisoned:clean", "trigger_type:filter"]}, "no data point has all of these levels"),
        ({"prevalence": "0.255"}, "share from 0.01 to 0.99 in whole percent"),
        ({"prevalence": "1"}, "share from 0.01 to 0.99"),
        ({"prevalence": "nan"}, "share from 0.01 to 0.99"),
        ({"where": "poisoned:clean", "prevalence": "0.5"}, "none of these is poisoned"),
    ],
)
def test_what_cannot_be_asked_for_is_told_in_words(made: Made, query: dict[str, Any], words: str) -> None:
    client = Browser(made.site, "person-0")
    page = client.get(address(made.open, **query))
    assert page.status_code == 422
    # The page begins a sentence with a capital.
    assert words[1:] in unescape(page.text)
    assert client.get(address(made.open, ".json", **query)).json()["error"]["code"] == "invalid"


def test_an_empty_form_asks_for_everything(made: Made) -> None:
    found = Browser(made.site, "person-0").get(address(made.open, ".json", prevalence="", where="", split="")).json()
    assert found["analysis"]["n"] == 24


# --- Files ------------------------------------------------------------------------------------------------------------


def test_the_sweep_is_the_one_of_the_command_line(made: Made) -> None:
    client = Browser(made.site, "person-0")
    expected = sweep_csv(prevalence_sweep(given(OPEN), truth()))
    found = client.get(address(made.open, "/sweep.csv"))
    assert found.text == expected
    assert found.headers["content-disposition"] == 'attachment; filename="demo-detection-round-0-sweep.csv"'
    # Of what the conditions leave; a prevalence changes nothing, for all are swept.
    part = client.get(address(made.open, "/sweep.csv", where="architecture:vgg", prevalence="0.3"))
    chosen = [i for i in range(24) if i // 2 % 2 == 1]
    assert part.text == sweep_csv(prevalence_sweep([given(OPEN)[i] for i in chosen], [LABELS[i] for i in chosen]))
    assert client.get(address(made.open, "/sweep.csv", where="poisoned:clean")).status_code == 422


def test_the_sweep_is_a_picture_too(made: Made) -> None:
    pytest.importorskip("matplotlib")
    found = Browser(made.site, "person-0").get(address(made.open, "/sweep.png"))
    assert found.content.startswith(b"\x89PNG")
    assert found.headers["content-type"] == "image/png"


@pytest.mark.parametrize("name", FIGURES[1:])
def test_every_figure_is_a_table_in_a_file(made: Made, name: str) -> None:
    client = Browser(made.site, "person-0")
    rows = list(csv.DictReader(io.StringIO(client.get(address(made.open, f"/{name}.csv")).text)))
    figures = client.get(address(made.open, ".json")).json()["analysis"]["figures"]
    (figure,) = [figure for figure in figures if figure["name"] == name]
    assert len(rows) == len(figure["rows"])
    if rows:
        assert list(rows[0]) == [column["name"] for column in figure["columns"]]


def test_there_are_no_other_figures(made: Made) -> None:
    client = Browser(made.site, "person-0")
    assert client.get(address(made.open, "/everything.csv")).status_code == 404
    assert client.get(address(made.open, "/holdout.csv")).status_code == 404


# --- Who may see it ---------------------------------------------------------------------------------------------------


def texts_of_sealed(made: Made, who: str | None) -> dict[str, tuple[int, str]]:
    """Everything that has to do with the sealed submission, by address: status and text."""
    client = Browser(made.site, who)
    endings = ["", ".json", ".csv", "/sweep.csv", "/sweep.png", *(f"/{name}.csv" for name in FIGURES)]
    asked = [address(made.sealed, ending, "round-1") for ending in endings]
    asked += [address(made.sealed, "", "round-1", split="holdout"), address(made.sealed, "", "round-1", prevalence=0.5)]
    asked += [f"{ANALYSIS}/round-1/analysis{ending}" for ending in ("", ".json", ".csv")]
    asked += [f"/submissions/{made.sealed.id}{ending}" for ending in ("", ".json", ".csv")]
    found = {one: client.get(one) for one in asked}
    return {one: (answer.status_code, answer.text) for one, answer in found.items()}


def planted(text: str) -> bool:
    return any(f"{value:.6f}"[1:] in text for value in SEALED)


@pytest.mark.parametrize("who", [None, "person-0", "person-1", "lone", "oscar"])
def test_single_data_points_of_a_sealed_split_are_shown_to_nobody_but_organisers(made: Made, who: str | None) -> None:
    # An organiser has looked before: what was made for them is kept, and is theirs alone.
    assert any(planted(text) for _, text in texts_of_sealed(made, "olga").values())
    found = texts_of_sealed(made, who)
    for where, (_, text) in found.items():
        assert not planted(text), (who, where)
        assert "drawing-" not in text, (who, where)
    if who == "person-0":
        status, text = found[address(made.sealed, "", "round-1")]
        assert status == 200
        assert HIDDEN in unescape(text)
        assert HIDDEN in unescape(found[f"/submissions/{made.sealed.id}"][1])
        assert json.loads(found[address(made.sealed, ".json", "round-1")][1])["analysis"]["figures"] == []
        assert found[address(made.sealed, "/sweep.csv", "round-1")][0] == 403
        assert found[address(made.sealed, "/roc.csv", "round-1")][0] == 403
    elif who is not None:
        assert found[address(made.sealed, "", "round-1")][0] == 404


def test_the_organiser_sees_a_sealed_split(made: Made) -> None:
    client = Browser(made.site, "olga")
    found = client.get(address(made.sealed, ".json", "round-1")).json()["analysis"]
    assert found["hidden"] is None
    assert found["split"] == "test"
    assert {point["name"]: point["probability"] for point in found["points"]}["id-00000005"] == SEALED[5]
    held = client.get(address(made.sealed, ".json", "round-1", split="holdout")).json()["analysis"]
    assert held["split"] == "holdout"
    assert client.get(address(made.sealed, "", "round-1", split="train")).status_code == 404


def test_others_do_not_see_what_a_team_sees(made: Made) -> None:
    for who in (None, "person-1", "lone", "oscar"):
        client = Browser(made.site, who)
        for ending in ("", ".json", ".csv", "/roc.csv"):
            assert client.get(address(made.open, ending)).status_code == 404, (who, ending)
        assert client.get(f"{ANALYSIS}/round-0/analysis").status_code == 200
    assert Browser(made.site).get(f"{ANALYSIS}/round-0/analysis.json").json()["choices"] == []


def test_the_best_of_whoever_asks_is_chosen_where_nothing_is(made: Made) -> None:
    for who, chosen in (("person-0", made.open), ("person-1", made.other)):
        found = Browser(made.site, who).get(f"{ANALYSIS}/round-0/analysis.json").json()
        assert [choice["submission"] for choice in found["choices"]] == [chosen.id]
        assert found["analysis"]["submission"] == chosen.id
    found = Browser(made.site, "olga").get(f"{ANALYSIS}/round-0/analysis.json").json()
    assert {choice["submission"] for choice in found["choices"]} == {made.open.id, made.other.id}


def test_a_submission_is_of_its_own_stage(made: Made) -> None:
    client = Browser(made.site, "person-0")
    assert client.get(address(made.open, "", "round-1")).status_code == 404
    assert client.get(f"{ANALYSIS}/round-9/analysis").status_code == 404
    assert client.get(f"{ANALYSIS}/round-0/analysis?submission={'a' * 20}").status_code == 404


def test_a_language_track_is_shown_by_task_and_attack_to_organisers(made: Made) -> None:
    attacks = [
        {"attack": "<i>word", "eligible": 40, "succeeded": 10, "asr": 25.0, "interval": [14.0, 40.0]},
        {"attack": "style", "eligible": 20, "succeeded": 0, "asr": 0.0, "interval": [0.0, 16.0]},
        {"attack": "no interval", "eligible": 20, "asr": 3.25},
    ]
    task = {"cacc": 91.25, "n_clean": 80, "attacks": attacks, "intervals": {"cacc": [83.0, 95.5]}}
    report = {"tasks": {"task1": task, "task2": None, "task3": "nothing"}}
    submission = made.site.scored("development", {"overall": 60.0}, mark="attacks", report=report)
    address = f"/challenges/demo/labels/development/analysis?submission={submission.id}"
    page = Browser(made.site, "olga").get(address)
    assert page.status_code == 200, page.text
    assert "&lt;i&gt;word" in page.text
    assert "<i>word" not in page.text
    table = Browser(made.site, "olga").get(address.replace("analysis?", "analysis/attacks.csv?")).text.splitlines()
    assert table[1:] == [
        "task1,clean,utility of clean rows,80,91.25,83.0,95.5",
        "task1,<i>word,success of the attack,40,25.0,14.0,40.0",
        "task1,style,success of the attack,20,0.0,0.0,16.0",
    ]
    hidden = Browser(made.site, "person-0").get(address)
    assert "Single data points are not shown" in hidden.text
    assert "style" not in hidden.text.partition("<main")[2]


def test_where_nothing_is_known_of_the_rows_that_is_said(made: Made) -> None:
    page = Browser(made.site, "olga").get(f"/challenges/demo/labels/development/analysis?submission={made.labels.id}")
    assert page.status_code == 200
    assert "No task was answered" in unescape(page.text)


def test_data_that_cannot_be_read_is_told_without_its_place(made: Made) -> None:
    metadata = made.site.world.folder / "data" / "round-1" / "holdout" / "METADATA.csv"
    before = metadata.read_text()
    metadata.write_text("nonsense\n")
    try:
        page = Browser(made.site, "olga").get(
            address(made.sealed, "", "round-1", split="holdout", where="poisoned:clean")
        )
    finally:
        metadata.write_text(before)
    assert page.status_code == 200
    assert "cannot be read" in unescape(page.text)
    assert str(made.site.world.folder) not in page.text
    # It was a fault of the moment, and is not kept.
    again = Browser(made.site, "olga").get(
        address(made.sealed, ".json", "round-1", split="holdout", where="poisoned:clean")
    )
    assert again.json()["analysis"]["n"] == 12


# --- Test against holdout ---------------------------------------------------------------------------------------------


def test_test_and_holdout_are_compared_when_the_stage_is_concluded(made: Made) -> None:
    page, table = f"{ANALYSIS}/round-1/analysis", f"{ANALYSIS}/round-1/analysis/holdout.csv"
    assert 'id="holdout"' not in Browser(made.site, "person-0").get(page).text
    made.site.conclude("round-1")
    for who in (None, "person-1", "person-0", "olga"):
        client = Browser(made.site, who)
        assert 'id="holdout"' in client.get(page).text, who
        (row,) = csv.DictReader(io.StringIO(client.get(table).text))
        assert row["team"] == "Team 0"


# --- What is kept -----------------------------------------------------------------------------------------------------


def test_what_was_made_is_made_once_and_the_oldest_is_forgotten() -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name.upper()

    kept = Kept(most=2)
    assert [kept.get((name,), partial(make, name)) for name in "abacab"] == list("ABACAB")
    # b was forgotten when c came, because a had been asked for since.
    assert made == ["a", "b", "c", "b"]


def test_what_cannot_be_made_is_not_kept_and_gives_its_turn_back() -> None:
    kept = Kept(at_once=1, patience=0.01)

    def fail() -> str:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            kept.get(("a",), fail)
    assert kept.get(("a",), lambda: "made") == "made"


def test_only_so_many_are_made_at_a_time() -> None:
    kept, begun, go = Kept(at_once=1, patience=0.05), threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        go.wait(10)
        return "slow"

    thread = threading.Thread(target=lambda: kept.get(("slow",), slow))
    thread.start()
    begun.wait(10)
    with pytest.raises(ApiError, match="being made"):
        kept.get(("other",), lambda: "other")
    go.set()
    thread.join(10)
    assert kept.get(("slow",), lambda: "made again") == "slow"
