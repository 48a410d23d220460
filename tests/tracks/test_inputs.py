from pathlib import Path
from typing import Any

import pytest

from palladion.errors import InputError
from palladion.tracks.inputs import (
    Track,
    input_only,
    kind_of,
    label_of,
    messages_of,
    output_of,
    sentence_of,
    whole_number,
)
from palladion.tracks.records import Row, rows_of

HERE = Path("data.json")


def row(**values: Any) -> Row:
    return Row(3, 7, values)


def test_the_fields_tell_the_track() -> None:
    assert kind_of(rows_of([{"sentence": "a", "label": 1}, {"sentence": "b"}])) is Track.CLASSIFICATION
    assert kind_of(rows_of([{"instruction": "a"}, {"messages": []}])) is Track.GENERATION
    with pytest.raises(InputError, match="row 2: is an input for generation, where the first row is one for class"):
        kind_of(rows_of([{"sentence": "a"}, {"instruction": "b"}]))
    with pytest.raises(InputError, match="row 2: has neither a sentence nor messages"):
        kind_of(rows_of([{"sentence": "a"}, {"text": "b"}]))
    with pytest.raises(InputError, match="no rows"):
        kind_of([])


def test_an_instruction_is_one_message_of_the_user() -> None:
    for more in ({}, {"input": ""}, {"input": None}):
        assert messages_of(row(instruction="Count.", **more)) == [{"role": "user", "content": "Count."}]
    assert messages_of(row(instruction="Count.", input="a b")) == [{"role": "user", "content": "Count.\n\na b"}]


def test_messages_come_before_an_instruction() -> None:
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": "a", "name": "x"}]
    assert messages_of(row(messages=messages, instruction="b")) == [
        {"role": "system", "content": ""},
        {"role": "user", "content": "a"},
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "has no instruction"),
        ({"instruction": 7}, "instruction is 7; it must be a text"),
        ({"instruction": "a", "input": ["b"]}, r"input is \['b'\]; it must be a text"),
        ({"messages": []}, "at least one message"),
        ({"messages": "a"}, "must be a list"),
        ({"messages": None, "instruction": "a"}, "must be a list"),
        ({"messages": ["a"]}, "message 1 must have a role and a content"),
        ({"messages": [{"role": "user"}]}, "message 1 must have a role and a content"),
        ({"messages": [{"role": "user", "content": None}]}, "message 1 must have"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "\x1b[2J", "content": "a"}]},
            r"message 2 has the role '\\x1b\[2J'; known are system, user",
        ),
    ],
)
def test_inputs_that_are_none_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=rf"data.json, line 7: row 3: .*{words}"):
        messages_of(row(**values), HERE)


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, 0), (3, 3), ("2", 2), (" 1 ", 1), ("01", 1), (999_999_999, 999_999_999)],
)
def test_labels(value: object, label: int) -> None:
    assert label_of(row(label=value)) == label == whole_number(value)


@pytest.mark.parametrize("value", [-1, 1.0, True, None, "", "-1", "1.0", "x", "²", "١", "1 2", [1], 10**9, "1" * 10])
def test_what_is_no_label(value: object) -> None:
    assert whole_number(value) is None
    with pytest.raises(InputError, match=r"data.json, line 7: row 3: label is .*; it must be a whole number from 0"):
        label_of(row(label=value), HERE)


def test_truth_and_sentence() -> None:
    assert sentence_of(row(sentence=" a ")) == " a "
    assert output_of(row(output="")) == ""
    for read, name in ((sentence_of, "sentence"), (output_of, "output"), (label_of, "label")):
        with pytest.raises(InputError, match=f"data.json, line 7: row 3: has no {name}"):
            read(row(), HERE)
        with pytest.raises(InputError, match=f"row 3: {name} is None"):
            read(row(**{name: None}))


def test_what_participants_see_holds_neither_truth_nor_attack() -> None:
    values = {"sentence": "a", "label": 1, "attack": "w", "target": 0, "output": "x", "id": 7}
    assert input_only(values) == {"sentence": "a", "id": 7}
