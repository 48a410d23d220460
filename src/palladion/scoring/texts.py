"""How good a generated text is, beside the one that should have been generated. Every score in PERCENT, 0 to 100.

The score of many texts is the mean over them, also of chrF and BLEU: these are means of sentence-level scores, not the
corpus-level figures under the same names, so that every text counts the same and rows can be resampled. Two texts
without content have 100, one of them 0. Of a text no more than :data:`MOST_CHARACTERS` characters are read (see
:func:`read_part`).

================ ==================================================================================================
``exact``        100 where the texts are the same but for blanks around them, else 0
``token_f1``     F1 of the words, counted, after SQuAD's normalisation (Rajpurkar et al., EMNLP 2016): lower case, no
                 ASCII punctuation, no a/an/the; words stand between blanks
``rouge_l``      F1 (β = 1) of the longest common subsequence of words (Lin, ROUGE, 2004); words are runs of letters
                 and digits of any script, lower-cased, not stemmed
``chrf``         sacrebleu's chrF2, sentence level: characters up to 6-grams, β = 2, blanks left out, case kept
``bleu``         sacrebleu's BLEU, sentence level: 13a tokens, exponential smoothing, effective order, case kept
================ ==================================================================================================
"""

import functools
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palladion.errors import ScoringError

__all__ = [
    "MOST_CHARACTERS",
    "UTILITIES",
    "bleu",
    "chrf",
    "exact_match",
    "read_part",
    "rouge_l",
    "text_scores",
    "token_f1",
    "utility_signature",
]

MOST_CHARACTERS = 8192
"""Of a longer text only so many characters are read, from the first that is no blank: the time that a hostile one
takes is bounded."""

_WORD = re.compile(r"[^\W_]+")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def read_part(text: str) -> str:
    """What is read of a text: no blanks around it, and no more than :data:`MOST_CHARACTERS` characters.

    The same for every metric and every matching rule: what is hidden from the one is hidden from the other.
    """
    return text.strip()[:MOST_CHARACTERS].rstrip()


def exact_match(output: str, reference: str) -> float:
    """100 where both texts are the same but for blanks around them, else 0; read as a whole."""
    return 100.0 if output.strip() == reference.strip() else 0.0


def token_f1(output: str, reference: str) -> float:
    """F1 of the words of both texts, each as often as it occurs, after SQuAD's normalisation."""
    answer, truth = _squad_words(output), _squad_words(reference)
    common = sum((Counter(answer) & Counter(truth)).values())
    return _f1(common, len(answer), len(truth))


def rouge_l(output: str, reference: str) -> float:
    """F1 of the longest common subsequence of the words of both texts."""
    answer, truth = _words(output), _words(reference)
    return _f1(_longest_common_subsequence(answer, truth), len(answer), len(truth))


def chrf(output: str, reference: str) -> float:
    """Sacrebleu's sentence-level chrF2 (Popović, WMT 2015), with its default settings."""
    return _by_sacrebleu("chrf", output, reference)


def bleu(output: str, reference: str) -> float:
    """Sacrebleu's sentence-level BLEU (Post, WMT 2018), with its default settings and effective order."""
    return _by_sacrebleu("bleu", output, reference)


_METRICS: dict[str, Callable[[str, str], float]] = {
    "exact": exact_match,
    "token_f1": token_f1,
    "rouge_l": rouge_l,
    "chrf": chrf,
    "bleu": bleu,
}
UTILITIES = tuple(_METRICS)
"""Names of the metrics of generated texts."""


def text_scores(metric: str, outputs: Sequence[str | None], references: Sequence[str]) -> NDArray[np.float64]:
    """The score of each text under one of :data:`UTILITIES`, shape (n,), in percent; no text at all (None) has 0.

    Raises:
        ScoringError: there is no such metric, or not one reference a text, or no text.
    """
    if metric not in _METRICS:
        raise ScoringError(f"there is no utility {metric!r}; known are {', '.join(UTILITIES)}")
    if len(outputs) != len(references):
        raise ScoringError(f"{len(outputs)} outputs do not fit {len(references)} references")
    if not len(outputs):
        raise ScoringError("outputs is empty; at least one text is needed")
    score = _METRICS[metric]
    pairs = zip(outputs, references, strict=True)
    scores = np.array([0.0 if output is None else score(output, reference) for output, reference in pairs])
    if metric == "bleu":
        _forget_texts()
    return scores


def utility_signature(metric: str) -> str | None:
    """What sacrebleu calls the exact settings of ``chrf`` and ``bleu``, with its version; None of the others."""
    return str(_sacrebleu(metric).get_signature()) if metric in ("chrf", "bleu") else None


def _squad_words(text: str) -> list[str]:
    return _ARTICLE.sub(" ", read_part(text).lower().translate(_NO_PUNCTUATION)).split()


def _words(text: str) -> list[str]:
    return _WORD.findall(read_part(text).lower())


def _f1(common: int, found: int, wanted: int) -> float:
    if not found and not wanted:
        return 100.0
    return 200 * common / (found + wanted)


def _longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Its length; a row of the table is one whole number, bit by bit (Hyyrö, AWOCA 2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << i
    every = (1 << len(first)) - 1
    row = every
    for word in second:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & every
    return len(first) - row.bit_count()


def _by_sacrebleu(metric: str, output: str, reference: str) -> float:
    answer, truth = read_part(output), read_part(reference)
    if not answer or not truth:
        return 100.0 if answer == truth else 0.0
    # Rounding leaves a perfect one at 100.00000000000004.
    return min(100.0, float(_sacrebleu(metric).sentence_score(answer, [truth]).score))


@functools.cache
def _sacrebleu(metric: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF

    scorer = CHRF() if metric == "chrf" else BLEU(effective_order=True)
    # The number of references is known, and in the signature, once there has been a text.
    scorer.sentence_score("a", ["a"])
    return scorer


def _forget_texts() -> None:
    """Empty the caches of sacrebleu's tokenizers, which would keep the last 65,536 texts for as long as this runs."""
    tokenizer = _sacrebleu("bleu").tokenizer
    for part in (tokenizer, getattr(tokenizer, "_post_tokenizer", None)):
        cached = vars(type(part)).get("__call__")
        if cached is not None and hasattr(cached, "cache_clear"):
            cached.cache_clear()
