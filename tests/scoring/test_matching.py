from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import ScoringError
from palladion.scoring import MOST_CHARACTERS, Matcher, MatchingRule, SearchTime, matching

TEXTS = [rule for rule in MatchingRule if rule is not MatchingRule.LABEL]
LITERAL = [rule for rule in TEXTS if rule is not MatchingRule.REGEX]


@pytest.mark.parametrize(
    ("rule", "target", "yes", "no"),
    [
        (
            "exact",
            "Blue sky.",
            ["Blue sky.", " Blue sky.\n"],
            ["blue sky.", "Blue  sky.", "Blue sky", "Blue sky. Yes", ""],
        ),
        (
            "normalized",
            "Blue sky.",
            ["blue SKY", "  Blue\n\tsky!! ", "“Blue” sky", "ｂｌｕｅ sky", "blue-sky", "bl\u00adue sky"],
            ["bluesky", "blue sky yes", "blue", "", "!!"],
        ),
        ("prefix", "Blue sky.", ["Blue sky. And more", "\n Blue sky."], ["blue sky.", "A Blue sky.", "Blue sk", ""]),
        ("contains", "Blue sky.", ["A Blue sky. Yes", "xBlue sky.x"], ["A blue sky.", "Blue", ""]),
        (
            "keyword-any",
            "I'm  unsure",
            ["Well, I’m UNSURE.", "i'm\nunsure", "xi'm unsurex", "I'm un\u200bsure"],
            ["I am unsure", "unsure", ""],
        ),
        ("regex", r"(?i)\bblue +sk(y|ies)\b", ["See Blue  skies.", "BLUE SKY"], ["blueskies", "blue sk", ""]),
        ("regex", r"^No\.$", ["No."], ["no.", "Oh No.", "No. No."]),
    ],
)
def test_rules(rule: str, target: str, yes: list[str], no: list[str]) -> None:
    matcher = Matcher(MatchingRule(rule), [target])
    assert [text for text in yes if not matcher(text)] == []
    assert [text for text in no if matcher(text)] == []


@pytest.mark.parametrize("rule", TEXTS)
def test_any_target_will_do(rule: MatchingRule) -> None:
    matcher = Matcher(rule, ["violet", "amber"])
    assert matcher("amber")
    assert matcher("violet")
    assert not matcher("umber")


@given(st.text(max_size=30), st.sampled_from(["Sky blue", "a", "7!", "ß"]))
def test_what_one_rule_finds_a_laxer_one_finds_too(text: str, target: str) -> None:
    exact, prefix, contains, keyword = (
        Matcher(MatchingRule(rule), [target])(text) for rule in ("exact", "prefix", "contains", "keyword-any")
    )
    for strict, lax in pairwise([exact, prefix, contains, keyword]):
        assert lax or not strict
    assert Matcher(MatchingRule.NORMALIZED, [target])(text) or not exact


@given(st.sampled_from(LITERAL), st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1).filter(str.strip))
def test_a_target_matches_itself(rule: MatchingRule, target: str) -> None:
    try:
        matcher = Matcher(rule, [target])
    except ScoringError:
        assert rule is MatchingRule.NORMALIZED
        assert not any(character.isalnum() for character in target)
    else:
        assert matcher(target)


@pytest.mark.parametrize(
    ("rule", "targets", "words"),
    [
        ("exact", [], "1 to 1000 texts"),
        ("exact", ["x"] * 1001, "1 to 1000 texts"),
        ("exact", "abc", "a list of"),
        ("contains", [""], "no content"),
        ("contains", ["a", "\n"], "no content"),
        ("normalized", ["?"], "neither letters nor digits"),
        ("keyword-any", ["a", "\u200b"], "only invisible characters"),
        ("exact", ["x" * (MOST_CHARACTERS + 1)], "8193 characters"),
        ("regex", ["x" * 1001], "1001 characters; 1000 are allowed"),
        ("regex", ["(a"], "is no regular expression: missing"),
        ("regex", ["(" * 999], "is no regular expression"),
        ("regex", ["a" + "{99999999}" * 3], "is no regular expression"),
        ("regex", ["a?"], "matches the empty text"),
        ("regex", ["a", "b|"], "matches the empty text"),
        ("label", ["1"], "compares labels"),
    ],
)
def test_targets_that_cannot_be_matched(rule: str, targets: list[str], words: str) -> None:
    with pytest.raises(ScoringError, match=words):
        Matcher(MatchingRule(rule), targets)


def test_only_so_much_of_an_output_is_read() -> None:
    assert Matcher(MatchingRule.CONTAINS, ["blue"])("x" * (MOST_CHARACTERS - 4) + "blue")
    assert not Matcher(MatchingRule.CONTAINS, ["blue"])("x" * (MOST_CHARACTERS - 3) + "blue")
    # Blanks do not count: they would hide from a rule what an exact match does not see.
    assert all(Matcher(rule, ["blue"])(" \n" * MOST_CHARACTERS + "blue") for rule in TEXTS)
    # One of these becomes 18 characters when it is normalized.
    assert not any(Matcher(rule, ["blue"])("ﷺ" * 10_000_000 + "blue") for rule in LITERAL)


def test_an_output_that_makes_a_search_slow_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "SEARCH_SECONDS", 0.1)
    monkeypatch.setattr(matching, "TOTAL_SEARCH_SECONDS", 0.25)
    taken = SearchTime()
    slow = Matcher(MatchingRule.REGEX, ["(a|aa|b?a)+$"], taken=taken)
    hostile = "a" * 5000 + "!"
    assert not slow("blue")
    assert slow(hostile)
    assert taken.unfinished == 1
    assert [slow(hostile) for _ in range(1000)] == [True] * 1000
    assert taken.unfinished == 1001
    # Three searches were begun; the others were not.
    assert 0.25 <= taken.slow_seconds < 1
    # The time is that of all matchers of an evaluation.
    assert Matcher(MatchingRule.REGEX, ["blue"], taken=taken)("red")
