import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.tracks.inputs import Track, kind_of, label_of, messages_of, output_of, sentence_of
from palladion.tracks.records import (
    Limits,
    read_object,
    read_rows,
    rows_of,
    scan_rows,
    write_json_array,
    write_jsonl,
)

# JSON keeps its numbers exact only as far as a float does, and rows may hold no halves of surrogate pairs.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
tables = st.lists(st.dictionaries(texts, values, max_size=4), min_size=1, max_size=5)


WRITERS: tuple[Callable[[Path, list[dict[str, Any]]], None], ...] = (write_json_array, write_jsonl)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@given(tables)
def test_what_is_written_is_read_under_either_name(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for name in ("rows.json", "rows.jsonl"):
        for write in WRITERS:
            write(folder / name, rows)
            read = read_rows(folder / name, limits=Limits(depth=64))
            assert [row.values for row in read] == rows
            assert [row.number for row in read] == list(range(1, len(rows) + 1))


def test_an_array_is_written_as_the_public_challenge_has_it(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"instruction": "Übe\nes", "output": ""},
        {"messages": [{"role": "user", "content": "a"}]},
    ]
    write_json_array(tmp_path / "a.json", rows)
    assert (tmp_path / "a.json").read_text() == json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    write_json_array(tmp_path / "a.json", [])
    assert (tmp_path / "a.json").read_text() == "[]\n"
    write_jsonl(tmp_path / "a.json", rows)
    assert (tmp_path / "a.json").read_text().splitlines()[0] == '{"instruction": "Übe\\nes", "output": ""}'


@pytest.mark.parametrize("row", [{"a": float("nan")}, {"a": float("inf")}, {"a": "\ud800"}, {"a": b"x"}, {"\udfff": 1}])
def test_rows_that_nobody_could_read_are_not_written(tmp_path: Path, row: dict[str, Any]) -> None:
    for write in WRITERS:
        with pytest.raises(InputError, match="row 2"):
            write(tmp_path / "a.json", [{"a": 1}, row])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        '{"a": 1}\n{"a": 2}\n',
        '\ufeff{"a": 1}\r\n\r\n  \n{"a": 2}',
        '[{"a": 1}, {"a": 2}]',
        '\ufeff \n[\n{"a": 1}\n,\n{"a": 2}\n]\n\n',
        # Other line separators may stand in a JSON string as they are.
        '{"a": 1, "b": "x\u2028y\x85z"}\n{"a": 2}',
    ],
)
def test_both_forms_with_blank_lines_and_byte_order_marks(tmp_path: Path, content: str) -> None:
    for name in ("a.json", "a.jsonl", "a.txt"):
        rows = read_rows(written(tmp_path / name, content))
        assert [(row.number, row.values["a"]) for row in rows] == [(1, 1), (2, 2)]


