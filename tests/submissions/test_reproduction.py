from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.submissions.reproduction import (
    ComparedFile,
    Recipe,
    compare_outputs,
    copies_of_outputs,
    load_recipe,
)
from palladion.tracks.outputs import write_generations, write_labels
from palladion.tracks.track_file import TrackFile, load_track
from tests.submissions.tracks import inputs_of, write_track

SUFFIX = {"classification": ".csv", "generation": ".json"}


class Both:
    """A track with two tasks, and folders of its outputs: as submitted, and as made anew."""

    def __init__(self, folder: Path, kind: str, rows: int) -> None:
        self.kind, self.inputs = kind, inputs_of(kind, rows)
        self.files = [f"out_task{number}{SUFFIX[kind]}" for number in (1, 2)]
        write_track(folder / "track", "tiny", kind, dict.fromkeys(self.files, self.inputs))
        self.track: TrackFile = load_track(folder / "track")
        self.submitted, self.made = folder / "submitted", folder / "made"
        for place in (self.submitted, self.made):
            place.mkdir()

    def write(self, place: Path, task: int, values: list[Any]) -> None:
        if self.kind == "classification":
            write_labels(place / self.files[task - 1], values)
        else:
            write_generations(place / self.files[task - 1], self.inputs, values)

    def compare(self, **faults: str) -> list[ComparedFile]:
        return compare_outputs(self.track, self.submitted, self.made, {f"{k}.csv": v for k, v in faults.items()})


def test_labels_are_compared_row_by_row(tmp_path: Path) -> None:
    both = Both(tmp_path, "classification", 8)
    both.write(both.submitted, 1, [0, 1, 2, 0, 1, 2, 0, 1])
    both.write(both.made, 1, [0, 1, 2, 0, 1, 1, 0, 2])
    (found,) = both.compare()
    assert (found.file, found.task, found.rows, found.equal, found.fault) == ("out_task1.csv", "task1", 8, 6, None)
    assert [(row.row, row.submitted, row.made) for row in found.differing] == [(6, "2", "1"), (8, "1", "2")]
    assert found.share == 75.0
    assert (found.within(24.9), found.within(25)) == (False, True)


def test_texts_are_the_same_only_to_the_letter_and_their_inputs_do_not_count(tmp_path: Path) -> None:
    both = Both(tmp_path, "generation", 4)
    both.write(both.submitted, 1, ["yes", "no ", "", "Ünïcode"])
    (both.made / "out_task1.json").write_text(
        '{"output": "yes"}\n{"output": "no"}\n{"output": ""}\n{"messages": 5, "output": "\\u00dcn\\u00efcode"}\n'
    )
    (found,) = both.compare()
    assert (found.equal, found.fault) == (3, None)
    assert [(row.row, row.submitted, row.made) for row in found.differing] == [(2, "no ", "no")]


def test_of_long_texts_the_place_is_shown_where_they_begin_to_differ(tmp_path: Path) -> None:
    both = Both(tmp_path, "generation", 1)
    both.write(both.submitted, 1, ["x" * 500 + "blue\x1b[31m" + "y" * 500])
    both.write(both.made, 1, ["x" * 500 + "red"])
    (row,) = both.compare()[0].differing
    assert row.submitted.startswith("…" + "x" * 20 + "blue\\x1b[31m" + "y")
    assert row.made == "…" + "x" * 20 + "red"
    assert len(row.submitted) < 100


def test_what_the_code_left_wrong_is_told(tmp_path: Path) -> None:
    both = Both(tmp_path, "classification", 3)
    for task in (1, 2):
        both.write(both.submitted, task, [0, 1, 2])
    (both.made / "out_task1.csv").write_text("label\n0\n1\n")
    first, second = both.compare()
    assert "has 2 rows where there are 3 inputs" in str(first.fault)
    assert (second.fault, second.equal, second.within(100)) == ("was not written", 0, False)
    first, second = both.compare(out_task1="is a \x1b link")
    assert first.fault == "is a \\x1b link"
    # Rows that cannot be used differ; the file can be compared all the same.
    (both.made / "out_task1.csv").write_text("label\n0\nx\n7\n")
    first, _ = both.compare()
    assert (first.fault, first.equal, [row.made for row in first.differing]) == (None, 1, [None, None])
    assert first.within(67)


def test_a_task_that_was_not_submitted_is_not_compared(tmp_path: Path) -> None:
    both = Both(tmp_path, "classification", 2)
    both.write(both.submitted, 2, [0, 1])
    for task in (1, 2):
        both.write(both.made, task, [0, 1])
    assert [found.file for found in both.compare()] == ["out_task2.csv"]


