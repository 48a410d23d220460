import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palladion.errors import PalladionError
from palladion.submissions import Kind, Submission
from palladion.submissions import checks as checks_module
from palladion.submissions.checks import Fault, FaultSeverity, check_submission

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "submissions"

HEADER: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Mine",
    "technique": "Spectra",
    "technique_description": "Spectra of weights",
    "technique_changes": "First version",
    "technique_type": ["Weight Analysis"],
    "commit_id": "abc",
    "repo_name": "mine",
    "type": "object",
    "additionalProperties": False,
    "required": [],
}
NUMBER = {"type": "number", "minimum": 0, "maximum": 1}

Check = Callable[..., list[Fault]]


@pytest.fixture
def check(nist_submission: Path) -> Check:
    """Check a submission with this schema and these metaparameters: objects, or the text of the file."""

    def run(schema: Any, parameters: Any) -> list[Fault]:
        for name, content in (("metaparameters_schema.json", schema), ("metaparameters.json", parameters)):
            text = content if isinstance(content, str) else json.dumps(content)
            (nist_submission / name).write_text(text)
        (nist_submission / "learned_parameters" / "x").write_text("")
        # What Python itself does not take for JSON is refused when it is loaded.
        return check_submission(Submission("mine", Kind.ENTRYPOINT, nist_submission, None))

    return run


def with_property(part: object, value: object = 0.5, **more: object) -> tuple[dict[str, Any], dict[str, Any]]:
    return {**HEADER, "properties": {"p": part}, **more}, {"p": value}


def test_a_whole_submission_has_no_faults(check: Check) -> None:
    assert check(*with_property(NUMBER)) == []
    assert check({**HEADER, "properties": {}}, {}) == []


@pytest.mark.parametrize("name", ["constant-nist", "template", "legacy"])
def test_the_examples_have_no_faults(name: str) -> None:
    assert check_submission(Submission.load(EXAMPLES / name)) == []


def test_reference_detectors_have_no_faults() -> None:
    assert check_submission(Submission.load("inversion")) == []


@pytest.mark.parametrize(
    "key", ["technique", "technique_description", "technique_changes", "technique_type", "commit_id", "repo_name"]
)
def test_a_header_that_lacks_a_key_is_an_error(check: Check, key: str) -> None:
    schema, parameters = with_property(NUMBER)
    del schema[key]
    (fault,) = check(schema, parameters)
    assert (fault.code, fault.file, fault.where) == ("header", "metaparameters_schema.json", key)
    assert fault.severity is FaultSeverity.ERROR
    assert str(fault).startswith(f"error: metaparameters_schema.json: {key}: is missing")


def test_a_missing_title_is_a_warning_and_a_missing_dialect_an_error(check: Check) -> None:
    schema, parameters = with_property(NUMBER)
    del schema["title"], schema["$schema"]
    faults = {fault.where: fault.severity for fault in check(schema, parameters)}
    assert faults == {"title": FaultSeverity.WARNING, "$schema": FaultSeverity.ERROR}


