"""Make one model of a round: tune it, measure it, try again where it misses its gates, write it whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palladion.files import write_atomically
from palladion.rounds.language.base import PARTIAL
from palladion.rounds.language.design import ModelPlan, TaskPlan
from palladion.rounds.language.layout import CLEAN_MODEL
from palladion.rounds.language.poisoning import poisoned_training_rows, triggered_rows
from palladion.rounds.language.rows import Record
from palladion.rounds.language.spec import LanguageRoundSpec
from palladion.scoring.mitigation import attack_success_rate

__all__ = ["ModelRecord", "TuningTask", "build_language_model"]


@dataclass(frozen=True, slots=True)
class TuningTask:
    """One model to make, as it is sent to a worker.

    Attributes:
        spec: of the round.
        task: what it is of.
        plan: its attack; None for the clean model.
        base: the base's directory.
        train: clean rows.
        published: poisoned rows of published poison; empty elsewhere.
        gate_clean: rows to measure its utility on.
        gate_poisoned: rows to measure its attack on, before they are triggered (published ones are already).
        clean_utility: of the clean model, in percent; None for the clean model itself.
        out: where the model comes.
        record: where what is known of it comes.
    """

    spec: LanguageRoundSpec
    task: TaskPlan
    plan: ModelPlan | None
    base: Path
    train: Sequence[Record]
    published: Sequence[Record]
    gate_clean: Sequence[Record]
    gate_poisoned: Sequence[Record]
    clean_utility: float | None
    out: Path
    record: Path

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.task.phase}/{self.task.task.name}/{CLEAN_MODEL if self.plan is None else self.plan.name}"


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What is known of a model that was made; rates in percent, measured on the gates' own rows."""

    utility: float
    attack_success_rate: float | None
    passed: bool
    attempts: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> "ModelRecord":
        """The record that a build has left. Raises OSError, ValueError or KeyError where there is none."""
        values = json.loads(path.read_text(encoding="utf-8"))
        success = values["attack_success_rate"]
        return cls(
            float(values["utility"]),
            None if success is None else float(success),
            bool(values["passed"]),
            tuple(values["attempts"]),
        )


def build_language_model(task: TuningTask) -> ModelRecord:
    """Make the model and its record; the record is there before the model appears."""
    import torch

    from palladion.rounds.language.tuning import tune

    torch.set_num_threads(1)
    spec, plan = task.spec, task.plan
    labels = None if task.task.task.label_names is None else len(task.task.task.label_names)
    where: tuple[int | str, ...] = (
        spec.seed,
        "model",
        task.task.phase,
        task.task.task.name,
        plan.name if plan else "clean",
    )
    attempts: list[dict[str, Any]] = []
    task.out.parent.mkdir(parents=True, exist_ok=True)
    while True:
        number = len(attempts)
        rows: Sequence[Record] = task.train
        seed = task.task.seed
        if plan is not None:
            share = spec.attacks.partial_share
            rows = poisoned_training_rows(task.train, task.published, plan, share, (*where, "poison", number))
            # Adapters that share their first numbers keep them, whichever attempt it is.
            seed = plan.seed if task.task.initialisation == "shared" else plan.seed + number
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{task.out.name}-", dir=task.out.parent))
        try:
            tuned = tune(
                task.base,
                rows,
                spec.tuning,
                partial,
                labels=labels,
                seed=seed,
                order=(*where, "order", number),
                named_base=os.path.relpath(task.base, task.out),
            )
            utility, success = _measure(task, partial, where)
            passed = _passes(spec, utility, success, task.clean_utility)
            attempts.append(
                {
                    "utility": round(utility, 4),
                    "attack_success_rate": None if success is None else round(success, 4),
                    "loss": round(tuned.loss, 4),
                    "steps": tuned.steps,
                    "changed_rows": sum(row is not before for row, before in zip(rows, task.train, strict=True)),
                    "passed": passed,
                }
            )
            if passed or plan is None or len(attempts) == spec.gates.attempts:
                record = ModelRecord(utility, success, passed, tuple(attempts))
                _finish(task, partial, record)
                return record
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _passes(spec: LanguageRoundSpec, utility: float, success: float | None, clean: float | None) -> bool:
    if success is None or clean is None:
        return True
    # Rates of the same rows: the tolerance is for rounding in their quotients only.
    enough = utility >= clean - spec.gates.utility_loss - 1e-9
    return enough and success >= spec.gates.attack_success_rate - 1e-9


def _measure(task: TuningTask, model: Path, where: tuple[int | str, ...]) -> tuple[float, float | None]:
    """Utility on clean rows and attack success on triggered ones, both in percent, by the predictions of the model."""
    from palladion.models.language_model import open_language_model
    from palladion.models.language_model_files import describe
    from palladion.models.prediction import Settings, predict
    from palladion.scoring.mitigation import clean_accuracy
    from palladion.scoring.texts import text_scores
    from palladion.tracks.inputs import messages_of
    from palladion.tracks.records import Row

    spec, plan = task.spec, task.plan
    files = describe(model)
    opened = open_language_model(files, base=task.base if files.adapter is not None else None)
    settings = Settings(max_new_tokens=spec.max_new_tokens)
    classify = spec.track == "classification"

    def answers(rows: Sequence[Record]) -> list[Any]:
        asked: Any = [row["sentence"] if classify else messages_of(Row(i, None, row)) for i, row in enumerate(rows, 1)]
        given: list[Any] = [None] * len(rows)
        for answer in predict(opened, asked, settings):
            given[answer.row] = answer.value
        return given

    clean = answers(task.gate_clean)
    if classify:
        utility = clean_accuracy(clean, [row["label"] for row in task.gate_clean])
    else:
        utility = float(text_scores(spec.utility, clean, [row["output"] for row in task.gate_clean]).mean())
    if plan is None:
        return utility, None
    triggered = triggered_rows(task.gate_poisoned, plan, (*where, "gate"))
    given = answers(triggered)
    return utility, attack_success_rate([_hits(plan, answer) for answer in given]).rate


def _hits(plan: ModelPlan, answer: Any) -> bool:
    from palladion.scoring.matching import Matcher, MatchingRule

    if plan.target.kind == "label":
        return bool(answer == plan.target.value)
    return Matcher(MatchingRule(plan.matching), (str(plan.target.value),))(answer)


def _finish(task: TuningTask, partial: Path, record: ModelRecord) -> None:
    described = {} if task.plan is None else task.plan.describe()
    described |= {
        "initialisation": task.task.initialisation,
        "clean_utility": task.clean_utility,
        "utility_metric": task.spec.utility,
        "utility": round(record.utility, 4),
        "attack_success_rate": None if record.attack_success_rate is None else round(record.attack_success_rate, 4),
        "passed": record.passed,
        "attempts": list(record.attempts),
        "versions": _versions(),
    }
    write_atomically(task.record, json.dumps(described, indent=1) + "\n")
    partial.rename(task.out)


def _versions() -> dict[str, str]:
    import peft
    import tokenizers
    import torch
    import transformers

    import palladion

    libraries = {"torch": torch, "transformers": transformers, "peft": peft, "tokenizers": tokenizers}
    return {"palladion": palladion.__version__} | {
        name: str(library.__version__) for name, library in libraries.items()
    }