def test_no_more_than_a_few_rows_are_shown(tmp_path: Path) -> None:
    both = Both(tmp_path, "classification", 50)
    both.write(both.submitted, 1, [0] * 50)
    both.write(both.made, 1, [1] * 50)
    (found,) = both.compare()
    assert [row.row for row in found.differing] == [1, 2, 3, 4, 5]
    assert found.equal == 0


@given(rows=st.integers(1, 10**6), data=st.data())
def test_the_share_that_may_differ_is_exact(rows: int, data: st.DataObject) -> None:
    allow = data.draw(st.decimals(0, 100, places=3).map(float))
    differing = data.draw(st.integers(0, rows))
    found = ComparedFile("f.csv", "task1", rows, rows - differing, (), None)
    assert found.within(allow) is (Fraction(differing, rows) * 100 <= Fraction(str(allow)))


def test_a_share_that_floats_miss() -> None:
    assert 0.57 * 10_000 < 5700  # the product of floats
    assert ComparedFile("f.csv", "task1", 10_000, 9943, (), None).within(0.57)
    assert not ComparedFile("f.csv", "task1", 10_000, 9942, (), None).within(0.57)
    assert not ComparedFile("f.csv", "task1", 10_000, 9999, (), None).within(0)


def test_a_copy_of_the_answers_in_the_code_is_found(tmp_path: Path) -> None:
    both = Both(tmp_path, "classification", 3)
    both.write(both.submitted, 1, [0, 1, 2])
    code = tmp_path / "code"
    (code / "deep").mkdir(parents=True)
    (code / "run.py").write_text("label\n0\n1\n0\n")
    assert copies_of_outputs(both.track, both.submitted, code) == []
    (code / "deep" / "a\nb.csv").write_text("label\n0\n1\n2\n")
    assert copies_of_outputs(both.track, both.submitted, code) == [("code/deep/a\\nb.csv", "out_task1.csv")]


def recipe(folder: Path, text: str) -> Recipe:
    (folder / "reproduce.yaml").write_text(text)
    return load_recipe(folder)


def test_a_recipe_is_read(tmp_path: Path) -> None:
    found = recipe(tmp_path, "command: [python, run.py]\nseconds: 60\n")
    assert found == Recipe(command=["python", "run.py"], seconds=60.0)
    assert (found.memory, found.scratch, found.cpus, found.gpus, found.environment) == (None, None, 1, 0, None)
    text = "command: [sh, run.sh]\nseconds: 1.5\nmemory: 8G\nscratch: 512M\ncpus: 4\ngpus: 1\nenvironment: torch-2\n"
    found = recipe(tmp_path, text)
    assert (found.memory, found.scratch, found.cpus, found.gpus) == (8 << 30, 512 << 20, 4, 1)
    assert found.environment == "torch-2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seconds: 60\n", "command: Field required"),
        ("command: [python, run.py]\n", "seconds: Field required"),
        ("command: python run.py\nseconds: 60\n", "line 1: command: Input should be a valid list"),
        ("command: [python, 5]\nseconds: 60\n", r"line 1: command.1: Input should be a valid string"),
        ("command: []\nseconds: 60\n", "line 1: command: List should have at least 1 item"),
        ('command: ["a\\0b"]\nseconds: 60\n', "zero byte"),
        ("command: [python]\nseconds: 0\n", "line 2: seconds: Input should be greater than 0"),
        ("command: [python]\nseconds: .nan\n", "line 2: seconds"),
        ("command: [python]\nseconds: .inf\n", "line 2: seconds: Input should be a finite number"),
        ("command: [python]\nseconds: true\n", "line 2: seconds"),
        ("command: [python]\nseconds: 60\nmemory: 4 GB\n", "line 3: memory: '4 GB' is not a size"),
        ("command: [python]\nseconds: 60\nmemory: -1\n", "line 3: memory: a size must be more than 0"),
        ("command: [python]\nseconds: 60\ncpus: 0\n", "line 3: cpus"),
        ("command: [python]\nseconds: 60\nenvironment: ../x\n", "line 3: environment"),
        ("command: [python]\nseconds: 60\nsecond: 6\n", "line 3: there is no key 'second'; did you mean 'seconds'"),
        ("command: &a [python]\nseconds: *a\n", "line 2: is not YAML: aliases"),
        ("seconds: 2001-99-99\n", "is not YAML"),
        ("[" * 5000, "is not YAML"),
        ("", "must hold keys and values"),
        ("a" * 70_000, "is larger than 65536 bytes"),
    ],
)
def test_a_recipe_that_is_not_right_is_told_by_its_own_name(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        recipe(tmp_path, text)
    # Where it was unpacked to is nobody's business.
    assert str(caught.value).startswith("code/reproduce.yaml")
    assert str(tmp_path) not in str(caught.value)


def test_without_a_recipe_it_is_said_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^code/reproduce.yaml: there is no such file"):
        load_recipe(tmp_path)
