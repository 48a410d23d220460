import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from palladion.errors import InputError
from palladion.scoring import MatchingRule
from palladion.tracks.inputs import Track
from palladion.tracks.meta import load_meta, read_meta, schema

GOOD: list[dict[str, Any]] = [
    {"task": "classification", "target": 1},
    {"task": "classification", "matching": "label", "target": 0},
    {"task": "classification", "target": " 2 "},
    {"task": "classification"},
    {"task": "classification", "attacks": {"word": {"target": 1}, "style": {}}},
    {"task": "generation", "matching": "exact", "target": "No."},
    {"task": "generation", "matching": "keyword-any", "target": ["no", "never"]},
    {"task": "generation", "matching": "regex", "target": "(?i)no+"},
    {"task": "generation", "attacks": {"a": {"target": "x", "matching": "prefix"}, "b": {"target": ["y"]}}},
    {"task": "generation"},
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "task: Field required"),
    ({"task": "detection"}, "task: Input should be 'classification' or 'generation'"),
    ({"task": "classification", "targets": 1}, "there is no key 'targets'; did you mean 'target'"),
    ({"task": "classification", "attacks": {"a": {"taget": 1}}}, "'attacks.a.taget'; did you mean 'target'"),
    ({"task": "classification", "target": -1}, "target is -1; in classification it is a label"),
    ({"task": "classification", "target": True}, "target is True"),
    ({"task": "classification", "target": "one"}, "target is 'one'"),
    ({"task": "classification", "target": [1]}, r"target is \[1\]"),
    ({"task": "classification", "matching": "exact", "target": 1}, "matching is exact; in classification it is label"),
    ({"task": "classification", "attacks": {}}, "attacks: "),
    ({"task": "classification", "attacks": []}, "attacks: "),
    ({"task": "generation", "matching": "label", "target": "a"}, "matching is label; in generation it is exact or"),
    ({"task": "generation", "matching": "fuzzy", "target": "a"}, "matching: Input should be"),
    ({"task": "generation", "matching": "exact", "target": ""}, "target is ''"),
    ({"task": "generation", "matching": "exact", "target": " "}, "target is ' '"),
    ({"task": "generation", "matching": "exact", "target": []}, r"target is \[\]"),
    ({"task": "generation", "matching": "exact", "target": ["a", 1]}, "target is"),
    ({"task": "generation", "matching": "exact", "target": 1}, "target is 1; in generation it is a text"),
    ({"task": "generation", "attacks": {"a": {"target": ["x", ""]}}}, "attack 'a': target is"),
]
# What only more than a schema can tell.
ALSO_BAD: list[tuple[dict[str, Any], str]] = [
    ({"task": "generation", "matching": "regex", "target": "("}, "is no regular expression"),
    ({"task": "generation", "matching": "regex", "target": "x*"}, "matches the empty text"),
    ({"task": "generation", "matching": "normalized", "target": "?!"}, "neither letters nor digits"),
    ({"task": "generation", "matching": "regex", "attacks": {"a": {"target": "("}}}, "attack 'a': '.' is no regular"),
    ({"task": "generation", "target": "(", "attacks": {"a": {"matching": "regex"}}}, "attack 'a': '.' is no regular"),
    ({"task": "classification", "attacks": {"a\x1b[2J": {"target": 1}}}, r"attack is 'a\\x1b\[2J'"),
    ({"task": "classification", "attacks": {" ": {"target": 1}}}, "attack is ' '"),
]


@pytest.mark.parametrize("values", GOOD)
def test_what_is_good_is_so_by_the_schema_as_well(values: dict[str, Any]) -> None:
    assert read_meta(values).task.value == values["task"]
    jsonschema.Draft202012Validator(schema()).validate(values)


@pytest.mark.parametrize(("values", "words"), BAD)
def test_what_is_bad_is_so_by_the_schema_as_well(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"meta.json: .*{words}"):
        read_meta(values)
    assert not jsonschema.Draft202012Validator(schema()).is_valid(values)


@pytest.mark.parametrize(("values", "words"), ALSO_BAD)
def test_what_only_the_reader_can_tell(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"meta.json: .*{words}"):
        read_meta(values)


def test_the_schema_is_one_and_can_be_written() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(json.dumps(schema()))["required"] == ["task"]


def test_an_attacks_own_comes_before_the_top() -> None:
    meta = read_meta(
        {
            "task": "generation",
            "matching": "prefix",
            "target": "top",
            "attacks": {"a": {"target": ["x", "y"], "matching": "exact"}, "b": {"target": "z"}, "c": {}},
        }
    )
    assert (meta.target_of("a"), meta.rule_of("a")) == (("x", "y"), MatchingRule.EXACT)
    assert (meta.target_of("b"), meta.rule_of("b")) == (("z",), MatchingRule.PREFIX)
    assert (meta.target_of("c"), meta.rule_of("c")) == (("top",), MatchingRule.PREFIX)
    assert (meta.target_of(None), meta.rule_of(None)) == (("top",), MatchingRule.PREFIX)


def test_labels_are_matched_as_labels_where_nothing_is_said_and_texts_are_not_guessed_at() -> None:
    meta = read_meta({"task": "classification", "target": "1"})
    assert (meta.task, meta.rule_of(None), meta.target_of(None)) == (Track.CLASSIFICATION, MatchingRule.LABEL, 1)
    meta = read_meta({"task": "generation"})
    assert (meta.rule_of(None), meta.target_of(None)) == (None, None)


def test_it_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    path.write_text('{"task": "classification", "target": 1}')
    assert load_meta(path).target_of(None) == 1
    path.write_text('{"task": "classification", "task": "generation"}')
    with pytest.raises(InputError, match="has the field 'task' twice"):
        load_meta(path)
    path.write_text('{"task": "x", "extra": 1}')
    with pytest.raises(InputError, match=r"task: .*\n.*there is no key 'extra'"):
        load_meta(path)
