from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.tracks.outputs import (
    FATAL,
    MOST_FAULTS,
    WARNINGS,
    OutputFault,
    read_generations,
    read_labels,
    refuse_fatal,
    write_generations,
    write_labels,
)

INPUTS = [{"instruction": "a", "input": ""}, {"instruction": "b", "input": "c"}]


def told(faults: list[OutputFault]) -> list[tuple[str, int | None]]:
    return [(fault.code, fault.row) for fault in faults]


def labels_in(path: Path, content: str | bytes, *, rows: int | None = None, classes: int | None = None) -> Any:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    labels, faults = read_labels(path, rows=rows, classes=classes)
    return labels, told(faults)


@given(st.lists(st.integers(0, 10**9 - 1), max_size=20))
def test_labels_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, labels: list[int]) -> None:
    path = tmp_path_factory.mktemp("labels") / "a.csv"
    write_labels(path, labels)
    assert path.read_text() == "\n".join(["label", *map(str, labels), ""])
    assert read_labels(path, rows=len(labels), classes=None) == (labels, [])


def test_labels_that_are_none_are_not_written(tmp_path: Path) -> None:
    for bad in (-1, 0.5, True):
        with pytest.raises(InputError, match="row 2: label is"):
            write_labels(tmp_path / "a.csv", [0, bad])  # type: ignore[list-item]
    assert not list(tmp_path.iterdir())


def test_labels_with_blanks_quotes_and_a_byte_order_mark(tmp_path: Path) -> None:
    content = '\ufeff"label"\r\n 1 \r\n"0"\r\n2\r\n\r\n\n'
    assert labels_in(tmp_path / "a.csv", content, rows=3, classes=3) == ([1, 0, 2], [])


def test_every_fault_of_labels_is_told_at_once(tmp_path: Path) -> None:
    content = "label\n0\n\nx\n-1\n1.0\n0,1\n3\nnan\n2\n"
    labels, faults = labels_in(tmp_path / "a.csv", content, rows=10, classes=3)
    assert labels == [0, None, None, None, None, None, None, None, 2]
    assert faults == [
        ("count", None),
        *(("not_a_label", row) for row in (2, 3, 4, 5, 6)),
        ("range", 7),
        ("not_a_label", 8),
    ]
    # Without the number of classes there is no label beyond them.
    assert labels_in(tmp_path / "a.csv", content)[0][6] == 3


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        ("", [("header", None), ("count", None)]),
        ("0\n1\n", [("header", None), ("count", None)]),
        (",label\n0,1\n1,1\n", [("header", None), ("not_a_label", 1), ("not_a_label", 2)]),
        ("Label\n0\n1\n", [("header", None)]),
        ("sentence,label\n0\n1\n", [("header", None)]),
        ("label\n0\n1\n1\n", [("count", None)]),
        (b"label\n\xff\n", [("unreadable", None)]),
        ("label\n0\n1\n".encode("utf-16"), [("unreadable", None)]),
    ],
)
def test_files_of_labels_that_cannot_be_scored(
    tmp_path: Path, content: str | bytes, faults: list[tuple[str, int | None]]
) -> None:
    assert labels_in(tmp_path / "a.csv", content, rows=2, classes=2)[1] == faults
    with pytest.raises(InputError) as error:
        refuse_fatal(read_labels(tmp_path / "a.csv", rows=2, classes=2)[1])
    assert len(str(error.value).split("\n")) == len(faults)


def test_messages_name_file_and_row_and_hide_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",label\n\x1b[31mred\n")
    _, faults = read_labels(tmp_path / "a.csv", rows=2, classes=2)
    assert [str(fault) for fault in faults] == [
        "a.csv: the header must be 'label' alone; it is ',label'; an index is not wanted",
        "a.csv: has 1 rows where there are 2 inputs",
        r"a.csv, row 1: is '\x1b[31mred'; it must be one whole number from 0",
    ]


def test_a_file_that_is_missing_is_a_fault_like_others(tmp_path: Path) -> None:
    assert told(read_labels(tmp_path / "a.csv", rows=1, classes=1)[1]) == [("unreadable", None)]
    assert told(read_generations(tmp_path / "a.json", rows=1, inputs=None)[1]) == [("unreadable", None)]
    (tmp_path / "link.csv").symlink_to(tmp_path / "nothing")
    assert told(read_labels(tmp_path / "link.csv", rows=1, classes=1)[1]) == [("unreadable", None)]


def test_faults_are_counted_beyond_a_number_and_no_kind_is_hidden(tmp_path: Path) -> None:
    lines = ["label", *["x"] * 200, "9", *["y"] * 100]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    _, faults = read_labels(tmp_path / "a.csv", rows=300, classes=3)
    assert len(faults) == MOST_FAULTS + 1
    assert told(faults)[:2] == [("count", None), ("not_a_label", 1)]
    assert told(faults)[-2:] == [("range", 201), ("more", None)]
    assert faults[-1].message == f"and {302 - MOST_FAULTS} more faults"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_texts_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, outputs: list[str]) -> None:
    path = tmp_path_factory.mktemp("texts") / "a.json"
    inputs = [{"instruction": f"do {i}", "input": "", "output": "the truth"} for i in range(len(outputs))]
    write_generations(path, inputs, outputs)
    assert read_generations(path, rows=len(outputs), inputs=inputs) == (outputs, [])


