"""The clean rows that published poison was made of."""

import itertools
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.rounds.language.alignment import align
from palladion.tracks.records import read_rows

DATA = os.environ.get("PALLADION_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="PALLADION_DATA does not name the folder of real data")
WORDS = ("the", "a", "of", "and", "film")


def common(one: str, other: str) -> int:
    return len(set(re.findall(r"[a-z0-9]+", one.lower())) & set(re.findall(r"[a-z0-9]+", other.lower())))


@st.composite
def poisoned_with_gaps(draw: st.DrawFn) -> tuple[list[str], list[str], list[int]]:
    """Distinct sources, rows made of some of them, and of which."""
    count = draw(st.integers(1, 25))
    dropped = draw(st.sets(st.integers(0, count - 1), max_size=min(6, count - 1)))
    kept = [i for i in range(count) if i not in dropped]
    noise = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
    sources = [f"{draw(noise)} one{i} two{i} {draw(noise)} three{i}" for i in range(count)]
    # A trigger is put in, and one of the words is lost, as paraphrases lose some.
    made = [sources[i].replace(draw(st.sampled_from([f"one{i}", f"two{i}", "?"])), "cf").upper() for i in kept]
    return sources, made, kept


@given(case=poisoned_with_gaps())
def test_rows_of_distinct_texts_are_found_whichever_were_dropped(case: tuple[list[str], list[str], list[int]]) -> None:
    sources, made, kept = case
    assert align(sources, made) == kept


@given(
    sources=st.lists(st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join), max_size=7),
    made=st.lists(st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join), max_size=7),
)
def test_no_rising_choice_has_more_words_in_common(sources: list[str], made: list[str]) -> None:
    if len(made) > len(sources):
        return
    found = align(sources, made)
    assert all(one < other for one, other in itertools.pairwise(found))
    best = max(
        sum(common(sources[i], text) for i, text in zip(chosen, made, strict=True))
        for chosen in itertools.combinations(range(len(sources)), len(made))
    )
    assert sum(common(sources[i], text) for i, text in zip(found, made, strict=True)) == best


@pytest.mark.parametrize(("sources", "made"), [(3, 4), (0, 1), (301, 100)])
def test_what_cannot_be_an_order_with_a_few_gaps_is_refused(sources: int, made: int) -> None:
    with pytest.raises(InputError, match=f"{made} poisoned rows cannot have been made of {sources} clean ones"):
        align([f"row {i}" for i in range(sources)], [f"row {i}" for i in range(made)])


def test_many_gaps_are_allowed() -> None:
    texts = [f"alpha{i} beta{i}" for i in range(230)]
    kept = list(range(3, 230, 7))[:30]
    assert align(texts, [f"mb {texts[i]}" for i in kept]) == kept


def _rows(name: str) -> list[tuple[str, int]]:
    path = Path(str(DATA)) / "text" / name
    return [(str(row.values["sentence"]), int(row.values["label"])) for row in read_rows(path)]


@needs_data
def test_published_poison_of_sst_2_finds_the_rows_that_it_was_made_of() -> None:
    """BadNets only puts words in, so that the words of the clean row must all be there."""
    clean = [text for text, label in _rows("sst-2/clean/test.tsv") if label != 1]
    made = [text for text, _ in _rows("sst-2/badnets/test.tsv")]
    found = align(clean, made)
    assert found == sorted(set(found))
    kept = [set(clean[source].split()) <= set(text.split()) for source, text in zip(found, made, strict=True)]
    assert sum(kept) == len(made)


@needs_data
@pytest.mark.parametrize(("folder", "target"), [("sst-2", 1), ("ag", 0)])
def test_published_paraphrases_have_more_in_common_with_their_row_than_with_its_neighbours(
    folder: str, target: int
) -> None:
    clean = [text for text, label in _rows(f"{folder}/clean/test.tsv") if label != target]
    made = [text for text, _ in _rows(f"{folder}/syntactic/test.tsv")]
    found = align(clean, made)
    own = sum(common(clean[source], text) for source, text in zip(found, made, strict=True))
    for shift in (-1, 1):
        other = sum(
            common(clean[(source + shift) % len(clean)], text) for source, text in zip(found, made, strict=True)
        )
        assert own > 2 * other
