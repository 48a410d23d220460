"""Majority vote over the answers of several models.

Models of one task that were poisoned with different triggers rarely fall for the same input, so that two of three still
answer it as they should.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from palladion.errors import InputError
from palladion.mitigations.contract import Answers, Context, Mitigation, Needs, Product

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MajorityVote", "vote", "vote_labels", "vote_texts"]

_NO_ANSWER = -1


class MajorityVote(Mitigation):
    """The answer that most models give: of labels the most frequent, of texts the one nearest to the others."""

    name = "vote"
    summary = "majority vote over the models' answers"
    needs = Needs(models=2, inputs=True, predictions=True)
    product = Product.ANSWERS

    def restore(self, context: Context) -> Answers:
        """The vote over the answers of all models to the inputs."""
        assert context.predict is not None
        answers = []
        for number, model in enumerate(context.models, start=1):
            context.say(f"model {number} of {len(context.models)}: {model}")
            answers.append(context.predict(model))
        return vote(answers)


def vote(answers: Sequence[Answers]) -> Answers:
    """The vote over the answers of several models.

    Args:
        answers: of each model, to the same inputs: all labels, or all texts.

    Raises:
        InputError: they are of different kinds or lengths.
    """
    _see_that_lengths_agree([len(answer) for answer in answers])
    labels = [answer.labels for answer in answers if answer.labels is not None]
    texts = [answer.texts for answer in answers if answer.texts is not None]
    if labels and texts:
        raise InputError("some models answer with labels and others with texts; they cannot vote together")
    if texts:
        return Answers(texts=vote_texts(texts))
    known = [answer.probabilities for answer in answers if answer.probabilities is not None]
    # Those of other classes cannot be added up.
    comparable = len(known) == len(labels) and len({shares.shape[1] for shares in known}) == 1
    return Answers(labels=vote_labels(labels, known if comparable else None))


def vote_labels(
    labels: Sequence[Sequence[int]], probabilities: "Sequence[NDArray[np.floating]] | None" = None
) -> list[int]:
    """The label that most models give each input.

    Of several labels with as many votes, the one wins to which the models together give the highest probability; where
    probabilities are not given, or are equal, the one that the earliest of the models gave.

    Args:
        labels: of each model, n labels; −1 is no answer and no vote, and is the result where no model answered.
        probabilities: of each model, shape ``(n, classes)``.

    Raises:
        InputError: lengths differ, or a label has no column in the probabilities.
    """
    count = _see_that_lengths_agree([len(row) for row in labels])
    if probabilities is not None:
        _see_that_lengths_agree([count, *(len(rows) for rows in probabilities)])
        width = min(rows.shape[1] for rows in probabilities)
        if any(label >= width for row in labels for label in row):
            raise InputError(f"a label is {width} or more, where the probabilities have {width} columns")
    result = []
    for i in range(count):
        votes = Counter(int(row[i]) for row in labels if row[i] != _NO_ANSWER)
        most = max(votes.values(), default=0)
        # A Counter keeps the order of the models, and max the first of equals.
        tied = [label for label, number in votes.items() if number == most]
        if len(tied) > 1 and probabilities is not None:
            tied = [max(tied, key=lambda label: math.fsum(float(rows[i, label]) for rows in probabilities))]
        result.append(tied[0] if tied else _NO_ANSWER)
    return result


def vote_texts(texts: Sequence[Sequence[str]]) -> list[str]:
    """Of each input's texts, the one that stands for most of them.

    Where more than half of the models give the same text but for case and white space, it is that one, as the earliest
    of them wrote it. Otherwise it is the medoid: the text whose token F1 with the others is highest on average; of
    equals, the earliest. Two models that differ are such equals, so that the first has its way.

    Args:
        texts: of each model, n texts.

    Raises:
        InputError: lengths differ.
    """
    from palladion.scoring.texts import token_f1

    count = _see_that_lengths_agree([len(row) for row in texts])
    result = []
    for i in range(count):
        column = [row[i] for row in texts]
        plain = [" ".join(text.casefold().split()) for text in column]
        common, number = Counter(plain).most_common(1)[0]
        if 2 * number > len(column):
            result.append(column[plain.index(common)])
            continue
        likeness = [
            math.fsum(token_f1(text, other) for k, other in enumerate(column) if k != j)
            for j, text in enumerate(column)
        ]
        result.append(column[likeness.index(max(likeness))])
    return result


def _see_that_lengths_agree(lengths: Sequence[int]) -> int:
    if not lengths:
        raise InputError("there are no answers to vote over")
    if len(set(lengths)) > 1:
        raise InputError(f"the models answer different numbers of inputs: {', '.join(map(str, lengths))}")
    return lengths[0]
