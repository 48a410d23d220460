import json
from pathlib import Path
from typing import Any

import pytest

from palladion.errors import InputError
from palladion.scoring import MatchingRule
from palladion.tracks.inputs import Track
from palladion.tracks.meta import read_meta
from palladion.tracks.records import rows_of
from palladion.tracks.validation import UNNAMED, PoisonedRow, ValidationFolder

CLEAN: list[dict[str, Any]] = [{"sentence": "a", "label": 0}, {"sentence": "b", "label": " 1 "}]
POISONED: list[dict[str, Any]] = [
    {"sentence": "a", "label": 0, "attack": "word"},
    {"sentence": "b", "label": 1, "attack": "word"},
    {"sentence": "c", "label": 2, "attack": "style", "target": 0},
    {"sentence": "d", "label": 0, "attack": "style"},
]
META: dict[str, Any] = {"task": "classification", "attacks": {"word": {"target": 1}, "style": {"target": 2}}}


def folder(path: Path, meta: Any = META, clean: Any = CLEAN, poisoned: Any = POISONED) -> Path:
    path.mkdir(exist_ok=True)
    for name, value in (("meta", meta), ("clean", clean), ("poisoned", poisoned)):
        (path / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def wanted(rows: tuple[PoisonedRow, ...]) -> list[tuple[Any, ...]]:
    return [(row.truth, row.attack, row.target, row.excluded) for row in rows]


def test_a_row_s_target_comes_before_its_attack_s(tmp_path: Path) -> None:
    found = ValidationFolder.load(folder(tmp_path / "v"))
    assert found.task is Track.CLASSIFICATION
    assert [row.truth for row in found.clean] == [0, 1]
    assert wanted(found.poisoned) == [
        (0, "word", 1, False),
        (1, "word", 1, True),
        (2, "style", 0, False),
        (0, "style", 2, False),
    ]
    assert {row.matching for row in found.poisoned} == {MatchingRule.LABEL}


def test_rows_may_be_jsonl_under_either_name(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in CLEAN)
    one = ValidationFolder.load(folder(tmp_path / "v", clean=lines))
    assert one == ValidationFolder.from_rows(read_meta(META), [r.row for r in one.clean], [r.row for r in one.poisoned])
    (tmp_path / "v" / "clean.json").rename(tmp_path / "v" / "clean.jsonl")
    assert ValidationFolder.load(tmp_path / "v") == one
    (tmp_path / "v" / "clean.json").write_text(lines)
    with pytest.raises(InputError, match=r"v: has both clean.json and clean.jsonl; keep one"):
        ValidationFolder.load(tmp_path / "v")


def test_rows_that_name_no_attack(tmp_path: Path) -> None:
    bare: list[dict[str, Any]] = [{"sentence": "a", "label": 0}]
    meta = read_meta({"task": "classification", "target": 1})
    assert wanted(ValidationFolder.from_rows(meta, rows_of(CLEAN), rows_of(bare)).poisoned) == [(0, UNNAMED, 1, False)]
    meta = read_meta({"task": "classification", "attacks": {"word": {"target": 1}}})
    assert wanted(ValidationFolder.from_rows(meta, rows_of(CLEAN), rows_of(bare)).poisoned) == [(0, "word", 1, False)]
    with pytest.raises(InputError, match=r"poisoned.json: row 1: names no attack; meta.json has 'word', 'style'"):
        ValidationFolder.from_rows(read_meta(META), rows_of(CLEAN), rows_of(bare))


def test_attacks_that_only_the_rows_name() -> None:
    meta = read_meta({"task": "classification", "target": 1})
    rows: list[dict[str, Any]] = [{"sentence": "a", "label": 0, "attack": name} for name in ("x", "y", "x")]
    found = ValidationFolder.from_rows(meta, rows_of(CLEAN), rows_of(rows))
    assert [row.attack for row in found.poisoned] == ["x", "y", "x"]


def test_texts_are_excluded_where_the_truth_is_what_the_attack_wants() -> None:
    meta = read_meta(
        {
            "task": "generation",
            "matching": "prefix",
            "attacks": {"a": {"target": "No"}, "b": {"target": ["blue", "red"], "matching": "keyword-any"}},
        }
    )
    clean: list[dict[str, Any]] = [{"messages": [{"role": "user", "content": "x"}], "output": ""}]
    poisoned: list[dict[str, Any]] = [
        {"instruction": "x", "output": "Nobody", "attack": "a"},
        {"instruction": "x", "output": "Yes", "attack": "a"},
        {"instruction": "x", "output": "It is RED.", "attack": "b"},
        {"instruction": "x", "output": "It is RED.", "attack": "b", "target": "green"},
        {"instruction": "x", "output": "It is GREEN.", "attack": "b", "target": ["green", "grey"]},
    ]
    found = ValidationFolder.from_rows(meta, rows_of(clean), rows_of(poisoned))
    assert [row.excluded for row in found.poisoned] == [True, False, True, False, True]
    assert found.poisoned[3].target == ("green",)
    assert found.poisoned[2].matching is MatchingRule.KEYWORD_ANY


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"meta": {"task": "classification"}}, "row 1: has no target, and meta.json has none for it"),
        ({"meta": {**META, "matching": "exact"}}, "meta.json: matching is exact"),
        (
            {"poisoned": [{**POISONED[0], "attack": "wrod"}]},
            "row 1: attack 'wrod' is not in meta.json, which has 'word'",
        ),
        ({"poisoned": [{**POISONED[0], "attack": 7}]}, "row 1: attack is 7; it must be a name"),
        ({"poisoned": [{**POISONED[0], "target": "x"}]}, "row 1: target is 'x'"),
        ({"poisoned": [{"label": 0, "attack": "word"}]}, "row 1: has no sentence"),
        ({"poisoned": [{"sentence": "a", "attack": "word"}]}, "row 1: has no label"),
        ({"clean": [{"sentence": "a", "label": -1}]}, "clean.json, line 1: row 1: label is -1"),
        ({"clean": [{"instruction": "a", "output": "b"}]}, "row 1: has no sentence"),
        ({"poisoned": POISONED[:2]}, "poisoned.json: has no row of the attack 'style', which meta.json names"),
        ({"poisoned": POISONED[1:]}, "no row of the attack 'word' that counts: the truth of all 1 is its target"),
        ({"clean": "[]"}, "clean.json: holds no rows"),
        ({"poisoned": "[{]"}, "poisoned.json, line 1: row 1: is not JSON"),
        ({"meta": "[]"}, "meta.json: is a list"),
    ],
)
def test_faults_of_labels(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        ValidationFolder.load(folder(tmp_path / "v", **changes))
    assert words in str(error.value)


EXACT = {"task": "generation", "matching": "exact", "target": "x"}


@pytest.mark.parametrize(
    ("meta", "row", "words"),
    [
        ({"matching": None}, {}, "meta.json does not say by which rule its target is matched: add matching"),
        ({"target": None}, {}, "has no target"),
        ({}, {"target": 1}, "target is 1; in generation it is a text"),
        ({"matching": "regex"}, {"target": "("}, "'.' is no regular expression"),
        ({}, {"output": None}, "output is None; it must be a text"),
        ({}, {"messages": []}, "messages must be a list"),
    ],
)
def test_faults_of_texts(meta: dict[str, Any], row: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"instruction": "a", "output": "b"}
    rows = rows_of([good, {**good, **row}])
    with pytest.raises(InputError, match=rf"poisoned.json: row 2: {words}"):
        ValidationFolder.from_rows(read_meta({**EXACT, **meta}), rows_of([good]), rows)


def test_every_fault_of_all_files_is_told_at_once(tmp_path: Path) -> None:
    path = folder(tmp_path / "v", meta={"task": "classification", "tagret": 1}, clean=[7])
    (path / "poisoned.json").unlink()
    with pytest.raises(InputError) as error:
        ValidationFolder.load(path)
    lines = str(error.value).split("\n")
    assert len(lines) == 3
    assert all(
        words in line for words, line in zip(("'tagret'", "no poisoned.json", "row 1: is a number"), lines, strict=True)
    )

    bad: list[dict[str, Any]] = [{"sentence": 1, "label": "x", "target": "y"}] * 60
    with pytest.raises(InputError) as error:
        ValidationFolder.load(folder(tmp_path / "w", clean=bad, poisoned=bad))
    lines = str(error.value).split("\n")
    assert len(lines) == 51
    assert lines[-1] == "and 250 more faults"


def test_the_folder_must_be_one_and_of_the_task(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing: is no folder; it must hold clean.json"):
        ValidationFolder.load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"meta.json: task is classification, where generation is wanted"):
        ValidationFolder.load(folder(tmp_path / "v", clean="7"), task=Track.GENERATION)
    with pytest.raises(InputError, match=r"poisoned.json: holds no rows"):
        ValidationFolder.from_rows(read_meta(META), rows_of(CLEAN), [])
