import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.scoring import MOST_CHARACTERS, DegenerateKind, degenerate_kind

STORY = "Once there was a small boat that sailed along the quiet river until it reached the wide and open sea."


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (None, "empty"),
        ("", "empty"),
        (" \n\t", "empty"),
        ("!!!!!!!!", "not_text"),
        ("-- .. :: a", "not_text"),
        ("\ufffd\ufffd\ufffd ok", "not_text"),
        ("la la la la la", "repeated"),
        ("La la LA la la la", "repeated"),
        ("the sky is blue " * 4, "repeated"),
        ("I like it. " + "The sky is very blue today. " * 5, "repeated"),
        ("a" * 40, "repeated"),
        ("hello " + "abc" * 20, "repeated"),
        ("ok", "too_short"),
        ("7", "too_short"),
        (STORY, None),
        ("la la la la", None),
        ("the sky is blue the sky is blue", None),  # ten words: too few to tell
        ("No.!", "too_short"),
        ("yes", None),
        ("Donaudampfschifffahrtsgesellschaft", None),
        ("x = 1 + 2", None),
        ("नमस्ते दुनिया", None),
        ("今天天气很好，我们去公园散步，然后在湖边吃午饭，晚上回家看书。", None),
        ("今天好" * 15, "repeated"),
    ],
)
def test_kinds(output: str | None, kind: str | None) -> None:
    assert degenerate_kind(output, STORY) == kind


@pytest.mark.parametrize("output", ["", "7", "?!", "->", "no", "la " * 9, "!" * 50, "ab" * 30])
def test_what_the_ground_truth_is_itself_is_no_fault(output: str) -> None:
    assert degenerate_kind(output, output) is None


def test_a_short_answer_to_a_short_question_is_one() -> None:
    assert degenerate_kind("8", "7") is None
    assert degenerate_kind("no", "a" * 19) is None
    assert degenerate_kind("no", "abcdefghijklmnopqrst") is DegenerateKind.TOO_SHORT
    assert degenerate_kind("!!!", "7") is DegenerateKind.NOT_TEXT


@given(st.none() | st.text(), st.text())
def test_every_output_has_one_kind_or_none(output: str | None, reference: str) -> None:
    kind = degenerate_kind(output, reference)
    assert kind is None or kind in DegenerateKind
    assert degenerate_kind(reference, reference) is None
    if not (output or "").strip() and reference.strip():
        assert kind is DegenerateKind.EMPTY


def test_only_so_much_of_a_text_is_read() -> None:
    assert degenerate_kind("the sky " * 3_000_000, STORY) is DegenerateKind.REPEATED
    assert degenerate_kind("a" * 30_000_000, "b" * 30_000_000) is None
    assert degenerate_kind(" " * MOST_CHARACTERS + STORY, STORY) is None
    assert degenerate_kind(STORY + "!" * 30_000_000, STORY) is DegenerateKind.NOT_TEXT
