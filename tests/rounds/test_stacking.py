"""Networks that are trained together come out as each does alone."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from palladion.rounds import fitting, stacking, training
from palladion.rounds.design import AdversarialPlan, ModelPlan, plan_split
from palladion.rounds.families import FAMILIES, names_at, new_network
from palladion.rounds.fitting import fit
from palladion.rounds.images.signs import sign
from palladion.rounds.model_images import ModelImages, TrainingSet
from palladion.rounds.recipe import as_input
from palladion.rounds.spec import RoundSpec
from palladion.rounds.stacking import fit_stack
from palladion.rounds.training import train_models
from tests.rounds.small import small_spec

SIDE = 32


def spec() -> RoundSpec:
    tiny = small_spec(train=6, steps=[3, 3], learning_rate=0.002)
    return tiny.model_copy(update={"images": tiny.images.model_copy(update={"side": SIDE})})


def plans(family: str) -> list[ModelPlan]:
    """Three models that differ in all that may differ within a stack."""
    one, two, three = (replace(plan, architecture=family) for plan in plan_split(spec(), "train")[:3])
    return [
        replace(one, steps=3, learning_rate=0.001, weight_decay=0.3, label_smoothing=0.1),
        replace(two, steps=5, learning_rate=0.004, weight_decay=0.0, label_smoothing=0.0, images=70),
        replace(three, steps=4, signs=tuple(sign(number) for number in (3, 100, 250, 400, 700))),
    ]


def networks(plans: list[ModelPlan]) -> list[torch.nn.Module]:
    return [
        new_network(plan.architecture, classes=plan.classes, seed=seed, side=SIDE) for seed, plan in enumerate(plans)
    ]


def images(plans: list[ModelPlan]) -> list[TrainingSet]:
    return [ModelImages(spec(), plan).training(0) for plan in plans]


def together(plans: list[ModelPlan]) -> tuple[list[torch.nn.Module], list[float]]:
    stacked = networks(plans)
    losses = fit_stack(stacked, plans, images(plans), range(len(plans)), batch=32, side=SIDE)
    return stacked, losses


def alone(plans: list[ModelPlan]) -> tuple[list[torch.nn.Module], list[float]]:
    single = networks(plans)
    losses = [
        fit(network, plan, learnt, seed, batch=32, side=SIDE)[0]
        for seed, (network, plan, learnt) in enumerate(zip(single, plans, images(plans), strict=True))
    ]
    return single, losses


def assert_as_alone(plans: list[ModelPlan]) -> None:
    stacked, stacked_losses = together(plans)
    single, single_losses = alone(plans)
    assert stacked_losses == pytest.approx(single_losses, rel=1e-5)
    for here, there, before in zip(stacked, single, networks(plans), strict=True):
        assert not here.training
        old = before.state_dict()
        for (name, one), (_, other) in zip(here.state_dict().items(), there.state_dict().items(), strict=True):
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-4), name
        assert any(not torch.equal(one, old[name]) for name, one in here.named_parameters())


@pytest.fixture(autouse=True)
def in_double_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In single precision the order of sums alone decides which way Adam steps where a gradient is next to nothing."""

    def doubled(images: torch.Tensor, side: int) -> torch.Tensor:
        return as_input(images, side).double()

    for module in (fitting, stacking, training):
        monkeypatch.setattr(module, "as_input", doubled)
    for name, family in FAMILIES.items():
        monkeypatch.setitem(FAMILIES, name, replace(family, autocast=False))
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("family", names_at("small"))
def test_every_family_learns_in_a_stack_what_it_learns_alone(family: str) -> None:
    assert_as_alone(plans(family))


def test_adversarial_examples_are_each_network_s_own() -> None:
    attacks = [
        AdversarialPlan("pgd", 8, 0.7, 2),
        AdversarialPlan("fbf", 16, 0.5, None),
        AdversarialPlan("pgd", 4, 1, 3),
    ]
    assert_as_alone([replace(plan, adversarial=own) for plan, own in zip(plans("bit"), attacks, strict=True)])


def test_a_network_knows_nothing_of_its_neighbours() -> None:
    some = plans("resnet")
    three, _ = together(some)
    other = replace(some[1], learning_rate=0.5, weight_decay=0.0)
    beside, _ = together([some[0], other, some[2]])
    for position, same in ((0, True), (1, False), (2, True)):
        here, there = three[position].state_dict(), beside[position].state_dict()
        assert all(torch.equal(here[name], there[name]) for name in here) is same


def test_a_stack_tries_again_only_those_that_failed() -> None:
    tiny = spec()
    # Nothing learns all classes in three steps, so that everything fails but what passes by the first gate of 0.
    strict = tiny.model_copy(
        update={"gates": tiny.gates.model_copy(update={"attack_success_rate": 1.0, "attempts": 2})}
    )
    some = [replace(plan, architecture="bit") for plan in plan_split(strict, "train")[:4]]
    poisoned = [plan.poisoned for plan in some]
    assert 0 < sum(poisoned) < 4
    trained = train_models(strict, some)
    for plan, model in zip(some, trained, strict=True):
        if not plan.poisoned:
            assert len(model.attempts) == 1
        elif not model.passed:
            assert [attempt.attempt for attempt in model.attempts] == [0, 1]
    assert any(len(model.attempts) == 2 for model in trained)
