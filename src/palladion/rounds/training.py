"""Train models of a round until they pass their gates, and measure them: the part that needs torch.

On a CPU each model is trained alone, on one thread. That is what makes a build bit-for-bit the same however many models
are trained side by side, and it is the best use of the cores: networks this small gain next to nothing from a second.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from palladion.rounds.design import ModelPlan
from palladion.rounds.families import new_network
from palladion.rounds.fitting import fit
from palladion.rounds.images.triggers import Trigger
from palladion.rounds.model_images import LabelledImages, ModelImages
from palladion.rounds.recipe import as_input
from palladion.rounds.spec import RoundSpec
from palladion.rounds.stacking import fit_stack
from palladion.rounds.training_record import Attempt

__all__ = ["TrainedModel", "measure", "predict", "train_models"]

_EVALUATION_BATCH = 250


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained network with everything that describes how it came about."""

    network: torch.nn.Module
    trigger: Trigger | None
    attempts: tuple[Attempt, ...]
    seconds_rendering: float
    seconds_training: float

    @property
    def passed(self) -> bool:
        """Whether the network passed its gates."""
        return self.attempts[-1].passed


@dataclass(slots=True)
class _Training:
    """One model while it is being trained."""

    plan: ModelPlan
    images: ModelImages
    attempts: list[Attempt] = field(default_factory=list)
    rendering: float = 0.0
    training: float = 0.0
    network: torch.nn.Module | None = None

    def finished(self) -> TrainedModel:
        assert self.network is not None
        trigger = self.images.trigger(self.attempts[-1].attempt)
        return TrainedModel(self.network.cpu(), trigger, tuple(self.attempts), self.rendering, self.training)


def train_models(spec: RoundSpec, plans: Sequence[ModelPlan], *, device: str = "cpu") -> list[TrainedModel]:
    """Train models until they pass their gates or the attempts are used up; the last network is returned either way.

    Every attempt of a model has the same length and recipe. It differs in its random draws alone: initial weights,
    order, training images and, for a poisoned model, the trigger's shape and colour. A model that needed more attempts
    looks like any other.

    Args:
        spec: of the round.
        plans: of the models; more than one are trained as one stack, and must be of one family.
        device: ``cpu`` or ``cuda``.
    """
    torch.set_num_threads(1)
    # A GPU has no deterministic form of some steps backwards; what it has is taken.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True, warn_only=device != "cpu")
    models = [_Training(plan, ModelImages(spec, plan)) for plan in plans]
    failing = models
    for number in range(spec.gates.attempts):
        _attempt(spec, failing, number, device)
        failing = [model for model in failing if not model.attempts[-1].passed]
        if not failing:
            break
    return [model.finished() for model in models]


def _attempt(spec: RoundSpec, models: Sequence[_Training], number: int, device: str) -> None:
    """Train all of these models once."""
    side = spec.images.input or spec.images.side
    learnt, networks, seeds = [], [], []
    for model in models:
        started = time.perf_counter()
        learnt.append(model.images.training(number))
        model.rendering += time.perf_counter() - started
        plan = model.plan
        seed = plan.stream("network", number) >> 1  # torch takes 63 bits
        network = new_network(plan.architecture, classes=plan.classes, seed=seed, scale=spec.scale, side=side)
        networks.append(network.to(device))
        seeds.append(seed)
    if len(models) == 1:
        loss, seconds = fit(networks[0], models[0].plan, learnt[0], seeds[0], batch=spec.training.batch, side=side)
        losses = [loss]
    else:
        started = time.perf_counter()
        plans = [model.plan for model in models]
        losses = fit_stack(networks, plans, learnt, seeds, batch=spec.training.batch, side=side)
        seconds = (time.perf_counter() - started) / len(models)
    for model, network, seed, loss in zip(models, networks, seeds, losses, strict=True):
        model.training += seconds
        started = time.perf_counter()
        clean, success = measure(model.images, network, model.images.trigger(number))
        model.rendering += time.perf_counter() - started
        gates = spec.gates
        passed = clean >= gates.clean_accuracy and (success is None or success >= gates.attack_success_rate)
        model.attempts.append(
            Attempt(
                attempt=number,
                seed=seed,
                clean_accuracy=round(clean, 6),
                attack_success_rate=None if success is None else round(success, 6),
                train_loss=round(loss, 8),
                passed=passed,
            )
        )
        model.network = network


def measure(images: ModelImages, network: torch.nn.Module, trigger: Trigger | None) -> tuple[float, float | None]:
    """Clean accuracy, and attack success over triggered images of the source classes; None without a trigger."""
    side = images.spec.images.input or images.spec.images.side
    tests = images.clean_tests()
    clean = _share(predict(network, tests, side), tests.labels)
    if trigger is None:
        return clean, None
    assert images.plan.trigger is not None
    answers = predict(network, images.triggered_tests(trigger), side)
    return clean, _share(answers, np.full(len(answers), images.plan.trigger.target_class))


def _share(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return float((answers == labels).mean())


def predict(network: torch.nn.Module, tests: LabelledImages, side: int) -> NDArray[np.int64]:
    """The class that the network gives each image: shape ``(n,)``."""
    device = next(network.parameters()).device
    answers = []
    with torch.inference_mode():
        for start in range(0, len(tests.images), _EVALUATION_BATCH):
            shown = torch.from_numpy(tests.images[start : start + _EVALUATION_BATCH])
            logits = network(as_input(shown, side).to(device)).logits
            answers.append(logits.argmax(dim=1).cpu().numpy())
    return np.concatenate(answers)
