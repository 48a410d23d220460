"""What a round of a language track holds, told from its records."""

import json
from pathlib import Path
from typing import Any

from palladion.documents import load_document
from palladion.errors import InputError
from palladion.rounds.language import layout
from palladion.rounds.language.design import ModelPlan, TaskPlan, plan_round
from palladion.rounds.language.factory import ModelRecord
from palladion.rounds.language.spec import LanguageRoundSpec

__all__ = ["summarise_language"]


def summarise_language(directory: Path) -> dict[str, Any]:
    """The round in a directory.

    Returns:
        ``name``, ``title``, ``track``, ``seed``; ``base``, its record, None where the base was given; and ``phases``:
        for each a list of tasks, each with ``task``, ``initialisation``, ``clean_utility`` and ``models``. Rates in
        percent; None where a model is not built yet.

    Raises:
        InputError: there is no round, or its specification cannot be read.
    """
    spec = load_document(directory / layout.SEALED / layout.ROUND_FILE, LanguageRoundSpec)
    phases: dict[str, list[dict[str, Any]]] = {}
    for plan in plan_round(spec):
        phases.setdefault(plan.phase, []).append(_task(directory, plan))
    return {
        "name": spec.name,
        "title": spec.title,
        "track": spec.track,
        "seed": spec.seed,
        "base": _base(directory),
        "phases": phases,
    }


def _base(directory: Path) -> dict[str, Any] | None:
    path = directory / layout.SEALED / layout.BASE_RECORD
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {name: values[name] for name in ("parameters", "loss", "unigram_loss")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read: {error}", path=path) from None


def _task(directory: Path, plan: TaskPlan) -> dict[str, Any]:
    sealed = layout.sealed_folder(directory, plan.phase, plan.task.name)
    clean = _record(sealed / f"{layout.CLEAN_MODEL}.json")
    return {
        "task": plan.task.name,
        "initialisation": plan.initialisation,
        "clean_utility": None if clean is None else clean.utility,
        "models": [_model(model, _record(sealed / f"{model.name}.json")) for model in plan.models],
    }


def _model(plan: ModelPlan, record: ModelRecord | None) -> dict[str, Any]:
    return {
        "model": plan.name,
        "attack": plan.attack_name,
        "family": "published" if plan.attack is None else plan.attack.family,
        "target": str(plan.target.value),
        "rate": plan.rate,
        "utility": None if record is None else record.utility,
        "attack_success_rate": None if record is None else record.attack_success_rate,
        "attempts": 0 if record is None else len(record.attempts),
        "passed": record is not None and record.passed,
    }


def _record(path: Path) -> ModelRecord | None:
    if not path.exists():
        return None
    try:
        return ModelRecord.read(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read: {error}", path=path) from None