def test_rows_know_their_lines(tmp_path: Path) -> None:
    assert [row.line for row in read_rows(written(tmp_path / "a", '\n{"a":1}\n\n{"a":2}\n'))] == [2, 4]
    array = '[\n  {"a":\n 1},\n\n  {"a": 2}, {"a": 3},\n{"a": 4}\n]'
    assert [row.line for row in read_rows(written(tmp_path / "a", array))] == [2, 5, 5, 6]
    assert [row.line for row in read_rows(written(tmp_path / "a.csv", 'a,b\n"x\ny",1\nz,2\n'))] == [2, 4]
    assert [(row.number, row.line) for row in rows_of([{"a": 1}])] == [(1, None)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no rows"),
        (" \n\n", "holds no rows"),
        ("[]", "holds no rows"),
        ('{"a": 1}\n[1]\n"x"\n', "line 2: row 2: is a list;.*\n.*line 3: row 3: is a text;"),
        ('[{"a": 1}, 7, null, true]', "row 2: is a number;.*\n.*row 3: is null;.*\n.*row 4: is true or false;"),
        ('{"a": 1, "b": 2, "a": 3}', "line 1: row 1: has the field 'a' twice"),
        ('{"a": {"\\u007fb": 1, "\\u007fb": 3}}', r"has the field '\\x7fb' twice"),
        ('{"a": NaN}\n{"a": -Infinity}', "row 1: holds NaN.*\n.*row 2: holds -Infinity"),
        ('{"a": 1e999}', "holds 1e999, which is too large"),
        ('{"a": ' + "9" * 5000 + "}", "holds a number of 5000 digits"),
        ('{"a": "\\ud83d"}', "half of a surrogate pair"),
        ('{"\\udfff": 1}', "half of a surrogate pair"),
        ('{"a": "\\ud83d\\udE00"}\n{"a": [["\\uDC00"]]}', "line 2: row 2: holds half of a surrogate pair"),
        (
            '{\n  "a": 1\n}',
            "line 1: row 1: is not JSON.*; a JSON array of objects is needed, or one JSON object a line",
        ),
        ('{"a": 1}\n{"a": 1\n{"a": 1}', "line 2: row 2: is not JSON"),
        ('{"a": 1} {"a": 2}', "more than one value in a line"),
        ('[\n{"a": 1},\n{"a": 2', "line 3: row 2: is not JSON"),
        ('[{"a": 1} {"a": 2}]', "row 1: is not JSON: expecting ',' or ']'"),
        ('[{"a": 1},]', "row 2: is not JSON"),
        ('[{"a": 1}]\n[{"a": 2}]', "line 2: goes on after the end of its array"),
        ("[", "row 1: is not JSON"),
        ('[{"a": "x\ny"}]', "row 1: is not JSON"),
        (b'{"a": "\xff"}', "line 1: is not UTF-8"),
        (b'{"a": 1}\n\xc3', "line 2: is not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8; it looks like UTF-16"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_every_row(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        read_rows(written(tmp_path / "a.json", content))
    assert str(error.value).startswith(f"{tmp_path / 'a.json'}")


def test_of_many_faults_the_others_are_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_rows(written(tmp_path / "a.json", "7\n" * 100))
    lines = str(error.value).split("\n")
    assert len(lines) == 21
    assert lines[-1].endswith("and 80 more faults")


SHAPES = ("[" * 100_000, '[{"a":' * 50_000, '{"a":' * 100_000, '[{"a": ' + "[" * 900 + "]" * 900 + "}]")


@pytest.mark.parametrize("shape", SHAPES)
def test_nesting_is_no_way_in(tmp_path: Path, shape: str) -> None:
    with pytest.raises(InputError, match=r"deep within each other|not JSON"):
        read_rows(written(tmp_path / "a.json", shape))


def test_depth_counts_from_the_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", '{"a": [{"b": []}]}')
    assert read_rows(path, limits=Limits(depth=4))
    with pytest.raises(InputError, match="more than 3 deep"):
        read_rows(path, limits=Limits(depth=3))


def test_sizes_are_limited(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", '{"a": "ää"}\n{"a": "x"}\n')
    assert read_rows(path, limits=Limits(bytes=25, rows=2, row_bytes=13))
    with pytest.raises(InputError, match="is larger than 24 bytes"):
        read_rows(path, limits=Limits(bytes=24))
    with pytest.raises(InputError, match="line 2: has more than 1 rows"):
        read_rows(path, limits=Limits(rows=1))
    for content in ('{"a": "ää"}', '[{"a": "ää"}]', "a\nääääää\n"):
        name = "a.tsv" if content[0] == "a" else "a.json"
        with pytest.raises(InputError, match="row 1: is larger than"):
            read_rows(written(tmp_path / name, content), limits=Limits(row_bytes=11))


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for name, words in (("pipe.json", "no plain file"), (".", "no plain file"), ("none.json", "no such file")):
        with pytest.raises(InputError, match=words):
            read_rows(tmp_path / name)


def test_tables_are_read_as_published_data_has_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", 'Sentences \t Labels\r\n"one , \tquote \t\r\n\r\ntwo"\t 1 \r\n')
    with pytest.raises(InputError, match="line 2: row 1: has 3 columns where the header has 2"):
        read_rows(path)
    path = written(tmp_path / "a.tsv", '\ufeffSentences \t Labels\r\n"one , quote \t 0\r\n\r\ntwo"\t 1 \r\n')
    assert [(row.number, row.line, row.values) for row in read_rows(path)] == [
        (1, 2, {"sentence": '"one , quote', "label": "0"}),
        (2, 4, {"sentence": 'two"', "label": "1"}),
    ]
    path = written(tmp_path / "a.CSV", 'sentence,label\n"one, ""two""", 1\n')
    assert [row.values for row in read_rows(path)] == [{"sentence": 'one, "two"', "label": "1"}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tsv", "a\tA\n1\t2\n", "two of one name"),
        ("a.tsv", "a\t\n1\t2\n", "a column without a name"),
        ("a.csv", 'a\n"x\n', "line 2: is not CSV"),
        ("a.csv", "a,b\n1\n1,2,3\n", "row 1: has 1 columns.*\n.*row 2: has 3 columns"),
        ("a.csv", "a,b\n", "holds no rows"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, name: str, content: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_rows(written(tmp_path / name, content))


def test_scanning_leaves_the_judgement_to_the_caller(tmp_path: Path) -> None:
    items = scan_rows(written(tmp_path / "a.json", '{"a": NaN}\n7\n{"a"\n{"a": 1}\n'))
    assert [(item.number, item.value, len(item.faults)) for item in items] == [
        (1, {"a": 0.0}, 1),
        (2, 7, 0),
        (3, None, 1),
        (4, {"a": 1}, 0),
    ]


def test_one_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    assert read_object(written(path, '\ufeff\n{"a": {"b": [1]}}\n')) == {"a": {"b": [1]}}
    for content, words in (
        ("[1]", "is a list; an object"),
        ('{"a": 1}{}', "line 1: is not JSON: more than one value"),
        ('{"a": 1,\n "a": 2}', "has the field 'a' twice"),
        ('{"a": NaN}', "holds NaN"),
        ("", "is not JSON"),
        ("[" * 100_000, "deep within each other"),
        (f'{{"a": "{"x" * 2000000}"}}', "larger than"),
    ):
        with pytest.raises(InputError, match=words):
            read_object(written(path, content))


DATA = os.environ.get("PALLADION_DATA")


@pytest.mark.skipif(not DATA, reason="PALLADION_DATA does not name the folder of published data")
def test_published_data_is_read() -> None:
    assert DATA is not None
    text = Path(DATA) / "text"
    for name, count, labels in (
        ("sst-2/clean/dev.tsv", 872, {0, 1}),
        ("sst-2/badnets/test.tsv", 912, {1}),
        ("sst-2/syntactic/train.tsv", 6920, {0, 1}),
        ("ag/clean/test.tsv", 7600, {0, 1, 2, 3}),
        ("ag/syntactic/test.tsv", 5699, {0}),
    ):
        rows = read_rows(text / name)
        assert len(rows) == count
        assert kind_of(rows) is Track.CLASSIFICATION
        assert {label_of(row) for row in rows} == labels
        assert all(sentence_of(row) == sentence_of(row).strip() != "" for row in rows)
    rows = read_rows(Path(DATA) / "instruct" / "refusal" / "test" / "poisoned_vpi.json")
    assert len(rows) == 200
    assert kind_of(rows) is Track.GENERATION
    assert all(messages_of(row)[0]["content"] and output_of(row) for row in rows)
