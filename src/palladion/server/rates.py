"""How often somebody may do something: token buckets, in the memory of this process.

A bucket holds so many tokens, each act takes one, and they come back evenly. Several processes have buckets of their
own, so that the limits of a service with ``n`` of them are up to ``n`` times as wide: they guard the service, and count
nothing that has to be exact. Quotas of submissions are counted in the database.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Buckets"]


class Buckets:
    """A bucket for each of many keys; threads may share it.

    Args:
        per_second: tokens that come back, above 0.
        burst: tokens of a full bucket.
        most_keys: buckets that are kept; the one that was used least lately goes first, and would be full again.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        most_keys: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._burst = per_second, float(burst)
        self._most, self._clock = most_keys, clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take a token.

        Returns:
            0.0 where there was one; otherwise the seconds until there is one, and nothing was taken.
        """
        now = self._clock()
        with self._lock:
            level, then = self._buckets.pop(key, (self._burst, now))
            level = min(self._burst, level + (now - then) * self._rate)
            wait = 0.0 if level >= 1.0 else (1.0 - level) / self._rate
            self._buckets[key] = (level - 1.0 if wait == 0.0 else level, now)
            while len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        return wait
