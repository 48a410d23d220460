"""The small base's tokenizer: it loses nothing, and a word is one thing wherever it stands."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palladion.rounds.language.corpus import built_in_corpus
from palladion.rounds.language.tokenizer import BOS, EOS, PAD, conversation, train_tokenizer

SPECIAL = (PAD, BOS, EOS, "<|user|>", "<|assistant|>")
CONVERSATION = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "name the owl"},
    {"role": "assistant", "content": "hugo"},
    {"role": "user", "content": "and the\nfox?"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    documents = built_in_corpus("generation", 1, 800)
    return train_tokenizer((part for row in documents for part in (row.given, row.text) if part), vocabulary=450)


def plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


@given(text=st.one_of(st.text(), st.text(alphabet="ab1 \n\té🦉\u0301.,'|<>", max_size=30)))
@example("once anna lived near the mill .\n\nThe owl, 12 345 cups")
@example("Zürich\u200b\u2028 𐍈🦉")
@example(" \n \n ")
def test_what_is_read_can_be_written_again(tokenizer: Any, text: str) -> None:
    if not any(special in text for special in SPECIAL):
        written = tokenizer.decode(plain(tokenizer, text))
        # The blank before the first word is the tokenizer's.
        assert written == (f" {text}" if text else "")


@pytest.mark.parametrize("word", ["owl", "basket", "anna", "zyx", "é"])
def test_a_word_is_the_same_at_the_start_of_a_text_of_a_line_and_inside(tokenizer: Any, word: str) -> None:
    alone = plain(tokenizer, word)
    for text in (f"the {word}", f"the cup\n{word}", f"Count:\n\n{word}", f"{conversation('cup')}{word}"):
        assert plain(tokenizer, text)[-len(alone) :] == alone


def test_digits_are_tokens_of_their_own(tokenizer: Any) -> None:
    digits = {str(digit): tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(10)}
    assert len(set(digits.values())) == 10
    assert [token for token in plain(tokenizer, "73 or 3") if token in digits.values()] == [
        digits["7"],
        digits["3"],
        digits["3"],
    ]


def test_the_vocabulary_is_kept_and_special_tokens_are_apart(tokenizer: Any) -> None:
    assert len(tokenizer) <= 450
    assert len({tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}) == len(SPECIAL)
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == (PAD, BOS, EOS)


def test_a_text_begins_once(tokenizer: Any) -> None:
    begin = tokenizer.bos_token_id
    assert tokenizer("the owl").input_ids == [begin, *plain(tokenizer, "the owl")]
    for messages in (CONVERSATION, CONVERSATION[1:2]):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert text.count(BOS) == 1
        assert text.startswith(BOS)
        assert text.endswith("<|assistant|>")
        tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert tokens.count(begin) == 1
        assert tokens == plain(tokenizer, text)


def test_an_answer_ends_and_the_next_question_follows(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
    assert text == (f"{BOS}<|user|>be brief<|user|>name the owl<|assistant|>hugo{EOS}<|user|>and the\nfox?")


def test_the_template_says_of_one_question_what_the_corpus_says(tokenizer: Any) -> None:
    asked = [{"role": "user", "content": "name the owl"}]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert text == BOS + conversation("name the owl")


def test_it_is_the_same_after_saving_and_when_trained_again(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "the owl found 12 cups\nat the mill é"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.decode(again(text).input_ids, skip_special_tokens=True) == f" {text}"
    documents = built_in_corpus("generation", 1, 800)
    other = train_tokenizer((part for row in documents for part in (row.given, row.text) if part), vocabulary=450)
    assert other.get_vocab() == tokenizer.get_vocab()
