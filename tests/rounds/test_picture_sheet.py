"""A sheet shows the same samples with and without the trigger."""

import numpy as np
import pytest

from palladion.errors import InputError
from palladion.rounds.picture_sheet import choose_plans, picture_sheet
from palladion.rounds.spec import load_preset

SPEC = load_preset("round-2").with_options(seed=5, models={"train": 24, "test": 12, "holdout": 12})


def test_by_default_eight_poisoned_models_are_shown() -> None:
    plans = choose_plans(SPEC, "train", [])
    assert len(plans) == 8
    assert all(plan.poisoned for plan in plans)


def test_a_poisoned_model_has_two_rows_that_differ_and_a_clean_one_has_one() -> None:
    every = choose_plans(SPEC, "test", [f"id-{number:08d}" for number in range(12)])
    poisoned = next(plan for plan in every if plan.poisoned)
    clean = next(plan for plan in every if not plan.poisoned)
    side, gap, caption = 96, 2, 14
    sheet = np.asarray(picture_sheet(SPEC, [poisoned], samples=4))
    assert sheet.shape[1] >= 4 * (side + gap)  # or as wide as the caption
    without = sheet[caption : caption + side, :side]
    carrying = sheet[caption + side + gap : caption + 2 * side + gap, :side]
    assert (without != carrying).any()
    assert len(np.asarray(picture_sheet(SPEC, [clean], samples=4))) == caption + side + 3 * gap


def test_the_trigger_of_another_attempt_is_another() -> None:
    plan = next(
        plan for plan in choose_plans(SPEC, "train", []) if plan.trigger is not None and plan.trigger.type == "polygon"
    )
    first, same, third = (
        np.asarray(picture_sheet(SPEC, [plan], attempts=attempts, samples=4))
        for attempts in (None, {plan: 0}, {plan: 2})
    )
    assert (first == same).all()
    without = slice(14, 14 + 96)
    assert (first[without] == third[without]).all()
    assert (first != third).any()


@pytest.mark.parametrize(
    ("split", "names", "message"),
    [("final", [], "no split 'final'"), ("test", ["id-00000099"], "the last one is id-00000011")],
)
def test_what_is_not_there_is_refused(split: str, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_plans(SPEC, split, names)


def test_a_dry_run_s_test_split_shows_the_train_split() -> None:
    spec = load_preset("round-0").with_options(seed=5, models={})
    assert choose_plans(spec, "test", []) == choose_plans(spec, "train", [])
