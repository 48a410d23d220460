"""Labels for many sentences, in batches of rows of about one length.

The settings are those of the public challenge's starter kit: the base's tokenizer, cut off at a number of tokens, the
label with the highest score.
"""

from collections.abc import Iterator, Mapping, Sequence

from palladion.errors import InputError
from palladion.models.generation import Answer, arguments_of
from palladion.models.language_model import LanguageModel

__all__ = ["classify", "encode_sentences"]


def encode_sentences(model: LanguageModel, sentences: Sequence[str], *, max_length: int) -> list[list[int]]:
    """The tokens of each sentence, at most ``max_length``.

    Raises:
        InputError: the tokenizer contradicts itself.
    """
    if not sentences:
        return []
    encoded = model.tokenizer(list(sentences), truncation=True, max_length=max_length).input_ids
    # A model needs something to read: an empty sentence without special tokens gets what fills rows up.
    tokens = [list(row) or [model.pad] for row in encoded]
    if max(map(max, tokens)) >= model.vocabulary:
        raise InputError("the tokenizer gives tokens that its own vocabulary lacks", path=model.base)
    return tokens


def classify(model: LanguageModel, sentences: Mapping[int, list[int]], *, batch_tokens: int) -> Iterator[Answer]:
    """Label each sentence, and yield the labels with the classes' probabilities, batch by batch.

    Args:
        model: what is attached answers.
        sentences: tokens (:func:`encode_sentences`) by the number of their row.
        batch_tokens: how many tokens are read at a time, filled up ones too; one row is always.

    Raises:
        InputError: the model's numbers are none (NaN).
    """
    import torch

    # Keys and values are only worth keeping where more tokens follow.
    without_cache = {"use_cache": False} if "use_cache" in arguments_of(model.network) else {}
    waiting = sorted(sentences, key=lambda number: len(sentences[number]))
    while waiting:
        width = len(sentences[waiting[-1]])
        numbers = [waiting.pop() for _ in range(min(len(waiting), max(1, batch_tokens // width)))]
        rows = [sentences[number] for number in numbers]
        ids = torch.tensor([row + [model.pad] * (width - len(row)) for row in rows], device=model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
        with torch.inference_mode():
            scores = model.network(input_ids=ids, attention_mask=mask, **without_cache).logits
            labels = scores.argmax(dim=-1)
            probabilities = scores.float().softmax(dim=-1)
            if probabilities.isnan().any():
                raise InputError(
                    "answers with numbers that are none (NaN); in float16 they may have grown too large: try --dtype "
                    "bfloat16 or float32",
                    path=model.base,
                )
        for number, label, row, shares in zip(numbers, labels.tolist(), rows, probabilities.tolist(), strict=True):
            yield Answer(number, label, len(row), tuple(shares))
