from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge import (
    Asked,
    Ending,
    Feedback,
    Full,
    Hidden,
    Kind,
    Role,
    Shown,
    Told,
    Viewer,
    metric_of,
    tell,
    visibility,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
METRIC = metric_of("detection", "cross_entropy")
VALUE = 0.123456
ORGANISER = Viewer(Role.ORGANISER)
OWN = Viewer(Role.PARTICIPANT, "ours")
OTHER = Viewer(Role.PARTICIPANT, "theirs")
TEAMLESS = Viewer(Role.PARTICIPANT)
OBSERVER = Viewer(Role.OBSERVER)
ANONYMOUS = Viewer(Role.ANONYMOUS)
OTHERS = (OTHER, TEAMLESS, OBSERVER, ANONYMOUS)
ALL = (ORGANISER, OWN, *OTHERS)
SPLITS = ("train", "validation", "test", "holdout")
POLICIES = {
    "exact": Feedback(policy="exact"),
    "rounded": Feedback(policy="rounded", digits=2),
    "ladder": Feedback(policy="ladder", step=0.1),
    "bootstrap_ladder": Feedback(step=0.1),
    "none": Feedback(policy="none"),
}


def ask(kind: Kind, viewer: Viewer, **more: Any) -> str:
    """What is seen, as one word: ``full``, the value that is told, or ``hidden``."""
    options: dict[str, Any] = {"team": "ours", "ending": Ending.SCORED, "metric": METRIC, "value": VALUE} | more
    # As it was recorded when the evaluation ended.
    options = {"told": tell(options.get("feedback", Feedback()), METRIC, options["value"])} | options
    seen = visibility(Asked(kind, **options), viewer, NOW)
    if isinstance(seen, Hidden):
        assert seen.reason
        assert "0.12" not in seen.reason
        return "hidden"
    if isinstance(seen, Shown):
        return str(seen.told.value)
    return "full"


# Of a submission of "ours" that was scored, while the stage is not concluded, under the policy rounded to 2 digits:
# what the organiser, its own team, another team, a participant without one, an observer and everybody else see.
TABLE = {
    (Kind.STATUS, "train"): ("full", "full", "full", "full", "full", "full"),
    (Kind.STATUS, "validation"): ("full", "full", "full", "full", "full", "full"),
    (Kind.STATUS, "test"): ("full", "full", "full", "full", "full", "full"),
    (Kind.STATUS, "holdout"): ("full", "hidden", "hidden", "hidden", "hidden", "hidden"),
    (Kind.SCORE, "train"): ("full", "full", "full", "full", "full", "full"),
    (Kind.SCORE, "validation"): ("full", "full", "full", "full", "full", "full"),
    (Kind.SCORE, "test"): ("full", "0.12", "0.12", "0.12", "0.12", "0.12"),
    (Kind.SCORE, "holdout"): ("full", "hidden", "hidden", "hidden", "hidden", "hidden"),
    (Kind.OUTCOME, "train"): ("full", "full", "hidden", "hidden", "hidden", "hidden"),
    (Kind.OUTCOME, "validation"): ("full", "full", "hidden", "hidden", "hidden", "hidden"),
    (Kind.OUTCOME, "test"): ("full", "hidden", "hidden", "hidden", "hidden", "hidden"),
    (Kind.OUTCOME, "holdout"): ("full", "hidden", "hidden", "hidden", "hidden", "hidden"),
    (Kind.LOG, "train"): ("full", "full", "hidden", "hidden", "hidden", "hidden"),
    (Kind.LOG, "validation"): ("full", "full", "hidden", "hidden", "hidden", "hidden"),
    (Kind.LOG, "test"): ("full", "hidden", "hidden", "hidden", "hidden", "hidden"),
    (Kind.LOG, "holdout"): ("full", "hidden", "hidden", "hidden", "hidden", "hidden"),
    (Kind.ARTIFACT, "train"): ("full", "full", "hidden", "hidden", "hidden", "hidden"),
    (Kind.ARTIFACT, "validation"): ("full", "full", "hidden", "hidden", "hidden", "hidden"),
    (Kind.ARTIFACT, "test"): ("full", "full", "hidden", "hidden", "hidden", "hidden"),
    (Kind.ARTIFACT, "holdout"): ("full", "full", "hidden", "hidden", "hidden", "hidden"),
}


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(product(Kind, SPLITS))


@pytest.mark.parametrize(("kind", "split"), list(TABLE), ids=str)
def test_who_sees_what_before_the_conclusion(kind: Kind, split: str) -> None:
    seen = tuple(ask(kind, viewer, split=split, feedback=POLICIES["rounded"]) for viewer in ALL)
    assert seen == TABLE[kind, split]


@pytest.mark.parametrize(("kind", "split"), list(TABLE), ids=str)
def test_the_conclusion_publishes_scores_and_no_single_data_point(kind: Kind, split: str) -> None:
    before = TABLE[kind, split]
    published = ("full",) * 6 if kind is Kind.STATUS else ("full", "0.12", "0.12", "0.12", "0.12", "0.12")
    wanted = published if split == "holdout" and kind in (Kind.STATUS, Kind.SCORE) else before
    concluded = {"concluded": NOW, "feedback": POLICIES["rounded"]}
    assert tuple(ask(kind, viewer, split=split, **concluded) for viewer in ALL) == wanted


@pytest.mark.parametrize(
    ("policy", "before", "after"),
    [
        ("exact", "0.123456", "0.123456"),
        ("rounded", "0.12", "0.12"),
        ("ladder", "0.1", "0.123456"),
        ("bootstrap_ladder", "0.1", "0.123456"),
        ("none", "hidden", "0.123456"),
    ],
)
@pytest.mark.parametrize("viewer", [OWN, *OTHERS], ids=str)
def test_policies_hold_for_the_own_team_and_for_everybody(viewer: Viewer, policy: str, before: str, after: str) -> None:
    feedback = POLICIES[policy]
    assert ask(Kind.SCORE, viewer, feedback=feedback) == before
    assert ask(Kind.SCORE, viewer, feedback=feedback, concluded=NOW) == after
    assert ask(Kind.SCORE, ORGANISER, feedback=feedback) == "full"


def test_a_conclusion_that_is_yet_to_come_publishes_nothing() -> None:
    later = NOW + timedelta(microseconds=1)
    assert ask(Kind.SCORE, ANONYMOUS, split="holdout", concluded=later) == "hidden"
    assert ask(Kind.SCORE, ANONYMOUS, concluded=later, feedback=POLICIES["none"]) == "hidden"


def test_what_was_recorded_is_told_and_nothing_else() -> None:
    # The best once more, as the decision was then; a policy that was changed since tells no old score anew.
    recorded = Told(0.2, "0.2", "not better", 0.1, 0.3)
    for feedback in (POLICIES["ladder"], POLICIES["exact"], POLICIES["rounded"]):
        asked = Asked(
            Kind.SCORE, "ours", Ending.SCORED, feedback=feedback, metric=METRIC, value=VALUE, interval=(0.1, 0.2),
            told=recorded, final=Told(0.7, "0.7"),
        )  # fmt: skip
        assert visibility(asked, OWN, NOW) == Shown(recorded)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_score_of_which_nothing_was_recorded_is_not_told(policy: str) -> None:
    assert ask(Kind.SCORE, OWN, feedback=POLICIES[policy], told=None) == "hidden"


def test_a_private_part_is_told_at_the_conclusion_and_not_before() -> None:
    final = Told(0.7, "0.7")
    for viewer in (OWN, *OTHERS):
        assert ask(Kind.SCORE, viewer, feedback=POLICIES["ladder"], final=final) == "0.1"
        assert ask(Kind.SCORE, viewer, feedback=POLICIES["none"], final=final) == "hidden"
        assert ask(Kind.SCORE, viewer, feedback=POLICIES["ladder"], final=final, concluded=NOW) == "0.7"


def test_an_interval_goes_with_its_value() -> None:
    interval = (0.1, 0.2)
    asked = Asked(
        Kind.SCORE, "ours", Ending.SCORED, feedback=POLICIES["rounded"], metric=METRIC, value=VALUE, interval=interval
    )
    assert visibility(asked, ORGANISER, NOW) == Full(VALUE, interval)
    concluded = replace(asked, concluded=NOW, interval=(0.119, 0.121))
    assert visibility(concluded, ANONYMOUS, NOW) == Shown(Told(0.12, "0.12", "", 0.11, 0.13))


@pytest.mark.parametrize("ending", [Ending.RUNNING, Ending.FAILED])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("split", SPLITS)
def test_what_failed_or_runs_is_the_own_teams_business(kind: Kind, split: str, ending: Ending) -> None:
    for viewer in OTHERS:
        assert ask(kind, viewer, split=split, ending=ending, value=None, concluded=NOW) == "hidden"
    assert ask(Kind.STATUS, OWN, ending=ending) == "full"
    assert ask(kind, ORGANISER, split=split, ending=ending) == "full"


def test_a_failed_submission_has_no_score_to_see() -> None:
    assert ask(Kind.SCORE, OWN, ending=Ending.FAILED) == "hidden"
    assert ask(Kind.SCORE, OWN, ending=Ending.RUNNING) == "hidden"


@pytest.mark.parametrize("kind", [Kind.OUTCOME, Kind.LOG])
def test_a_dry_run_is_open_to_its_own_team(kind: Kind) -> None:
    assert ask(kind, OWN, split="test", dry_run=True) == "full"
    assert ask(kind, OTHER, split="test", dry_run=True) == "hidden"
    # A holdout is sealed whatever a stage says.
    assert ask(kind, OWN, split="holdout", dry_run=True, concluded=NOW) == "hidden"


def test_a_score_of_a_dry_run_is_told_as_it_is() -> None:
    for viewer in (OWN, ANONYMOUS):
        assert ask(Kind.SCORE, viewer, dry_run=True, feedback=POLICIES["none"]) == "full"


@pytest.mark.parametrize("split", ["", "Test", "holdout2", "sealed"])
def test_a_split_that_nobody_knows_is_sealed(split: str) -> None:
    for kind, viewer in product((Kind.SCORE, Kind.OUTCOME, Kind.LOG, Kind.STATUS), (OWN, *OTHERS)):
        assert ask(kind, viewer, split=split) == "hidden"


def test_nobody_is_not_a_team() -> None:
    # Neither of them has a team, and that is nothing in common.
    for viewer in (TEAMLESS, OBSERVER, ANONYMOUS):
        assert ask(Kind.ARTIFACT, viewer, team=None) == "hidden"
        assert ask(Kind.LOG, viewer, team=None, split="train") == "hidden"
    # A team does not help who is no participant.
    assert ask(Kind.ARTIFACT, Viewer(Role.OBSERVER, "ours")) == "hidden"
    assert ask(Kind.ARTIFACT, Viewer(Role.ANONYMOUS, "ours")) == "hidden"


def test_without_a_metric_a_sealed_score_is_not_told() -> None:
    assert ask(Kind.SCORE, OWN, metric=None) == "hidden"


def test_the_organiser_gets_the_value_itself() -> None:
    asked = Asked(Kind.SCORE, "ours", Ending.SCORED, split="holdout", metric=METRIC, value=VALUE)
    assert visibility(asked, ORGANISER, NOW) == Full(VALUE)


values = st.floats(0, 1)


@given(
    st.sampled_from(list(Kind)),
    st.sampled_from(["test", "holdout"]),
    st.sampled_from([OWN, *OTHERS]),
    st.sampled_from(list(Ending)),
    st.sampled_from(list(POLICIES.values())),
    st.booleans(),
    values,
    values,
    st.none() | values.map(lambda value: Told(value, f"{value:.4f}")),
    st.none() | values.map(lambda value: Told(value, f"{value:.4f}")),
)
def test_of_a_sealed_split_no_more_than_the_policy_allows(
    kind: Kind,
    split: str,
    viewer: Viewer,
    ending: Ending,
    feedback: Feedback,
    concluded: bool,
    value: float,
    other: float,
    told: Told | None,
    final: Told | None,
) -> None:
    """Two values that the policy does not tell apart are not told apart by anything that is seen."""

    def seen(secret: float) -> object:
        asked = Asked(
            kind,
            "ours",
            ending,
            split=split,
            concluded=NOW if concluded else None,
            feedback=feedback,
            metric=METRIC,
            value=secret,
            interval=(secret / 2, secret),
            told=told,
            final=final,
        )
        return visibility(asked, viewer, NOW)

    result = seen(value)
    if kind in (Kind.OUTCOME, Kind.LOG):
        assert isinstance(result, Hidden)
    if split == "holdout" and not concluded and kind is not Kind.ARTIFACT:
        assert isinstance(result, Hidden)
    whole = kind is Kind.SCORE and ending is Ending.SCORED and concluded and final is None
    if not whole:
        assert seen(other) == result