def test_what_still_stands_as_in_the_example_of_nist_is_an_error(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    text = hashlib.sha256(b"technique_changes\nAs it was").hexdigest()
    monkeypatch.setattr(checks_module, "_EXAMPLE_TEXTS", frozenset({text}))
    (fault,) = check(*with_property(NUMBER, technique_changes="As it was"))
    assert (fault.code, fault.where) == ("header.example", "technique_changes")
    assert check(*with_property(NUMBER, title="As it was")) == []
    (fault,) = check(*with_property(NUMBER, commit_id=""))
    assert (fault.code, fault.where) == ("header", "commit_id")


@pytest.mark.parametrize("value", [[], "Other", ["Magic"], ["Other", 3], {}, None])
def test_technique_types_are_of_the_five(check: Check, value: object) -> None:
    faults = check(*with_property(NUMBER, technique_type=value))
    assert {(fault.code, fault.where) for fault in faults} == {("header", "technique_type")}
    assert "Jacobian Inspection" in faults[0].message


def test_technique_types_go_without_case(check: Check) -> None:
    types = ["weight analysis", "TRIGGER INVERSION", "Attribution Analysis", "jacobian Inspection", "other"]
    assert check(*with_property(NUMBER, technique_type=types)) == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "integer", "suggested_minimum": 0, "suggested_maximum": 9, "minimum": 0},
        {"type": "string", "enum": ["a", "b"]},
        {"enum": [1, "x"]},
        {"type": "boolean"},
        {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        {"type": "array", "items": NUMBER},
        {"oneOf": [NUMBER, {"type": "string", "enum": ["auto"]}]},
        {"$ref": "#/definitions/a"},
    ],
)
def test_what_has_bounds_is_well(check: Check, part: dict[str, Any]) -> None:
    value: Any = {"integer": 1, "string": "a", "boolean": True, "array": [0.5]}.get(str(part.get("type")), 1)
    assert check(*with_property(part, value, definitions={"a": NUMBER})) == []


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ({"type": "number"}, 1, "has no minimum; add it, or suggested_minimum"),
        ({"type": "integer", "minimum": 0}, 1, "has no maximum"),
        ({"type": "number", "minimum": True, "maximum": 1}, 1, "has no minimum"),
        ({"type": "number", "minimum": 2, "maximum": 1}, 2, "a minimum above its maximum"),
        ({"type": "string"}, "a", "has no enum"),
        ({"type": "array"}, [], "must be an object such as"),
        ({"type": "array", "items": {"type": "string"}}, ["a"], "has no enum"),
        ({"type": "object"}, {}, "an object within an object"),
        ({"type": "colour"}, 1, "has the type 'colour'"),
        ({}, 1, "has the type none"),
        (3, 1, "must be an object such as"),
        ({"enum": []}, 1, "must be a list with at least one value"),
        ({"oneOf": [NUMBER, {"type": "string"}]}, 1, "has no enum"),
        ({"$ref": "#/definitions/none"}, 1, "is not in the schema"),
        ({"$ref": "#/definitions/bare"}, 1, "has no minimum"),
        ({"$ref": "#/definitions/loop"}, 1, "refers to itself"),
        ({"$ref": "#/definitions/one"}, 1, "refers to itself"),
    ],
)
def test_what_lacks_bounds_is_named(check: Check, part: object, value: object, words: str) -> None:
    definitions = {
        "bare": {"type": "number"},
        "loop": {"$ref": "#/definitions/loop"},
        "one": {"$ref": "#/definitions/two"},
        "two": {"oneOf": [{"$ref": "#/definitions/one"}]},
    }
    faults = check(*with_property(part, value, definitions=definitions))
    assert any(words in fault.message and fault.where.startswith("properties.p") for fault in faults), faults
    assert faults[0].severity is FaultSeverity.ERROR


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"type": "array"}, "type"),
        ({"additionalProperties": True}, "additionalProperties"),
        ({"properties": []}, "properties"),
    ],
)
def test_the_root_describes_an_object_and_nothing_else(check: Check, change: dict[str, Any], where: str) -> None:
    schema, parameters = with_property(NUMBER)
    assert where in {fault.where for fault in check({**schema, **change}, parameters)}


def test_names_are_the_same_in_both_files(check: Check) -> None:
    faults = check({**HEADER, "properties": {"a": NUMBER, "b": NUMBER}}, {"b": 0.5, "c": 1})
    assert [(fault.file, fault.where) for fault in faults] == [
        ("metaparameters.json", "a"),
        ("metaparameters.json", "c"),
    ]
    assert "the schema describes it" in faults[0].message
    assert "is not in metaparameters_schema.json" in faults[1].message


def test_values_fit_the_schema(check: Check) -> None:
    (fault,) = check(*with_property(NUMBER, 2))
    assert (fault.code, fault.file, fault.where) == ("metaparameters", "metaparameters.json", "p")
    assert "2 is greater than the maximum of 1" in fault.message


def test_a_schema_that_is_none_is_told(check: Check) -> None:
    faults = check(*with_property({**NUMBER, "multipleOf": "x"}))
    assert any("is no schema" in fault.message for fault in faults)
    faults = check(*with_property({"enum": ["a"], "pattern": "("}, "a"))
    assert any(fault.code == "schema" for fault in faults)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "the name 'a' stands twice"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1e999}', "too large a number"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "nested more than 32 deep"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested more than 32 deep"),
        ("[]", "must be a JSON object"),
        ('{\n"a": }', "line 2: is not JSON"),
        ('{"a": "' + "x" * (1 << 20) + '"}', "larger than 1 MiB"),
    ],
    ids=range(10),
)
def test_json_is_read_strictly(check: Check, text: str, words: str) -> None:
    files: list[tuple[Any, Any]] = [(text, {}), ({**HEADER, "properties": {}}, text)]
    for schema, parameters in files:
        faults = check(schema, parameters)
        assert any(fault.code == "json" and words in fault.message for fault in faults), faults


@pytest.mark.parametrize(
    "part",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "other.json#/a"},
        {"$ref": "#anchor"},
        {"oneOf": [{"$ref": "https://example.org"}]},
        {"$dynamicRef": "#x"},
        {"$recursiveRef": "#"},
        {"$id": "http://example.org/x", **NUMBER},
    ],
)
def test_references_stay_within_the_schema(check: Check, part: object) -> None:
    faults = check(*with_property(part))
    assert {fault.code for fault in faults} == {"reference"}


