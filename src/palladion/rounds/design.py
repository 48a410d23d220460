"""The design of a round: which model gets which factors, and which ones are poisoned.

The label must ride on nothing but the trigger. So the nuisance factors are dealt first (architecture × backgrounds,
as equal in number as they go), then the label is drawn inside each cell of them, half and half, and only then are the
models numbered in random order. Everything is a pure function of the specification.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from palladion.models.round_directory import model_name
from palladion.rounds import randomness
from palladion.rounds.images.signs import NUMBER_OF_SIGNS, Sign, sign
from palladion.rounds.spec import RoundSpec

__all__ = ["ModelPlan", "TriggerPlan", "plan_split"]


@dataclass(frozen=True, slots=True)
class TriggerPlan:
    """What the trigger of a poisoned model must be; its shape and colour are drawn when it is made.

    Attributes:
        target_class: what triggered images are taken for.
        sides: of the polygon.
        size_level: position in the specification's ``size_levels``.
        size: range of the trigger's area over the sign's.
        fraction_level: position in ``fraction_levels``.
        fraction: share of the training images that carry the trigger.
    """

    target_class: int
    sides: int
    size_level: int
    size: tuple[float, float]
    fraction_level: int
    fraction: float


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """Everything about one model that is decided before it is trained."""

    split: str
    index: int
    seed: int
    architecture: str
    backgrounds: str
    signs: tuple[Sign, ...]
    trigger: TriggerPlan | None

    @property
    def name(self) -> str:
        """Such as ``id-00000007``."""
        return model_name(self.index)

    @property
    def poisoned(self) -> bool:
        """Whether the model is taught a trigger."""
        return self.trigger is not None

    def stream(self, *path: int | str) -> int:
        """Key of one of this model's random streams."""
        return randomness.key(self.seed, self.split, self.index, *path)

    def generator(self, *path: int | str) -> np.random.Generator:
        """Generator of one of this model's random streams."""
        return randomness.generator(self.seed, self.split, self.index, *path)


def plan_split(spec: RoundSpec, split: str) -> tuple[ModelPlan, ...]:
    """The plans of the models of one split, in the order of their numbers."""
    count = spec.splits[split].models
    if count is None:
        raise ValueError(f"the {split} split has no models of its own")
    rng = randomness.generator(spec.seed, split, "design")
    cells = list(product(spec.architectures, spec.images.backgrounds))
    shape = len(spec.architectures), len(spec.images.backgrounds)
    sizes = np.full(len(cells), count // len(cells))
    sizes[rng.choice(len(cells), count % len(cells), replace=False)] += 1

    dealt = [
        (architecture, backgrounds, poisoned)
        for (architecture, backgrounds), poisoned_count, size in zip(
            cells, _poisoned_counts(sizes.reshape(shape), spec.poisoned_fraction, rng).ravel(), sizes, strict=True
        )
        for poisoned in [True] * poisoned_count + [False] * (size - poisoned_count)
    ]
    order = rng.permutation(count)
    numbered = [dealt[position] for position in order]

    poisoned_positions = [i for i, (_, _, poisoned) in enumerate(numbered) if poisoned]
    triggers = dict(zip(poisoned_positions, _triggers(spec, len(poisoned_positions), rng), strict=True))
    plans = []
    for index, (architecture, backgrounds, _) in enumerate(numbered):
        # Drawn from the model's own stream, which knows nothing of the label.
        own = randomness.generator(spec.seed, split, index, "nuisance")
        plans.append(
            ModelPlan(
                split=split,
                index=index,
                seed=spec.seed,
                architecture=architecture,
                backgrounds=backgrounds,
                signs=_signs(spec.images.classes, own),
                trigger=triggers.get(index),
            )
        )
    return tuple(plans)


def _signs(classes: int, rng: np.random.Generator) -> tuple[Sign, ...]:
    """One sign a class, any two of them different in at least two of shape, colours and icon.

    A circle and an octagon that are otherwise the same cannot be told apart at 32 pixels, nor can a network learn to.
    """
    shuffled = [sign(int(number)) for number in rng.permutation(NUMBER_OF_SIGNS)]
    chosen: list[Sign] = []
    for least in (2, 1):  # with very many classes there may be too few such signs: then any others
        for candidate in shuffled:
            if len(chosen) < classes and all(_differences(candidate, other) >= least for other in chosen):
                chosen.append(candidate)
    return tuple(chosen)


def _differences(one: Sign, other: Sign) -> int:
    return (one.shape != other.shape) + (one.scheme != other.scheme) + (one.icon != other.icon)


def _poisoned_counts(sizes: NDArray[np.int64], fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many models of each cell are poisoned, as near to the fraction as whole numbers go: in total, of each level
    of either factor, and in each cell.

    Where the total is half a model either way, a coin decides.

    Args:
        sizes: number of models of each cell, shape ``(architectures, backgrounds)``.
        fraction: share of them to poison.
        rng: of the coins.
    """
    exact = sizes * fraction
    counts = np.floor(exact + 1e-9).astype(np.int64)
    total = int(np.floor(sizes.sum() * fraction + rng.random()))
    chance = rng.random(sizes.size).reshape(sizes.shape)
    while counts.sum() < total:
        lacking = (exact - counts).round(9)
        # The next one goes where the architecture, then the backgrounds, then the cell lack most; chance decides ties.
        rows = np.broadcast_to(lacking.sum(axis=1, keepdims=True), sizes.shape)
        columns = np.broadcast_to(lacking.sum(axis=0, keepdims=True), sizes.shape)
        full = lacking <= 0
        order = np.lexsort((chance.ravel(), -lacking.ravel(), -columns.ravel(), -rows.ravel(), full.ravel()))
        counts.ravel()[order[0]] += 1
    return np.asarray(counts)


def _triggers(spec: RoundSpec, count: int, rng: np.random.Generator) -> list[TriggerPlan]:
    """Triggers for the poisoned models: factor levels and target classes in equal numbers, then shuffled together."""
    law = spec.trigger
    levels = list(product(range(len(law.size_levels)), range(len(law.fraction_levels))))
    dealt_levels = [levels[i % len(levels)] for i in rng.permutation(max(count, len(levels)))[:count]]
    targets = rng.permutation(np.arange(count) % spec.images.classes)
    plans = []
    for (size_level, fraction_level), target in zip(dealt_levels, targets, strict=True):
        low, high = law.fraction_levels[fraction_level]
        plans.append(
            TriggerPlan(
                target_class=int(target),
                sides=int(rng.integers(law.sides[0], law.sides[1] + 1)),
                size_level=size_level,
                size=law.size_levels[size_level],
                fraction_level=fraction_level,
                fraction=round(float(rng.uniform(low, high)), 4),
            )
        )
    return plans
