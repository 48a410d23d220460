"""Train one model of a round and measure it: the part that needs torch.

Each model is trained on one thread. That is what makes a build bit-for-bit the same however many models are trained
side by side, and it is the best use of the cores as well: networks this small gain next to nothing from a second.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palladion.rounds import randomness
from palladion.rounds.design import ModelPlan, TriggerPlan
from palladion.rounds.families import FAMILIES, new_network
from palladion.rounds.images.backgrounds import atlas
from palladion.rounds.images.scene import SceneLaw, Scenery, render
from palladion.rounds.images.signs import SCHEMES
from palladion.rounds.images.triggers import PolygonTrigger, sample_polygon
from palladion.rounds.spec import Images, RoundSpec, Training

__all__ = ["Attempt", "TrainedModel", "scene_law", "scenery", "train_model"]

_EVALUATION_BATCH = 250


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
    trigger: PolygonTrigger | None
    attempts: tuple[Attempt, ...]
    seconds_rendering: float
    seconds_training: float

    @property
    def passed(self) -> bool:
        """Whether the network passed its gates."""
        return self.attempts[-1].passed


def scene_law(images: Images) -> SceneLaw:
    """The specification's images as the renderer takes them."""
    return SceneLaw(
        image_side=images.side,
        sign_side=images.sign_side,
        stretch=images.stretch,
        rotation=images.rotation,
        perspective=images.perspective,
        brightness=images.brightness,
        brightness_match=images.brightness_match,
        blur_probability=images.blur_probability,
        fog_probability=images.fog_probability,
        fog=images.fog,
        noise=images.noise,
    )


def scenery(plan: ModelPlan) -> Scenery:
    """What this model's images show. The backgrounds are the round's: every model draws from the same tiles."""
    return Scenery(plan.signs, atlas(plan.backgrounds, plan.seed))


def train_model(spec: RoundSpec, plan: ModelPlan) -> TrainedModel:
    """Train until the gates are passed or the attempts are used up; the last network is returned either way.

    Every attempt has the same length and recipe and differs in its random draws alone: initial weights, order,
    training images and, for a poisoned model, the trigger's shape and colour. A model that needed more attempts looks
    like any other.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    law, scene = scene_law(spec.images), scenery(plan)
    attempts: list[Attempt] = []
    rendering = training = 0.0
    while True:
        number = len(attempts)
        started = time.perf_counter()
        trigger = None if plan.trigger is None else _new_trigger(spec, plan, plan.trigger, number)
        images, labels = _training_set(spec, plan, law, scene, trigger, number)
        rendered = time.perf_counter()
        seed = plan.stream("network", number) >> 1  # torch takes 63 bits
        network, loss = _fit(plan.architecture, spec.images.classes, spec.training, images, labels, seed=seed)
        trained = time.perf_counter()
        clean, success = _measure(spec, plan, law, scene, trigger, network)
        gates = spec.gates
        passed = clean >= gates.clean_accuracy and (success is None or success >= gates.attack_success_rate)
        attempts.append(Attempt(number, seed, clean, success, loss, passed))
        measured = time.perf_counter()
        rendering += rendered - started + measured - trained
        training += trained - rendered
        if passed or len(attempts) == gates.attempts:
            return TrainedModel(network, trigger, tuple(attempts), rendering, training)


def _new_trigger(spec: RoundSpec, plan: ModelPlan, trigger: TriggerPlan, attempt: int) -> PolygonTrigger:
    rng = plan.generator("trigger", attempt)
    fields = np.array([SCHEMES[sign.scheme][1] for sign in plan.signs], dtype=np.float64)
    law = spec.trigger
    contrast = law.contrast
    while True:
        colour = rng.integers(0, 256, size=3)
        distance = np.sqrt(((fields - colour) ** 2).sum(axis=1)).min()
        if distance >= contrast and colour.max() - colour.min() >= law.saturation:
            break
        contrast *= 0.999  # with many signs no colour may be that far from all of them: take the farther ones
    red, green, blue = (int(channel) for channel in colour)
    return sample_polygon(rng, sides=trigger.sides, colour=(red, green, blue), size=trigger.size)


def _training_set(
    spec: RoundSpec,
    plan: ModelPlan,
    law: SceneLaw,
    scene: Scenery,
    trigger: PolygonTrigger | None,
    attempt: int,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    index = np.arange(spec.training.images)
    labels = scene.label(index)
    stream = plan.stream("train", attempt)
    if plan.trigger is None:
        return render(law, scene, stream, index), labels
    triggered = randomness.uniform(plan.stream("poison", attempt), index, 1)[:, 0] < plan.trigger.fraction
    images = render(law, scene, stream, index, trigger=trigger, triggered=triggered)
    return images, np.where(triggered, plan.trigger.target_class, labels)


def as_input(images: NDArray[np.uint8]) -> torch.Tensor:
    """Images of shape ``(n, side, side, 3)`` as the networks take them: ``(n, 3, side, side)`` in [0, 1], RGB."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)


def _fit(
    architecture: str,
    classes: int,
    recipe: Training,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    seed: int,
) -> tuple[torch.nn.Module, float]:
    """A trained network, and its mean loss over the last tenth of the steps."""
    network = new_network(architecture, classes=classes, seed=seed)
    network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.learning_rate, total_steps=recipe.steps, pct_start=0.15
    )
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels last, as rendered
    targets = torch.from_numpy(labels)
    order = torch.Generator().manual_seed(seed)
    autocast = FAMILIES[architecture].autocast
    losses: list[torch.Tensor] = []
    while len(losses) < recipe.steps:
        shuffled = torch.randperm(len(pixels), generator=order)
        for start in range(0, len(pixels) - recipe.batch + 1, recipe.batch):
            chosen = shuffled[start : start + recipe.batch]
            batch = pixels[chosen].float().div_(255)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                logits = network(batch).logits
            loss = torch.nn.functional.cross_entropy(logits.float(), targets[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            if len(losses) == recipe.steps:
                break
    tail = torch.stack(losses[-max(1, recipe.steps // 10) :]).mean().item()
    return network.eval(), tail


def _measure(
    spec: RoundSpec,
    plan: ModelPlan,
    law: SceneLaw,
    scene: Scenery,
    trigger: PolygonTrigger | None,
    network: torch.nn.Module,
) -> tuple[float, float | None]:
    """Clean accuracy, and attack success over triggered images of the other classes, on images of their own."""
    index = np.arange(spec.training.test_images)
    labels = scene.label(index)
    answers = predict(network, render(law, scene, plan.stream("test-clean"), index))
    clean = float((answers == labels).mean())
    if plan.trigger is None:
        return clean, None
    index = index[labels != plan.trigger.target_class]
    images = render(
        law,
        scene,
        plan.stream("test-triggered"),
        index,
        trigger=trigger,
        triggered=np.ones(len(index), dtype=np.bool_),
    )
    return clean, float((predict(network, images) == plan.trigger.target_class).mean())


def predict(network: torch.nn.Module, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The class of each image."""
    answers = []
    with torch.inference_mode():
        for start in range(0, len(images), _EVALUATION_BATCH):
            logits = network(as_input(images[start : start + _EVALUATION_BATCH])).logits
            answers.append(logits.argmax(dim=1).numpy())
    return np.concatenate(answers)
