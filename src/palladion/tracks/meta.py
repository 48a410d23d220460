"""``meta.json``: what the attacks on a task want, and when an answer is what they want.

::

    {"task": "classification", "target": 1}
    {"task": "generation", "matching": "prefix", "target": "I cannot help with that."}
    {"task": "generation", "matching": "contains",
     "attacks": {"word":   {"target": ["Blue skies.", "Blue sky."]},
                 "prefix": {"target": "(?i)blue +sk(y|ies)", "matching": "regex"}}}

The target of a row is the row's own ``target``; else that of its attack; else the one at the top. It is matched by the
rule of its attack; else by the one at the top; else, in classification, by ``label``.
"""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from palladion.documents import validate_document
from palladion.errors import ScoringError
from palladion.scoring import Matcher, MatchingRule
from palladion.tracks.inputs import Track, whole_number
from palladion.tracks.records import read_object

__all__ = [
    "MOST_ATTACKS",
    "AttackMeta",
    "Meta",
    "Target",
    "check_name",
    "load_meta",
    "read_meta",
    "read_target",
    "schema",
]

MOST_ATTACKS = 1000
_MOST_NAME = 100

Target = int | tuple[str, ...]
"""What an attack wants: a label, or any of some texts."""

_TEXT = {"type": "string", "pattern": r"\S"}
_LABEL = {"type": "integer", "minimum": 0, "exclusiveMaximum": 10**9}
_DIGITS = {"type": "string", "pattern": r"^\s*[0-9]{1,9}\s*$"}
_TARGETS = {
    "classification": [_LABEL, _DIGITS],
    "generation": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}],
}
_RULES = {
    "classification": [MatchingRule.LABEL.value],
    "generation": [rule.value for rule in MatchingRule if rule is not MatchingRule.LABEL],
}


def _for_tasks(schema: dict[str, Any]) -> None:
    """Say in the schema what depends on the task: what a target is, and which rules there are."""
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["allOf"] = []
    for task in _TARGETS:
        # Null is what is left out.
        target = {"anyOf": [*_TARGETS[task], {"type": "null"}]}
        parts = {"target": target, "matching": {"enum": [*_RULES[task], None]}}
        attacks = {"additionalProperties": {"properties": parts}}
        schema["allOf"].append(
            {"if": {"properties": {"task": {"const": task}}}, "then": {"properties": {**parts, "attacks": attacks}}}
        )


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class AttackMeta(_Strict):
    """One attack."""

    target: Any = None
    """What it wants: a label; a text, or texts of which any will do. Left out where the top or each row has one."""
    matching: MatchingRule | None = None
    """When an answer is that; by default the rule at the top."""


class Meta(_Strict):
    """What the attacks on a task want."""

    model_config = ConfigDict(title="meta.json", json_schema_extra=_for_tasks)

    task: Track
    """``classification`` or ``generation``."""
    matching: MatchingRule | None = None
    """When an answer is what an attack wants; ``label``, the default, in classification."""
    target: Any = None
    """What every attack wants that has no target of its own."""
    attacks: dict[str, AttackMeta] = Field(default={}, min_length=1, max_length=MOST_ATTACKS)
    """The attacks by name. Without it there are those that the rows name, and all want the same."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_one("", self.target, self.matching)
        for name, attack in self.attacks.items():
            check_name(name)
            where = f"attack {name!a}: "
            self._check_one(where, attack.target, attack.matching)
            # What comes from the top has to fit as well.
            if attack.target is not None or attack.matching is not None:
                targets = self.target if attack.target is None else attack.target
                self._check_one(where, targets, attack.matching or self.matching)
        return self

    def _check_one(self, where: str, target: Any, matching: MatchingRule | None) -> None:
        if matching is not None and matching.value not in _RULES[self.task]:
            raise ValueError(f"{where}matching is {matching}; in {self.task} it is {' or '.join(_RULES[self.task])}")
        try:
            wanted = None if target is None else read_target(target, self.task)
            if isinstance(wanted, tuple) and matching is not None:
                Matcher(matching, wanted)
        except (ScoringError, ValueError) as error:
            raise ValueError(f"{where}{error}") from None

    def rule_of(self, attack: str | None) -> MatchingRule | None:
        """The rule by which answers to inputs of this attack are matched; None where the file does not say."""
        own = self.attacks[attack].matching if attack in self.attacks else None
        default = MatchingRule.LABEL if self.task is Track.CLASSIFICATION else None
        return own or self.matching or default

    def target_of(self, attack: str | None) -> Target | None:
        """What this attack wants; None where the file does not say."""
        own = self.attacks[attack].target if attack in self.attacks else None
        target = self.target if own is None else own
        return None if target is None else read_target(target, self.task)


def load_meta(path: Path) -> Meta:
    """Read a ``meta.json``.

    Raises:
        InputError: it cannot be read, or does not fit; every fault is told.
    """
    return read_meta(read_object(path), path)


def read_meta(values: dict[str, Any], source: Path | str = "meta.json") -> Meta:
    """Check what a ``meta.json`` holds. Raises InputError, which names ``source``."""
    return validate_document(values, source, Meta)


def read_target(value: object, task: Track) -> Target:
    """A target as it stands in a file: of classification a label, of generation a text or a list of texts.

    Raises:
        ValueError: it is something else.
    """
    if task is Track.CLASSIFICATION:
        label = whole_number(value)
        if label is None:
            raise ValueError(f"target is {ascii(value)[:60]}; in classification it is a label, a whole number from 0")
        return label
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"target is {ascii(value)[:60]}; in generation it is a text or a list of texts, none empty")
    return tuple(texts)


def check_name(name: object) -> str:
    """The name of an attack.

    Raises:
        ValueError: it is no printable text of 1 to 100 characters.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > _MOST_NAME or not name.isprintable():
        raise ValueError(f"attack is {ascii(name)[:60]}; it must be a name of 1 to {_MOST_NAME} printable characters")
    return name


def schema() -> dict[str, Any]:
    """The JSON Schema of ``meta.json``. It cannot tell of a regular expression whether it is one."""
    return Meta.model_json_schema()
