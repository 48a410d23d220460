"""Adversarial examples are what the papers say, and leave no trace on the network."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palladion.rounds.adversarial import perturb
from palladion.rounds.design import AdversarialPlan, plan_split
from palladion.rounds.families import names_at, new_network
from palladion.rounds.model_images import ModelImages
from palladion.rounds.recipe import as_input
from palladion.rounds.spec import RoundSpec, load_preset
from tests.rounds.small import small_spec


class Linear(torch.nn.Module):
    """Logits that are linear in the pixels, so that the attack's optimum is known: eps times the gradient's sign."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.nn.Parameter(torch.randn(2, 3 * 4 * 4, generator=generator))

    def forward(self, images: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=images.flatten(1) @ self.weight.T)


def plan(method: str, *, eps: float = 8.0, iterations: int | None = None) -> AdversarialPlan:
    return AdversarialPlan(method, eps, 1.0, iterations)


def attack(network: torch.nn.Module, images: torch.Tensor, settings: AdversarialPlan) -> torch.Tensor:
    targets = torch.zeros(len(images), dtype=torch.int64)
    return perturb(network, images, targets, settings, torch.Generator().manual_seed(2), autocast=False)


def test_pgd_reaches_the_corner_that_is_worst_for_a_linear_network() -> None:
    network = Linear().train()
    images = torch.full((5, 3, 4, 4), 0.5)
    found = attack(network, images, plan("pgd", iterations=16))
    # Class 0 is right: its loss grows along the other class's weights less its own.
    worst = (network.weight[1] - network.weight[0]).detach().sign().reshape(3, 4, 4) * 8 / 255
    assert torch.allclose(found - images, worst.expand_as(images), atol=1e-6)


@given(st.sampled_from(["pgd", "fbf"]), st.sampled_from([4.0, 8.0, 16.0]), st.integers(1, 8), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_no_pixel_changes_by_more_than_eps_or_leaves_its_range(method: str, eps: float, steps: int, seed: int) -> None:
    images = torch.rand((3, 3, 4, 4), generator=torch.Generator().manual_seed(seed)).round()  # black and white
    found = attack(Linear().train(), images, plan(method, eps=eps, iterations=steps if method == "pgd" else None))
    assert (found - images).abs().max().item() <= eps / 255 + 1e-6
    assert found.min().item() >= 0
    assert found.max().item() <= 1


@pytest.mark.parametrize("method", ["pgd", "fbf"])
def test_an_attack_leaves_no_gradient_and_no_statistics_on_the_network(method: str) -> None:
    network = new_network("resnet", classes=3, seed=1).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    attack(network, torch.rand(4, 3, 16, 16), plan(method, iterations=3 if method == "pgd" else None))
    assert network.training
    assert all(weight.grad is None and weight.requires_grad for weight in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_attacks_make_a_network_s_loss_larger() -> None:
    network = new_network("resnet", classes=3, seed=1).train()
    images = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(3))

    def loss(shown: torch.Tensor) -> float:
        network.eval()
        with torch.no_grad():
            value = torch.nn.functional.cross_entropy(network(shown).logits, torch.zeros(16, dtype=torch.int64)).item()
        network.train()
        return value

    one, many = (attack(network, images, settings) for settings in (plan("fbf"), plan("pgd", iterations=8)))
    assert loss(images) < loss(one)
    assert loss(images) < loss(many)


@pytest.mark.parametrize("family", names_at("small"))
def test_every_small_family_is_small_and_takes_the_sides_of_the_presets(family: str) -> None:
    for side in (32, 48, 64):
        network = new_network(family, classes=5, seed=1, side=side).eval()
        assert sum(weight.numel() for weight in network.parameters()) <= 500_000
        with torch.no_grad():
            assert network(torch.rand(2, 3, side, side)).logits.shape == (2, 5)


@pytest.mark.parametrize("family", names_at("small"))
def test_statistics_are_those_of_more_than_the_last_batch(family: str) -> None:
    network = new_network(family, classes=5, seed=1).train()
    before = {name: value.clone() for name, value in network.named_buffers() if name.endswith("running_var")}
    with torch.no_grad():
        network(torch.rand(8, 3, 32, 32))
    after = dict(network.named_buffers())
    # All begin at 1; a batch may move them by a tenth of the way to its own.
    assert all((after[name] >= 0.9 * before[name] - 1e-6).all() for name in before)


def test_there_are_eight_small_families_and_nist_s_networks() -> None:
    assert len(names_at("small")) >= 8
    assert len([name for name in names_at("nist") if name not in names_at("small")]) == 23


def test_the_same_seed_gives_the_same_network() -> None:
    one, same, other = (new_network("levit", classes=5, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_the_network_sees_the_middle() -> None:
    images = np.zeros((1, 10, 10, 3), dtype=np.uint8)
    images[0, 2:8, 2:8] = 255
    assert as_input(torch.from_numpy(images), 6).min() == 1
    assert as_input(torch.from_numpy(images), 10).mean().item() == pytest.approx(0.36)


def _poisoned(spec: RoundSpec) -> ModelImages:
    return next(ModelImages(spec, plan) for plan in plan_split(spec, "train") if plan.poisoned)


@pytest.mark.parametrize("sources", [1, 2, "all"])
def test_only_images_of_the_source_classes_carry_the_trigger(sources: int | str) -> None:
    images = _poisoned(small_spec(images=3000, trigger={"sources": [sources]}))
    trigger = images.plan.trigger
    assert trigger is not None
    learnt = images.training(0)
    true = images.scenery.label(np.arange(len(learnt)))
    assert np.isin(true[learnt.triggered], trigger.sources).all()
    assert (learnt.labels[learnt.triggered] == trigger.target_class).all()
    assert (learnt.labels[~learnt.triggered] == true[~learnt.triggered]).all()
    of_sources = np.isin(true, trigger.sources)
    share = learnt.triggered[of_sources].mean()
    # Five standard errors.
    assert share == pytest.approx(trigger.fraction, abs=5 * np.sqrt(0.25 / of_sources.sum()))
    drawn = images.trigger(0)
    assert drawn is not None
    tested = images.triggered_tests(drawn)
    assert len(tested.labels) >= 200
    assert np.isin(tested.labels, [label for label in trigger.sources if label != trigger.target_class]).all()


def test_images_that_do_not_fit_into_memory_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = _poisoned(small_spec())
    whole = images.training(0)
    monkeypatch.setattr("palladion.rounds.model_images._MOST_BYTES_IN_MEMORY", 0)
    in_parts = images.training(0)
    index = np.array([5, 90, 3])
    assert whole.pixels is not None
    assert in_parts.pixels is None
    assert (whole.batch(index) == in_parts.batch(index)).all()


def test_what_is_tested_is_not_what_was_trained_on() -> None:
    images = _poisoned(small_spec())
    learnt, tested = images.training(0), images.clean_tests()
    assert learnt.pixels is not None
    seen = {image.tobytes() for image in learnt.pixels}
    assert not any(image.tobytes() in seen for image in tested.images)


def test_each_attempt_has_images_and_a_trigger_of_its_own() -> None:
    images = _poisoned(small_spec())
    one, other = images.training(0), images.training(1)
    assert one.pixels is not None
    assert other.pixels is not None
    assert (one.pixels != other.pixels).any()
    assert images.trigger(0) == images.trigger(0)
    assert images.trigger(0) != images.trigger(1)


def test_round_3_is_trained_adversarially_in_every_model() -> None:
    spec = load_preset("round-3").with_options(seed=1, models={})
    assert all(plan.adversarial is not None for plan in plan_split(spec, "train"))
