"""When to ask again, and how long to wait before it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["PATIENT", "USUAL", "Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one goes on asking a server that does not answer. Times are in seconds.

    Attributes:
        tries: requests in all, at least 1.
        first: the wait after the first failure; each later one is twice as long.
        longest: no wait is longer.
        asked: the longest wait that a server may ask for; one that asks for more is not asked again.
    """

    tries: int = 5
    first: float = 0.5
    longest: float = 8.0
    asked: float = 30.0

    def wait(
        self, failures: int, asked: float | None = None, draw: Callable[[], float] = random.random
    ) -> float | None:
        """Seconds to wait after so many failures in a row, at least 1; None to give up.

        Half of a wait is drawn at random: those whom one outage has thrown off do not all come back at once.

        Args:
            failures: that there were.
            asked: seconds that the server asked for itself, by ``Retry-After``.
            draw: a number from 0 to 1.
        """
        if failures >= self.tries or (asked is not None and asked > self.asked):
            return None
        usual = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        jittered = usual * (0.5 + 0.5 * draw())
        # Never before the time that was asked for, and not all at that very time either.
        return jittered if asked is None else asked + jittered / 4


USUAL = Patience()
PATIENT = Patience(tries=40, first=0.5, longest=5.0)
"""Of whoever waits for something anyway: a server may be started anew meanwhile."""
