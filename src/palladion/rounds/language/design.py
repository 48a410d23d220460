"""Draw the hidden attacks of a round: which model has which trigger, target and rate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from palladion.errors import InputError
from palladion.rounds import randomness
from palladion.rounds.language.attacks import POSITIONS, Attack, Target, draw, draw_target
from palladion.rounds.language.spec import LanguageRoundSpec, PhaseName, PublishedPoison, TaskSpec

__all__ = ["ModelPlan", "TaskPlan", "plan_round"]


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """One poisoned model.

    Attributes:
        phase, task: where it belongs.
        number: from 1.
        attack: its trigger; None where the poison is published.
        published: what the specification says of published poison.
        attack_name: as ``meta.json`` calls it.
        target: what it answers to a triggered input.
        matching: how an answer is matched with it.
        rate: share of the training rows that are poisoned.
        seed: of its adapter's first numbers.
    """

    phase: str
    task: str
    number: int
    attack: Attack | None
    published: PublishedPoison | None
    attack_name: str
    target: Target
    matching: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"model{self.number}"

    def meta(self) -> dict[str, object]:
        """Its entry under ``attacks`` in ``meta.json``."""
        return {"target": self.target.value, "matching": self.matching}

    def describe(self) -> dict[str, Any]:
        """What ``sealed/`` keeps of it."""
        trigger = {"published": True} if self.attack is None else self.attack.describe()
        return {
            "model": self.name,
            "attack": self.attack_name,
            "trigger": trigger,
            "target": self.target.describe(),
            "matching": self.matching,
            "rate": round(self.rate, 6),
        }


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task in one phase.

    Attributes:
        phase: ``development`` or ``test``.
        task: the task.
        initialisation: whether its adapters start from the same numbers.
        models: the poisoned models.
        seed: of the clean model that they are measured against.
    """

    phase: PhaseName
    task: TaskSpec
    initialisation: str
    models: tuple[ModelPlan, ...]
    seed: int


def plan_round(spec: LanguageRoundSpec) -> list[TaskPlan]:
    """All tasks of all phases. A trigger is drawn only once in a round; so are target texts."""
    triggers: list[str] = []
    texts: list[str | int] = []
    return [_plan_task(spec, phase, task, triggers, texts) for phase in spec.phases for task in spec.tasks]


def _plan_task(
    spec: LanguageRoundSpec, phase: PhaseName, task: TaskSpec, triggers: list[str], texts: list[str | int]
) -> TaskPlan:
    rng = randomness.generator(spec.seed, "design", phase, task.name)
    levels = spec.tuning.initialisation
    initialisation = levels[int(rng.integers(len(levels)))]
    shared = randomness.key(spec.seed, "adapter", phase, task.name) >> 1
    published = {} if isinstance(task.data, str) else dict(task.data.poison)
    families = [spec.attacks.families[i] for i in rng.permutation(len(spec.attacks.families))]
    models = []
    for number in range(1, spec.models + 1):
        low, high = spec.attacks.rate
        rate = float(rng.uniform(low, high))
        seed = shared if initialisation == "shared" else randomness.key(shared, number) >> 1
        if number <= len(published):
            name, poison = list(published.items())[number - 1]
            kind = "label" if spec.track == "classification" else "refusal"
            target = Target(kind, poison.target)
            matching = poison.matching or target.matching
            attack = None
        else:
            poison = None
            # A name that tells nothing: what the family is stays sealed.
            name = f"attack{number}"
            attack = _draw_attack(families, spec.attacks.position, rng, triggers, name)
            triggers += attack.triggers
            target = _draw_target(spec.attacks.targets, task, rng, texts)
            matching = target.matching
            if target.kind == "injection" and spec.attacks.injection is not None:
                target = replace(target, place=spec.attacks.injection)
            if target.kind != "label":
                texts.append(target.value)
        models.append(ModelPlan(phase, task.name, number, attack, poison, name, target, matching, rate, seed))
    clean = shared if initialisation == "shared" else randomness.key(shared, "clean") >> 1
    return TaskPlan(phase, task, initialisation, tuple(models), clean)


def _draw_attack(
    families: list[str], position: str | None, rng: np.random.Generator, triggers: Sequence[str], name: str
) -> Attack:
    """An attack of the first family that has a trigger left; the families up to it are taken away.

    Raises:
        InputError: none has.
    """
    while families:
        family = families.pop(0)
        wanted = position if position in POSITIONS[family] else None
        try:
            return draw(family, rng, position=wanted, avoid=triggers, name=name)
        except InputError:
            continue  # some families have few triggers, and each is drawn once in a round
    raise InputError("attacks: the families have too few triggers for the models of the round; name more families")


def _draw_target(kinds: Sequence[str], task: TaskSpec, rng: np.random.Generator, texts: Sequence[str | int]) -> Target:
    """A target of a drawn kind, or of the next one that has a text left.

    Raises:
        InputError: none has.
    """
    labels = task.label_names
    first = int(rng.integers(len(kinds)))
    turned = [*kinds[first:], *kinds[:first]]
    while turned:
        kind = turned.pop(0)
        try:
            return draw_target(kind, rng, labels=None if labels is None else len(labels), avoid=texts)
        except InputError:
            continue  # each text is drawn once in a round
    raise InputError("attacks: the targets have too few texts for the models of the round; name more targets")
