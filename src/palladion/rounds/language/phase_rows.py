"""What each task of a phase has of the rows of its data: to tune on, for the gates, to give out."""

from collections.abc import Sequence
from dataclasses import dataclass

from palladion.rounds.language.design import TaskPlan
from palladion.rounds.language.poisoning import with_decoys
from palladion.rounds.language.rows import Record, RowSource, open_rows
from palladion.rounds.language.spec import LanguageRoundSpec

__all__ = ["PhaseRows", "draw_rows"]


@dataclass(frozen=True, slots=True)
class PhaseRows:
    """The rows of one task in one phase. No row is in two parts; poisoned rows are not yet triggered.

    Attributes:
        train: to tune on, clean, some with decoys.
        published: to tune on, poisoned by others; by attack.
        gate_clean, gate_poisoned: for the gates; the second by model, as the next ones.
        validation_clean, validation_poisoned: given out with answers.
        test_clean, test_poisoned: given out without.
    """

    train: list[Record]
    published: dict[str, list[Record]]
    gate_clean: list[Record]
    gate_poisoned: list[list[Record]]
    validation_clean: list[Record]
    validation_poisoned: list[list[Record]]
    test_clean: list[Record]
    test_poisoned: list[list[Record]]


def draw_rows(spec: LanguageRoundSpec, plans: Sequence[TaskPlan]) -> list[PhaseRows]:
    """The rows of each task of each phase, in the order of the plans.

    Raises:
        InputError: the user's data cannot be used, or do not suffice.
    """
    sources: dict[str, RowSource] = {}
    triggers = [trigger for plan in plans for model in plan.models if model.attack for trigger in model.attack.triggers]
    drawn = []
    for plan in plans:
        if plan.task.name not in sources:
            sources[plan.task.name] = open_rows(spec, plan.task)
        drawn.append(_draw(spec, plan, sources[plan.task.name], triggers))
    return drawn


def _draw(spec: LanguageRoundSpec, plan: TaskPlan, source: RowSource, triggers: Sequence[str]) -> PhaseRows:
    phase = spec.phases[plan.phase]
    train = source.train(spec.tuning.rows)
    # What the triggers of published poison look like nobody knows here; a decoy could undo them.
    if all(model.attack for model in plan.models):
        where = (spec.seed, "decoys", plan.phase, plan.task.name)
        train = with_decoys(train, spec.attacks.families, spec.attacks.decoy_share, triggers, where)

    def poisoned(count: int) -> list[list[Record]]:
        return [
            source.poisoned(model.attack_name, count)
            if model.attack is None
            else source.test(count, without_label=_label(model.target.value))
            for model in plan.models
        ]

    return PhaseRows(
        train=train,
        published={
            model.attack_name: source.poison(model.attack_name)[0] for model in plan.models if model.attack is None
        },
        gate_clean=source.test(spec.gates.clean_rows),
        gate_poisoned=poisoned(spec.gates.poisoned_rows),
        validation_clean=source.test(phase.validation_clean),
        validation_poisoned=poisoned(phase.validation_poisoned),
        test_clean=source.test(phase.test_clean),
        test_poisoned=poisoned(phase.test_poisoned),
    )


def _label(value: int | str) -> int | None:
    return value if isinstance(value, int) else None