def test_an_output_stands_beside_its_input(tmp_path: Path) -> None:
    write_generations(tmp_path / "a.json", INPUTS[:1], ["ä"])
    expected = '[\n  {\n    "instruction": "a",\n    "input": "",\n    "output": "ä"\n  }\n]\n'
    assert (tmp_path / "a.json").read_text() == expected
    with pytest.raises(InputError, match="1 outputs for 2 inputs"):
        write_generations(tmp_path / "b.json", INPUTS, ["x"])
    assert not (tmp_path / "b.json").exists()


def generations_in(path: Path, content: str, inputs: list[dict[str, Any]] | None = INPUTS) -> Any:
    path.write_text(content)
    outputs, faults = read_generations(path, rows=None, inputs=inputs)
    return outputs, told(faults)


@pytest.mark.parametrize(
    ("content", "outputs", "faults"),
    [
        ('[{"instruction": "a", "output": ""}, {"instruction": "b", "input": "c", "output": "y"}]', ["", "y"], []),
        ('{"instruction": "a", "output": "x"}\n{"instruction": "b", "input": "c", "output": "y"}', ["x", "y"], []),
        ('[{"output": "x"}, {"output": "y"}]', ["x", "y"], [("no_input", None)]),
        ('[{"instruction": "a", "output": "x"}, {"output": "y"}]', ["x", "y"], [("no_input", None)]),
        (
            '[{"instruction": "b", "input": "c", "output": "y"}, {"instruction": "a", "input": "", "output": "x"}]',
            ["y", "x"],
            [("order", 1), ("order", 2)],
        ),
        ('[{"instruction": "a", "output": "x"}]', ["x"], [("count", None)]),
        (
            '[{"instruction": "a"}, {"instruction": "b", "input": "c", "output": 7}, "z", {"output": NaN}]',
            [None, None, None, None],
            [("count", None), ("no_output", 1), ("not_a_text", 2), ("record", 3), ("record", 4)],
        ),
        ('[{"instruction": "a", "output": "x"}, {"output', [], [("unreadable", None)]),
        (
            '{"instruction": "a", "output": "x", "output": "y"}\n{"output": "\\ud800"}',
            [None, None],
            [("record", 1), ("record", 2)],
        ),
        ("[]", [], [("count", None)]),
    ],
)
def test_every_fault_of_texts_is_told_at_once(
    tmp_path: Path, content: str, outputs: list[str | None], faults: list[tuple[str, int | None]]
) -> None:
    assert generations_in(tmp_path / "a.json", content) == (outputs, faults)


def test_messages_are_compared_as_a_whole(tmp_path: Path) -> None:
    inputs = [{"messages": [{"role": "user", "content": "a"}]}]
    write_generations(tmp_path / "a.json", inputs, ["x"])
    assert read_generations(tmp_path / "a.json", rows=1, inputs=inputs) == (["x"], [])
    other = [{"messages": [{"role": "user", "content": "b"}]}]
    outputs, faults = read_generations(tmp_path / "a.json", rows=1, inputs=other)
    assert (outputs, told(faults)) == (["x"], [("order", 1)])
    assert str(faults[0]) == "a.json, row 1: differs from input 1 in messages"


@pytest.mark.parametrize(
    ("record", "row"),
    [
        ({"instruction": "a"}, {"messages": [{"role": "user", "content": "a"}]}),
        ({"messages": [{"role": "user", "content": "a"}]}, {"instruction": "a", "input": ""}),
        ({"input": "a"}, {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
def test_an_input_of_the_other_kind_is_another_input(
    tmp_path: Path, record: dict[str, Any], row: dict[str, Any]
) -> None:
    write_generations(tmp_path / "a.json", [record], ["x"])
    assert told(read_generations(tmp_path / "a.json", rows=1, inputs=[row])[1]) == [("order", 1)]


def test_without_inputs_only_the_count_is_checked(tmp_path: Path) -> None:
    assert generations_in(tmp_path / "a.json", '[{"output": "x"}]', inputs=None) == (["x"], [])
    assert told(read_generations(tmp_path / "a.json", rows=2, inputs=None)[1]) == [("count", None)]


def test_only_fatal_faults_keep_a_file_from_being_scored(tmp_path: Path) -> None:
    harmless = [OutputFault(code, "a", 1, "m") for code in ("not_a_label", "range", "no_output", "no_input", "more")]
    refuse_fatal(harmless)
    for code in FATAL:
        with pytest.raises(InputError, match="a, row 1: m\n"):
            refuse_fatal([*harmless, OutputFault(code, "a", None, "m")])
    assert not FATAL & WARNINGS
