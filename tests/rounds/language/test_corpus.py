"""What the small base is trained on: built in, or the user's texts."""

import json
from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.rounds.language.corpus import Document, built_in_corpus, user_corpus

TEXTS = [f"text number {i} of the harbour" for i in range(120)]


@pytest.mark.parametrize("track", ["classification", "generation"])
def test_the_same_arguments_give_the_same_documents(track: str) -> None:
    documents = built_in_corpus(track, 3, 300)
    assert len(documents) == 300
    assert documents == built_in_corpus(track, 3, 300)
    assert documents != built_in_corpus(track, 4, 300)
    assert documents != built_in_corpus(track, 3, 300, "held-out")
    assert all(document.text == document.text.strip() != "" for document in documents)


def test_reports_are_given_nothing_and_conversations_are_given_a_question() -> None:
    assert all(document.given == "" for document in built_in_corpus("classification", 3, 100))
    documents = built_in_corpus("generation", 3, 400)
    asked = [document for document in documents if document.given.startswith("<|user|>")]
    assert 100 < len(asked) < 400
    assert all(document.given.endswith("<|assistant|>") for document in asked)
    others = [document for document in documents if document.given and document not in asked]
    # A recitation says once more what it was given.
    assert others
    assert all(document.given.startswith(document.text) for document in others)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)),
        ("texts.json", json.dumps([{"sentence": f" {text} ", "label": 1} for text in TEXTS])),
        ("texts.tsv", "\n".join(["sentence\tlabel", *(f"{text}\t0" for text in TEXTS)])),
        ("texts.csv", "\n".join(["text", *TEXTS])),
        ("texts.txt", "\n\n".join(TEXTS)),
        ("texts", "\r\n".join(f"  {text}" for text in TEXTS)),
    ],
)
def test_texts_are_taken_from_every_kind_of_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, newline="")
    assert user_corpus(tmp_path / name) == [Document("", text) for text in TEXTS]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("few.txt", b"one\ntwo\n", "holds 2 texts; a base model needs at least 100"),
        ("binary.txt", b"\xff\xfe\x00", "cannot be read as text"),
        ("rows.jsonl", b'{"text": "one"}\n{"title": "two"}\n', "line 2: row 2 has neither text nor sentence"),
        ("numbers.json", b'[{"text": 5}]', "row 1 has neither text nor sentence"),
        ("broken.json", b'[{"text": "one"}', "broken.json"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        user_corpus(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.txt"):
        user_corpus(tmp_path / "absent.txt")
