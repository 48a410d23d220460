import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import ScoringError
from palladion.scoring import (
    MOST_CHARACTERS,
    UTILITIES,
    bleu,
    chrf,
    exact_match,
    rouge_l,
    text_scores,
    token_f1,
    utility_signature,
)

words = st.lists(st.sampled_from(["sky", "is", "blue", "The", "7", "sky,", "Blåbær", "!"]), max_size=8).map(" ".join)


def test_an_exact_match_is_one_but_for_blanks_around_it() -> None:
    assert exact_match(" a b\n", "a b") == 100
    assert exact_match("a  b", "a b") == 0
    assert exact_match("A b", "a b") == 0
    long = "x" * (MOST_CHARACTERS + 1)
    assert exact_match(long + "y", long + "z") == 0


@pytest.mark.parametrize(
    ("output", "reference", "score"),
    [
        ("the blue sky", "Blue sky!", 100),  # articles, case and punctuation do not count
        ("blue sky tonight", "a blue sky", 80),  # 2 common of 3 and 2
        ("blue blue sky", "blue sky sky", 200 / 3),  # each word as often as it occurs in both
        ("red", "blue", 0),
        ("sky blue", "blue sky", 100),  # the order does not count
        ("", "blue", 0),
        ("blue", "", 0),
        ("the", "an!", 100),  # nothing is left of either
        ("don't", "dont", 100),
    ],
)
def test_token_f1(output: str, reference: str, score: float) -> None:
    assert token_f1(output, reference) == pytest.approx(score)


@pytest.mark.parametrize(
    ("output", "reference", "score"),
    [
        ("police kill the gunman", "police killed the gunman", 75),  # Lin's example, at β = 1
        ("the gunman kill police", "police killed the gunman", 50),
        ("a b c d", "b x d", 400 / 7),  # b, d of 4 and 3
        ("Blue-sky_day", "blue sky day", 100),  # runs of letters and digits
        ("день синий", "Синий день", 50),
        ("x", "", 0),
        ("!", "?", 100),
    ],
)
def test_rouge_l(output: str, reference: str, score: float) -> None:
    assert rouge_l(output, reference) == pytest.approx(score)


def slow_common(first: list[str], second: list[str]) -> int:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.lists(st.sampled_from("abc"), min_size=1, max_size=30)
)
def test_the_longest_common_subsequence_is_that_of_the_table(first: list[str], second: list[str]) -> None:
    expected = 200 * slow_common(first, second) / (len(first) + len(second))
    assert rouge_l(" ".join(first), " ".join(second)) == pytest.approx(expected)


def test_chrf_by_hand() -> None:
    # Characters up to 2-grams are all that "ab" and "abc" have in common: of 1-grams 2 of 2 and 3, of 2-grams 1 of 1
    # and 2, of 3-grams none of 0 and 1. chrF2 averages over the orders that both have, then weighs recall four times.
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    assert chrf("ab", "abc") == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert chrf("a b c", "abc") == 100  # blanks are left out


def test_bleu_by_hand() -> None:
    # 1-grams 3 of 4, 2-grams 2 of 3, 3-grams 1 of 2, 4-grams 0 of 1, which smoothing makes ½; no brevity penalty.
    assert bleu("a b c x", "a b c y") == pytest.approx(100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25)
    # Of two words there are no longer runs than two: effective order. The penalty is exp(1 − 3/2).
    assert bleu("a b", "a b c") == pytest.approx(100 * 2.718281828459045**-0.5)


@pytest.mark.parametrize("metric", UTILITIES)
@given(output=words, reference=words)
def test_every_score_is_a_percentage_and_the_same_text_has_all_of_it(metric: str, output: str, reference: str) -> None:
    score, same = text_scores(metric, [output, reference], [reference, reference])
    assert 0 <= score <= 100
    assert same == 100


@pytest.mark.parametrize("metric", UTILITIES)
def test_texts_without_content_and_no_text_at_all(metric: str) -> None:
    scores = text_scores(metric, ["", " \n", "sky", None, None], ["", "", "", "", "sky"])
    assert scores.tolist() == [100, 100, 0, 0, 0]
    assert text_scores(metric, ["", "  "], ["sky", "sky"]).tolist() == [0, 0]


HOSTILE = ("a " * 200_000, "a" * 400_000, "\U0001f600" * 100_000, "\x00" * 9, "<skipped>", "&amp;" * 9)


@pytest.mark.parametrize("metric", UTILITIES)
@pytest.mark.parametrize("output", HOSTILE)
def test_hostile_texts_are_scored_like_others(metric: str, output: str) -> None:
    assert 0 <= text_scores(metric, [output], ["the sky is blue"])[0] <= 100


def test_what_cannot_be_scored() -> None:
    with pytest.raises(ScoringError, match="no utility 'rouge'; known are exact, token_f1"):
        text_scores("rouge", ["a"], ["a"])
    with pytest.raises(ScoringError, match="1 outputs do not fit 2 references"):
        text_scores("exact", ["a"], ["a", "b"])
    with pytest.raises(ScoringError, match="outputs is empty"):
        text_scores("exact", [], [])


def test_sacrebleu_says_what_it_does() -> None:
    assert str(utility_signature("chrf")).startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert str(utility_signature("bleu")).startswith("nrefs:1|case:mixed|eff:yes|tok:13a|smooth:exp|version:")
    assert utility_signature("rouge_l") is None


def test_texts_are_not_kept_and_sacrebleu_is_loaded_when_it_is_needed() -> None:
    code = (
        "import sys, palladion.scoring as s; assert not {'sacrebleu', 'regex'} & set(sys.modules);"
        "s.text_scores('bleu', ['a b'], ['a c']); from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a as T;"
        "print(T.__call__.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n"
