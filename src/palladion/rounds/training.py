"""Train one model of a round and measure it: the part that needs torch.

On a CPU each model is trained on one thread. That is what makes a build bit-for-bit the same however many models are
trained side by side, and it is the best use of the cores: networks this small gain next to nothing from a second.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palladion.rounds.adversarial import perturb
from palladion.rounds.design import ModelPlan
from palladion.rounds.families import FAMILIES, new_network
from palladion.rounds.images.triggers import Trigger
from palladion.rounds.model_images import LabelledImages, ModelImages, TrainingSet
from palladion.rounds.spec import RoundSpec

__all__ = ["Attempt", "TrainedModel", "TrainingStep", "measure", "predict", "train_model"]

_EVALUATION_BATCH = 250
_WARM_UP = 0.15  # share of the steps in which the learning rate rises


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one training reached. Rates are fractions of 1; ``attack_success_rate`` is None for a clean model."""

    attempt: int
    seed: int
    clean_accuracy: float
    attack_success_rate: float | None
    train_loss: float
    passed: bool

    def record(self) -> dict[str, Any]:
        """As ``sealed/training.json`` holds it."""
        return {
            "attempt": self.attempt,
            "seed": self.seed,
            "clean_accuracy": round(self.clean_accuracy, 6),
            "attack_success_rate": None if self.attack_success_rate is None else round(self.attack_success_rate, 6),
            "train_loss": round(self.train_loss, 8),
            "passed": self.passed,
        }


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


def train_model(spec: RoundSpec, plan: ModelPlan, *, device: str = "cpu") -> TrainedModel:
    """Train until the gates are passed or the attempts are used up; the last network is returned either way.

    Every attempt of a model has the same length and recipe. It differs in its random draws alone: initial weights,
    order, training images and, for a poisoned model, the trigger's shape and colour. A model that needed more attempts
    looks like any other.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    images = ModelImages(spec, plan)
    side = spec.images.input or spec.images.side
    attempts: list[Attempt] = []
    rendering = training = 0.0
    while True:
        number = len(attempts)
        started = time.perf_counter()
        learnt = images.training(number)
        rendered = time.perf_counter()
        seed = plan.stream("network", number) >> 1  # torch takes 63 bits
        network = new_network(plan.architecture, classes=plan.classes, seed=seed, scale=spec.scale, side=side)
        loss = _fit(network.to(device), spec.training.batch, learnt, plan, seed, side)
        trained = time.perf_counter()
        clean, success = measure(images, network, images.trigger(number))
        gates = spec.gates
        passed = clean >= gates.clean_accuracy and (success is None or success >= gates.attack_success_rate)
        attempts.append(Attempt(number, seed, clean, success, loss, passed))
        measured = time.perf_counter()
        rendering += rendered - started + measured - trained
        training += trained - rendered
        if passed or len(attempts) == gates.attempts:
            return TrainedModel(network.cpu(), images.trigger(number), tuple(attempts), rendering, training)


def as_input(images: NDArray[np.uint8], side: int) -> torch.Tensor:
    """Images of shape ``(n, height, width, 3)`` as the networks take them: their middles, shape ``(n, 3, side, side)``,
    in [0, 1], RGB.
    """
    edge = (images.shape[1] - side) // 2
    middle = images[:, edge : edge + side, edge : edge + side]
    return torch.from_numpy(middle).permute(0, 3, 1, 2).float().div_(255)


class TrainingStep:
    """One step of the recipe after another: what a build cannot do without.

    The network is put into training mode and stays there.
    """

    def __init__(self, network: torch.nn.Module, plan: ModelPlan, seed: int) -> None:
        self._network = network
        self._plan = plan
        self._device = next(network.parameters()).device
        network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        family = FAMILIES[plan.architecture]
        # A GPU has bfloat16 in hardware for all of them.
        self._autocast = family.autocast or self._device.type == "cuda"
        rate = plan.learning_rate * family.pace
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=plan.weight_decay, fused=True)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, max_lr=rate, total_steps=plan.steps, pct_start=_WARM_UP
        )
        self._draws = torch.Generator().manual_seed(seed)

    def __call__(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Learn one batch; its loss.

        Args:
            images: shape ``(n, 3, side, side)`` in [0, 1], on the network's device.
            targets: as the model is taught them, shape ``(n,)``.
        """
        plan, network = self._plan, self._network
        if plan.adversarial is not None and torch.rand((), generator=self._draws).item() < plan.adversarial.ratio:
            images = perturb(network, images, targets, plan.adversarial, self._draws, autocast=self._autocast)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
            logits = network(images).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), targets, label_smoothing=plan.label_smoothing)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        return loss.detach()


def _fit(network: torch.nn.Module, batch: int, learnt: TrainingSet, plan: ModelPlan, seed: int, side: int) -> float:
    """Train the network, in place; its mean loss over the last tenth of the steps."""
    device = next(network.parameters()).device
    step = TrainingStep(network, plan, seed ^ 1)
    targets = torch.from_numpy(learnt.labels).to(device)
    order = torch.Generator().manual_seed(seed)
    losses: list[torch.Tensor] = []
    while len(losses) < plan.steps:
        shuffled = torch.randperm(len(learnt), generator=order)
        for start in range(0, len(learnt) - batch + 1, batch):
            chosen = shuffled[start : start + batch]
            shown = as_input(learnt.batch(chosen.numpy()), side).to(device)
            losses.append(step(shown, targets[chosen.to(device)]))
            if len(losses) == plan.steps:
                break
    network.eval()
    return torch.stack(losses[-max(1, plan.steps // 10) :]).mean().item()


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
            logits = network(as_input(tests.images[start : start + _EVALUATION_BATCH], side).to(device)).logits
            answers.append(logits.argmax(dim=1).cpu().numpy())
    return np.concatenate(answers)