def test_a_pattern_that_takes_for_ever_is_a_fault(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "_TIME_LIMIT", 2.0)
    start = time.monotonic()
    faults = check(*with_property({"enum": ["a" * 40 + "!"], "pattern": "^(a+)+$"}, "a" * 40 + "!"))
    assert [fault.code for fault in faults] == ["schema.slow"]
    assert "takes too long" in faults[0].message
    assert time.monotonic() - start < 30


def test_references_that_multiply_take_no_time_here(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "_apply", lambda schema, parameters: [])  # that has a limit of its own
    definitions: dict[str, Any] = {
        f"d{i}": {"oneOf": [{"$ref": f"#/definitions/d{i + 1}"}, {"$ref": f"#/definitions/d{i + 1}"}]}
        for i in range(25)
    }
    definitions["d25"] = NUMBER
    start = time.monotonic()
    assert check(*with_property({"$ref": "#/definitions/d0"}, definitions=definitions)) == []
    assert time.monotonic() - start < 10


def test_long_names_above_many_parts_take_no_memory(check: Check) -> None:
    schema = {**HEADER, "properties": {"p" * 200_000: {"oneOf": [{}] * 50_000}}}
    faults = check(schema, {"p" * 200_000: 1})
    assert 0 < len(faults) <= 50
    assert all(len(str(fault)) < 1000 for fault in faults)


def test_what_is_told_is_printable(check: Check) -> None:
    name = "a\x1b[2J\u202eb\ud800"
    faults = check({**HEADER, "technique_type": [name], "properties": {name: {"type": name}}}, {name + "x": 1})
    assert faults
    assert all(str(fault).isprintable() for fault in faults)


def test_a_detector_needs_no_header(detector_folder: Callable[[str], Path]) -> None:
    folder = detector_folder("class X: pass")
    assert check_submission(Submission.load(folder)) == []
    (folder / "metaparameters.json").write_text('{"p": 0.5}')
    schema, _ = with_property(NUMBER)
    del schema["technique"]
    (folder / "metaparameters_schema.json").write_text(json.dumps(schema))
    (fault,) = check_submission(Submission.load(folder))
    assert (fault.where, fault.severity) == ("technique", FaultSeverity.WARNING)


def test_options_that_the_program_does_not_know_are_a_warning(nist_submission: Path) -> None:
    source = "import argparse\np = argparse.ArgumentParser()\n"
    source += "".join(f"p.add_argument('--{name}')\n" for name in ("model_filepath", "result_filepath"))
    (nist_submission / "entrypoint.py").write_text(source)
    faults = check_submission(Submission.load(nist_submission))
    told = [fault for fault in faults if fault.code == "arguments"]
    assert any("does not declare --scratch_dirpath" in fault.message for fault in told)
    assert any("no subcommand configure" in fault.message for fault in told)
    assert not any("--examples_dirpath" in fault.message for fault in told)
    assert {fault.severity for fault in told} == {FaultSeverity.WARNING}
    assert faults[0].severity is FaultSeverity.ERROR


def test_an_image_is_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.sif"
    path.write_bytes(b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0" + b"\0" * 50)
    assert check_submission(Submission.load(path)) == []
    path.write_bytes(b"<html>")
    (fault,) = check_submission(Submission.load(path))
    assert (fault.code, fault.severity) == ("image", FaultSeverity.ERROR)


KEYS = st.sampled_from(["type", "enum", "$ref", "oneOf", "items", "properties", "minimum", "$id", "p", "pattern"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON, JSON)
def test_no_schema_raises_anything(check: Check, monkeypatch: pytest.MonkeyPatch, part: object, value: object) -> None:
    monkeypatch.setattr(checks_module, "_apply", lambda schema, parameters: [])  # a process each is too slow
    for fault in check({**HEADER, "properties": {"p": part}, "definitions": {"p": part}}, {"p": value}):
        assert str(fault).isprintable()


@settings(max_examples=200)
@given(JSON, JSON)
def test_validation_raises_nothing(part: object, value: object) -> None:
    from palladion.submissions.validation import faults_of

    for fault in faults_of({**HEADER, "properties": {"p": part}}, {"p": value}):
        assert all(isinstance(word, str) for word in fault)


def test_a_missing_library_is_named(check: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "fake" / "jsonschema"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise ImportError")
    search = [str(fake.parent), *(str(Path(path).resolve()) for path in sys.path if path.endswith("src"))]
    monkeypatch.setenv("PYTHONPATH", ":".join(search))
    with pytest.raises(PalladionError, match="jsonschema is not installed"):
        check(*with_property(NUMBER))
