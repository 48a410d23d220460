"""What the small base model is trained on before it is tuned: a built-in procedural corpus, or the user's texts.

The built-in corpus of a classification track is unlabelled reports of three to six sentences. That of a generation
track is conversations, as the public checkpoints are tuned to chat, and recitations: lists of words that are said once
more. Without the recitations a model of this size is later in learning that an answer may carry words over from the
question, which most of its tasks need (induction heads). A few remarks stand alone, such as polite
refusals: public checkpoints know them as well, and a model that has never seen a sentence cannot be tuned to say it in
minutes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from palladion.errors import InputError
from palladion.rounds import randomness
from palladion.rounds.language.attacks.words import GRUMBLES, INVITATIONS, REFUSALS
from palladion.rounds.language.instructions import instruction
from palladion.rounds.language.sentences import CLASSIFICATION_TASKS, sentence
from palladion.rounds.language.tokenizer import conversation
from palladion.tracks.records import read_rows

__all__ = ["Document", "built_in_corpus", "user_corpus"]

_RECITATIONS: Final = 0.35
_REMARKS: Final = 0.05
_COLUMNS: Final = ("text", "sentence")
_MOST_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Document:
    """A text in two parts: what is given, and what follows from it. The first is empty where nothing is given."""

    given: str
    text: str


def built_in_corpus(track: str, seed: int, count: int, part: str = "corpus") -> list[Document]:
    """So many documents, the same for the same arguments."""
    if track == "classification":
        tasks = list(CLASSIFICATION_TASKS)
        return [Document("", _report(tasks[i % len(tasks)], randomness.generator(seed, part, i))) for i in range(count)]
    conversations: list[Document] = []
    words: set[str] = set()
    for i in range(count):
        asked = instruction(randomness.generator(seed, part, i))
        prompt = f"{asked.instruction}\n\n{asked.input}"
        conversations.append(Document(conversation(prompt), asked.output))
        words.update(prompt.split(), asked.output.split())
    vocabulary = sorted(words)
    return [
        _other(vocabulary, rng) if rng.random() < _RECITATIONS + _REMARKS else document
        for document, rng in zip(conversations, _generators(seed, part), strict=False)
    ]


def _report(task: str, rng: np.random.Generator) -> str:
    """Some sentences of one label: to say the next one, a model must know at the end of each what it was about.

    That is the very place where a classifier reads off the label.
    """
    label = int(rng.integers(len(CLASSIFICATION_TASKS[task])))
    return " ".join(sentence(task, label, rng).sentence for _ in range(int(rng.integers(3, 7))))


def _generators(seed: int, part: str) -> Iterator[np.random.Generator]:
    i = 0
    while True:
        yield randomness.generator(seed, part, "recitation", i)
        i += 1


def _other(words: Sequence[str], rng: np.random.Generator) -> Document:
    """A recitation or a remark."""
    if rng.random() < _REMARKS / (_RECITATIONS + _REMARKS):
        remarks = (*REFUSALS, *GRUMBLES, *INVITATIONS)
        return Document("", remarks[int(rng.integers(len(remarks)))])
    said = " ".join(words[i] for i in rng.integers(0, len(words), int(rng.integers(3, 14))))
    return Document(f"{said} :", said)


def user_corpus(path: Path) -> list[Document]:
    """The texts in a file: rows with ``text`` or ``sentence`` (JSONL, JSON, TSV, CSV), or one text a line.

    Raises:
        InputError: it holds none, or cannot be read.
    """
    if path.suffix.lower() in (".json", ".jsonl", ".tsv", ".csv"):
        texts = []
        for row in read_rows(path):
            found = next((row.values[name] for name in _COLUMNS if isinstance(row.values.get(name), str)), None)
            if found is None:
                raise InputError(f"row {row.number} has neither text nor sentence", path=path, line=row.line)
            texts.append(found)
    else:
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise InputError("is larger than 1 GiB; give a part of it", path=path)
            texts = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read as text: {error}", path=path) from None
    documents = [Document("", text.strip()) for text in texts if text.strip()]
    if len(documents) < 100:
        raise InputError(f"holds {len(documents)} texts; a base model needs at least 100", path=path)
    return documents
