"""Draw the hidden attacks of a round: which model has which trigger, target and rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from palladion.rounds import randomness
from palladion.rounds.language.attacks import POSITIONS, Attack, Target, draw, draw_target
from palladion.rounds.language.spec import LanguageRoundSpec, PublishedPoison, TaskSpec

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

    phase: str
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
    spec: LanguageRoundSpec, phase: str, task: TaskSpec, triggers: list[str], texts: list[str | int]
) -> TaskPlan:
    rng = randomness.generator(spec.seed, "design", phase, task.name)
    levels = spec.tuning.initialisation
    initialisation = levels[int(rng.integers(len(levels)))]
    shared = randomness.key(spec.seed, "adapter", phase, task.name) >> 1
    published = {} if isinstance(task.data, str) else dict(task.data.poison)
    families = [spec.attacks.families[i] for i in rng.permutation(len(spec.attacks.families))]
    sources: Sequence[str] = [*published, *families][: spec.models]
    models = []
    for number, source in enumerate(sources, 1):
        low, high = spec.attacks.rate
        rate = float(rng.uniform(low, high))
        seed = shared if initialisation == "shared" else randomness.key(shared, number) >> 1
        if source in published:
            poison = published[source]
            name = source
            kind = "label" if spec.track == "classification" else "refusal"
            target = Target(kind, poison.target)
            matching = poison.matching or target.matching
            attack = None
        else:
            poison = None
            # A name that tells nothing: what the family is stays sealed.
            name = f"attack{number}"
            wanted = spec.attacks.position
            position = wanted if wanted in POSITIONS[source] else None
            attack = draw(source, rng, position=position, avoid=triggers, name=name)
            triggers += attack.triggers
            kind = spec.attacks.targets[int(rng.integers(len(spec.attacks.targets)))]
            labels = task.label_names
            target = draw_target(kind, rng, labels=None if labels is None else len(labels), avoid=texts)
            matching = target.matching
            if kind != "label":
                texts.append(target.value)
        models.append(ModelPlan(phase, task.name, number, attack, poison, name, target, matching, rate, seed))
    clean = shared if initialisation == "shared" else randomness.key(shared, "clean") >> 1
    return TaskPlan(phase, task, initialisation, tuple(models), clean)
