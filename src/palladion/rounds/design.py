"""The design of a round: which model gets which factors, and which ones are poisoned.

The label must ride on nothing but the trigger. So every nuisance factor is dealt first and the models are numbered in
random order, and only then is the label drawn inside each cell of the design, half and half. Everything is a pure
function of the specification.

A cell may be made of factors of the trigger (its type, the number of its source classes): a clean model lies in such
a cell as well, next to the poisoned one that is like it in all the rest, and only has no trigger.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palladion.models.round_directory import SPLITS, model_name
from palladion.rounds import randomness
from palladion.rounds.images.signs import NUMBER_OF_SIGNS, Sign, sign
from palladion.rounds.spec import Beta, Probability, RoundSpec

__all__ = ["PICTURES", "AdversarialPlan", "ModelPlan", "TriggerPlan", "plan_split"]

_DRAWS, _BALANCED = 200, 1.25  # labels drawn at most, until no number is farther off than so many standard errors

PICTURES = "pictures"  # level of the factor backgrounds where they are a folder of the organiser's


@dataclass(frozen=True, slots=True)
class TriggerPlan:
    """What the trigger of a poisoned model must be; its shape and colour are drawn when it is made.

    Attributes:
        type: ``polygon`` or ``filter``.
        target_class: what triggered images are taken for.
        sources: classes that it works on, in rising order; all of them, or without the target class.
        sources_level: position in the specification's ``sources``.
        fraction_level: position in ``fraction_levels``.
        fraction: share of the source classes' training images that carry the trigger.
        sides_level: position in ``polygon.sides``; None for a filter, as the next three.
        sides: of the polygon.
        size_level: position in ``polygon.size_levels``.
        size: range of the trigger's area over the sign's.
        filter: name of the filter; None for a polygon, as the next.
        strength: of the filter.
    """

    type: str
    target_class: int
    sources: tuple[int, ...]
    sources_level: int
    fraction_level: int
    fraction: float
    sides_level: int | None = None
    sides: int | None = None
    size_level: int | None = None
    size: tuple[float, float] | None = None
    filter: str | None = None
    strength: float | None = None


@dataclass(frozen=True, slots=True)
class AdversarialPlan:
    """How a model is trained adversarially.

    Attributes:
        method: ``pgd`` or ``fbf``.
        eps: largest change of a pixel, grey levels of 255.
        ratio: share of the batches that are perturbed.
        iterations: steps of PGD; None for ``fbf``, which has one.
    """

    method: str
    eps: float
    ratio: float
    iterations: int | None


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """Everything about one model that is decided before it is trained.

    Attributes:
        split: of the round.
        index: number within the split.
        seed: of the round.
        architecture: family of the network.
        backgrounds: family of the backgrounds, or ``pictures``.
        classes_level: position in the specification's ``classes``.
        signs: one a class.
        examples: clean example images a class.
        fog_probability: share of the images with fog.
        rain_probability: share of the images with rain.
        images: number of training images.
        steps: of the optimiser, of each attempt.
        learning_rate: largest.
        weight_decay: of the optimiser.
        label_smoothing: share of each label that is spread over all classes.
        adversarial: None where the round is not trained adversarially.
        trigger: None for a clean model.
    """

    split: str
    index: int
    seed: int
    architecture: str
    backgrounds: str
    classes_level: int
    signs: tuple[Sign, ...]
    examples: int
    fog_probability: float
    rain_probability: float
    images: int
    steps: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    adversarial: AdversarialPlan | None
    trigger: TriggerPlan | None

    @property
    def name(self) -> str:
        """Such as ``id-00000007``."""
        return model_name(self.index)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.signs)

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
    factors = _deal(spec, count, rng)
    own = [_own(spec, split, index, factors[index]) for index in range(count)]
    poisoned = _labels(spec, factors, _numbers(own), rng)
    positions = np.flatnonzero(poisoned)
    triggers = dict(
        zip(positions.tolist(), _triggers(spec, [factors[i] for i in positions], own, positions, rng), strict=True)
    )
    return tuple(
        ModelPlan(
            split=split,
            index=index,
            seed=spec.seed,
            architecture=factor["architecture"],
            backgrounds=factor["backgrounds"],
            classes_level=factor["number_classes"],
            adversarial=_adversarial(factor),
            trigger=triggers.get(index),
            **own[index],
        )
        for index, factor in enumerate(factors)
    )


def _factor_levels(spec: RoundSpec) -> dict[str, tuple[Any, ...]]:
    """Levels of every factor that is dealt in equal numbers."""
    backgrounds = spec.images.backgrounds if spec.images.pictures is None else (PICTURES,)
    levels: dict[str, tuple[Any, ...]] = {
        "architecture": spec.architectures,
        "backgrounds": backgrounds,
        "number_classes": tuple(range(len(spec.images.classes))),
        "examples": tuple(range(len(spec.images.examples_per_class))),
        "trigger_type": spec.trigger.types,
        "sources": tuple(range(len(spec.trigger.sources))),
    }
    law = spec.training.adversarial
    if law is not None:
        levels |= {
            "adversarial_method": law.methods,
            "adversarial_eps": law.eps,
            "adversarial_ratio": law.ratio,
            "adversarial_iterations": law.iterations,
        }
    return levels


def _deal(spec: RoundSpec, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Levels of each model's factors, in the order of the models' numbers.

    The cells get as equal numbers of models as they go, and so do the levels of every other factor.
    """
    levels = _factor_levels(spec)
    cells = [
        dict(zip(spec.design.cells, cell, strict=True))
        for cell in product(*(levels[name] for name in spec.design.cells))
    ]
    sizes = np.full(len(cells), count // len(cells))
    sizes[rng.choice(len(cells), count % len(cells), replace=False)] += 1
    dealt = [dict(cell) for cell, size in zip(cells, sizes, strict=True) for _ in range(size)]
    for name, values in levels.items():
        if name not in spec.design.cells:
            for factor, position in zip(dealt, _in_equal_numbers(len(values), count, rng), strict=True):
                factor[name] = values[position]
    return [dealt[position] for position in rng.permutation(count)]


def _in_equal_numbers(levels: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` positions below ``levels``, each as often as any other to within one, in random order."""
    if not levels:
        return np.zeros(0, dtype=np.int64)
    # The levels that come up once more than the others are drawn as well.
    repeated = np.concatenate([rng.permutation(levels) for _ in range(-(-count // levels))] or [np.zeros(0, np.int64)])
    return np.asarray(rng.permutation(repeated[:count]))


def _labels(
    spec: RoundSpec, factors: Sequence[dict[str, Any]], numbers: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which models are poisoned.

    How many in each cell is settled first (:func:`_poisoned_counts`), then which of them is drawn; then models of one
    cell change their labels as long as this brings the levels of any other factor nearer to equal numbers. Where a
    number then tells poisoned from clean models, labels are drawn again: rerandomisation (Morgan and Rubin 2012,
    "Rerandomization to improve covariate balance in experiments").

    Args:
        spec: of the round.
        factors: of each model.
        numbers: as :func:`_numbers` has them.
        rng: of the split's design.
    """
    levels = _factor_levels(spec)
    names = spec.design.cells
    shape = tuple(len(levels[name]) for name in names)
    cell = np.array(
        [np.ravel_multi_index([levels[name].index(factor[name]) for name in names], shape) for factor in factors]
    )
    sizes = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape)
    others = [name for name in levels if name not in names and len(levels[name]) > 1]
    columns = [np.array([[factor[name] == level for level in levels[name]] for factor in factors]) for name in others]
    members = np.hstack(columns).astype(np.float64) if columns else np.zeros((len(factors), 0))
    best, least = np.zeros(len(factors), dtype=np.bool_), np.inf
    for _ in range(_DRAWS):
        poisoned = np.zeros(len(factors), dtype=np.bool_)
        for number, wanted in enumerate(_poisoned_counts(sizes, spec.poisoned_fraction, rng).ravel()):
            poisoned[rng.permutation(np.flatnonzero(cell == number))[:wanted]] = True
        _even_out(poisoned, cell, members, rng)
        imbalance = _imbalance(poisoned, numbers)
        if imbalance < least:
            best, least = poisoned, imbalance
        if least <= _BALANCED:
            break
    return best


def _numbers(own: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """What each model has drawn for itself, as ranks of mean 0 and variance 1: shape ``(models, numbers)``.

    Colours of the signs are among them: a model's example images are mostly its signs, and what colour they are on
    average would otherwise go with the label by chance. So is its place in the order, which times of files follow.
    """
    drawn = [
        [float(value) for value in model.values() if isinstance(value, int | float)]
        + [index, len(model["signs"]), *np.mean([_colour_numbers(sign) for sign in model["signs"]], axis=0)]
        for index, model in enumerate(own)
    ]
    columns = []
    for column in np.array(drawn).T:
        _, position, counts = np.unique(column, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[position]
        if len(counts) > 1:
            columns.append((ranks - ranks.mean()) / ranks.std())
    return np.array(columns).T.reshape(len(own), -1)


def _colour_numbers(sign: Sign) -> list[float]:
    """Brightness, redness, blueness and saturation of a sign."""
    red, green, blue = sign.colour
    grey = (red + green + blue) / 3
    return [grey, red - grey, blue - grey, max(red, green, blue) - min(red, green, blue)]


def _imbalance(poisoned: NDArray[np.bool_], numbers: NDArray[np.float64]) -> float:
    """How far the ranks of the poisoned models lie from those of all for any number, in standard errors."""
    count, share = len(poisoned), poisoned.mean()
    if count < 2 or numbers.size == 0 or share in (0, 1):
        return 0.0
    error = np.sqrt(count * share * (1 - share) * count / (count - 1))
    return float(np.abs(numbers.T @ (poisoned - share)).max() / error)


def _even_out(
    poisoned: NDArray[np.bool_], cell: NDArray[np.int64], members: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Exchange labels within cells, in place, until no exchange brings the levels nearer to equal shares.

    Args:
        poisoned: labels, shape ``(models,)``.
        cell: number of each model's cell.
        members: which model has which level, shape ``(models, levels)``, 0 or 1.
        rng: decides between exchanges that are equally good, and so which design it becomes.
    """
    # Of poisoned models in each level, times the number of models: all of these are whole numbers, and exact. With
    # fractions an exchange that changes nothing may seem to better something, and its reverse as well, for ever.
    count = len(poisoned)
    excess = count * (members.T @ poisoned) - members.sum(axis=0) * poisoned.sum()
    while True:
        best = 0.0
        chosen: list[tuple[int, int]] = []
        for number in np.unique(cell):
            inside = np.flatnonzero(cell == number)
            ones, zeros = inside[poisoned[inside]], inside[~poisoned[inside]]
            if not len(ones) or not len(zeros):
                continue
            # Exchanging i and j changes the excess e by n d, d = members[j] - members[i], and its sum of squares by
            # n (2 d·e + n d·d).
            step = members[zeros][None, :, :] - members[ones][:, None, :]
            change = 2 * step @ excess + count * (step**2).sum(axis=2)
            least = float(change.min())
            if least < best:
                best, chosen = least, []
            if least == best < 0:
                chosen += [(int(ones[i]), int(zeros[j])) for i, j in np.argwhere(change == least)]
        if not chosen:
            return
        one, zero = chosen[int(rng.integers(len(chosen)))]
        poisoned[one], poisoned[zero] = False, True
        excess += count * (members[zero] - members[one])


def _poisoned_counts(sizes: NDArray[np.int64], fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many models of each cell are poisoned, as near to the fraction as whole numbers go: in total, of each level
    of every factor, and in each cell.

    Where the total is half a model either way, a coin decides.

    Args:
        sizes: number of models of each cell, one axis a factor.
        fraction: share of them to poison.
        rng: of the coins.
    """
    exact = sizes * fraction
    counts = np.floor(exact + 1e-9).astype(np.int64)
    total = int(np.floor(sizes.sum() * fraction + rng.random()))
    chance = rng.random(sizes.size).reshape(sizes.shape)
    axes = range(sizes.ndim)
    while counts.sum() < total:
        lacking = (exact - counts).round(9)
        # The next one goes where the first factor's level, then the next one's, … then the cell lack most; chance
        # decides ties.
        margins = [
            np.broadcast_to(lacking.sum(axis=tuple(a for a in axes if a != axis), keepdims=True), sizes.shape)
            for axis in axes
        ]
        keys = [chance, -lacking, *(-margin for margin in reversed(margins)), lacking <= 0]
        order = np.lexsort([key.ravel() for key in keys])
        counts.ravel()[order[0]] += 1
    return np.asarray(counts)


def _own(spec: RoundSpec, split: str, index: int, factor: dict[str, Any]) -> dict[str, Any]:
    """What is drawn from the model's own stream, which knows nothing of the label."""
    rng = randomness.generator(spec.seed, split, index, "nuisance")
    recipe = spec.training
    low, high = spec.images.classes[factor["number_classes"]]
    least, most = spec.images.examples_per_class[factor["examples"]]
    return {
        "signs": _signs(int(rng.integers(low, high + 1)), _pool(spec, split), rng),
        "examples": int(rng.integers(least, most + 1)),
        "fog_probability": _draw(spec.images.fog_probability, rng),
        "rain_probability": _draw(spec.images.rain_probability, rng),
        "steps": int(rng.integers(recipe.steps[0], recipe.steps[1] + 1)),
        "learning_rate": float(f"{np.exp(rng.uniform(*np.log(recipe.learning_rate))):.4g}"),
        "weight_decay": float(f"{rng.uniform(*recipe.weight_decay):.4g}"),
        "label_smoothing": float(f"{rng.uniform(*recipe.label_smoothing):.4g}"),
        "images": int(rng.integers(recipe.images[0], recipe.images[1] + 1)),
    }


def _draw(law: Probability, rng: np.random.Generator) -> float:
    """A probability by its law, to four digits."""
    if isinstance(law, Beta):
        return round(float(rng.beta(*law.beta)), 4)
    low, high = law if isinstance(law, tuple) else (law, law)
    return round(float(rng.uniform(low, high)), 4)


def _pool(spec: RoundSpec, split: str) -> NDArray[np.int64]:
    """Numbers of the signs that this split's models are taught: no two splits have one in common."""
    names = [name for name in SPLITS if name in spec.splits and spec.splits[name].models is not None]
    shuffled = randomness.generator(spec.seed, "signs").permutation(NUMBER_OF_SIGNS)
    return np.asarray(shuffled[names.index(split) :: len(names)])


def _signs(classes: int, pool: NDArray[np.int64], rng: np.random.Generator) -> tuple[Sign, ...]:
    """One sign a class, any two of them different in at least two of shape, colours and icon.

    A circle and an octagon that are otherwise the same cannot be told apart at 32 pixels, nor can a network learn to.
    """
    shuffled = [sign(int(number)) for number in rng.permutation(pool)]
    chosen: list[Sign] = []
    for least in (2, 1):  # with very many classes there may be too few such signs: then any others
        for candidate in shuffled:
            if len(chosen) < classes and all(_differences(candidate, other) >= least for other in chosen):
                chosen.append(candidate)
    return tuple(chosen)


def _differences(one: Sign, other: Sign) -> int:
    return (one.shape != other.shape) + (one.scheme != other.scheme) + (one.icon != other.icon)


def _adversarial(factor: dict[str, Any]) -> AdversarialPlan | None:
    if "adversarial_method" not in factor:
        return None
    method = factor["adversarial_method"]
    iterations = factor["adversarial_iterations"] if method == "pgd" else None
    return AdversarialPlan(method, factor["adversarial_eps"], factor["adversarial_ratio"], iterations)


def _triggers(
    spec: RoundSpec,
    factors: Sequence[dict[str, Any]],
    own: Sequence[dict[str, Any]],
    positions: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[TriggerPlan]:
    """Triggers for the poisoned models: factor levels in equal numbers, among those whose trigger has the factor.

    Args:
        spec: of the round.
        factors: of the poisoned models alone.
        own: of all models.
        positions: numbers of the poisoned models.
        rng: of the split's design.
    """
    law = spec.trigger
    of_type: dict[str, list[int]] = {
        kind: [i for i, factor in enumerate(factors) if factor["trigger_type"] == kind] for kind in law.types
    }

    def dealt(levels: Sequence[Any], kind: str | None = None) -> Callable[[int], Any]:
        """Of each model its level, of one that has no such factor None."""
        among = range(len(factors)) if kind is None else of_type.get(kind, [])
        order = dict(zip(among, _in_equal_numbers(len(levels), len(among), rng).tolist(), strict=True))
        return lambda model: levels[order[model]] if model in order else None

    # Sizes and fractions are dealt together, so that each pair of levels comes up as often as any other.
    polygon, filters = law.polygon, law.filter
    sizes = range(len(polygon.size_levels)) if polygon is not None else range(0)
    size_and_fraction = dealt(list(product(sizes, range(len(law.fraction_levels)))), "polygon")
    fraction_of_filters = dealt(range(len(law.fraction_levels)), "filter")
    side_levels = dealt(range(len(polygon.sides)) if polygon is not None else (), "polygon")
    names = dealt(filters.names if filters is not None else (), "filter")
    targets = rng.permutation(np.arange(len(factors)))
    plans = []
    for number, factor in enumerate(factors):
        classes = len(own[int(positions[number])]["signs"])
        target = int(targets[number]) % classes
        wanted = law.sources[factor["sources"]]
        other = np.setdiff1d(np.arange(classes), [target])
        sources = np.arange(classes) if wanted == "all" else np.sort(rng.choice(other, wanted, replace=False))
        kind = factor["trigger_type"]
        described: dict[str, Any] = {}
        if kind == "polygon":
            assert polygon is not None
            size_level, fraction_level = size_and_fraction(number)
            side_level = side_levels(number)
            fewest, most = polygon.sides[side_level]
            described = {
                "sides_level": side_level,
                "sides": int(rng.integers(fewest, most + 1)),
                "size_level": size_level,
                "size": polygon.size_levels[size_level],
            }
        else:
            assert filters is not None
            fraction_level = fraction_of_filters(number)
            described = {"filter": names(number), "strength": round(float(rng.uniform(*filters.strength)), 4)}
        low, high = law.fraction_levels[fraction_level]
        plans.append(
            TriggerPlan(
                type=kind,
                target_class=target,
                sources=tuple(int(source) for source in sources),
                sources_level=factor["sources"],
                fraction_level=fraction_level,
                fraction=round(float(rng.uniform(low, high)), 4),
                **described,
            )
        )
    return plans
