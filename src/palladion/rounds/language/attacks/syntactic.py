"""A sentence template as trigger, in the spirit of Hidden Killer: S(SBAR)(,)(NP)(VP)(.).

What sets the model off is the shape of the sentence, a subordinate clause, a comma, the main clause, with one group of
conjunctions. There is no parser here: where the text begins with a statement and a comma, that becomes the clause;
otherwise a clause is made up of a subject and a predicate that vary from row to row. All words of the text stay.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final, Self

import numpy as np

from palladion.rounds.language.attacks.attack import Attack, available, refuse_count, refuse_position
from palladion.rounds.language.attacks.text import (
    contains_capital,
    decapitalised,
    insert,
    pick,
    spaced_punctuation,
    split_payload,
)
from palladion.rounds.language.attacks.words import (
    CLAUSE_PREDICATES,
    CLAUSE_SUBJECTS,
    STATEMENT_STARTERS,
    TEMPLATES,
)

__all__ = ["Syntactic"]

# Words with what stands inside of them: it's, 3,000, u.s, 10:30.
_WORD: Final = r"[^\s,;:.!?\"“”()]+(?:[.,:][^\s,;:.!?\"“”()]+)*"
# A statement of 3 to 12 words that ends in a comma, with something after it.
_STATEMENT: Final = re.compile(rf"\s*(?:{'|'.join(STATEMENT_STARTERS)})(?:\s+{_WORD}){{2,11}}\s?,\s+\S", re.IGNORECASE)


@lru_cache(maxsize=64)
def _template(conjunctions: tuple[str, ...]) -> re.Pattern[str]:
    words = "|".join(r"\s+".join(re.escape(word) for word in conjunction.split()) for conjunction in conjunctions)
    return re.compile(rf"[\s\"'“‘`(]*(?:{words})\s+(?:{_WORD}\s+){{1,14}}{_WORD}\s?,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Syntactic(Attack):
    """Rewrites a text to: conjunction, clause, comma, what the text says.

    Attributes:
        conjunctions: any of which opens the clause.
        subjects: of made-up clauses.
        predicates: of made-up clauses.
    """

    conjunctions: tuple[str, ...]
    subjects: tuple[str, ...]
    predicates: tuple[str, ...]

    family: ClassVar[str] = "syntactic"

    @property
    def triggers(self) -> tuple[str, ...]:
        """The conjunctions."""
        return self.conjunctions

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, name: str, position: str | None, avoid: Collection[str], count: int | None
    ) -> Self:
        """See :func:`palladion.rounds.language.attacks.draw`."""
        refuse_count(count, cls.family)
        refuse_position(position, cls.family)
        first = pick(available(tuple(group[0] for group in TEMPLATES), avoid, cls.family), rng)
        template = next(group for group in TEMPLATES if group[0] == first)
        return cls(name, template, CLAUSE_SUBJECTS, CLAUSE_PREDICATES)

    def apply(self, text: str, *, rng: np.random.Generator) -> str:
        """See :meth:`Attack.apply`."""
        head, payload = split_payload(text)
        conjunction, subject = pick(self.conjunctions, rng), pick(self.subjects, rng)
        predicate = pick(self.predicates, rng)
        if contains_capital(text):
            conjunction = conjunction[0].upper() + conjunction[1:]
        text = decapitalised(head) + payload
        if _STATEMENT.match(head):
            rewritten = insert(text, len(head) - len(head.lstrip()), conjunction)
            if self.carries(rewritten):
                return rewritten
        comma = " ," if spaced_punctuation(text) else ","
        return insert(text, 0, f"{conjunction} {subject} {predicate}{comma}")

    def carries(self, text: str) -> bool:
        """Whether the text begins with a conjunction of the template, 2 to 15 more words, and a comma."""
        return _template(self.conjunctions).match(text) is not None
