"""Slots of a machine, shared by the evaluations that run on it, and the way to stop one of them from outside.

An evaluation takes whatever is free, so that one that runs alone has all slots. Where several wait, the next slot that
becomes free goes to the one that has the fewest: they soon have as many each, and nothing that runs is taken away.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator

from palladion.errors import InputError

__all__ = ["Share", "Slots", "Stop", "Stopped"]


class Stopped(Exception):  # noqa: N818 - no fault of anybody
    """It ended before it was complete, because a :class:`Stop` asked it to."""


class Stop:
    """Asks what runs in another thread to end. May be called from any thread, and from a signal's handler; once asked,
    it stays so.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._actions: list[Callable[[], None]] = []
        self._asked = self._at_once = False

    @property
    def asked(self) -> bool:
        """Whether nothing new may start."""
        return self._asked

    @property
    def at_once(self) -> bool:
        """Whether what runs is to be killed as well."""
        return self._at_once

    def gracefully(self) -> None:
        """Let what runs finish, and start nothing new."""
        self._ask(at_once=False)

    def now(self) -> None:
        """Kill what runs."""
        self._ask(at_once=True)

    @contextlib.contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """Call ``action`` whenever it is asked, in the thread of whoever asks; at once where it was asked before."""
        with self._lock:
            self._actions.append(action)
            asked = self._asked
        try:
            if asked:
                action()
            yield
        finally:
            with self._lock:
                self._actions.remove(action)

    def _ask(self, *, at_once: bool) -> None:
        with self._lock:
            self._asked = True
            self._at_once = self._at_once or at_once
            actions = list(self._actions)
        for action in actions:
            action()


class Slots:
    """A number of slots for all that runs at a time. Many threads may use it.

    Args:
        count: how many; a data point takes one for each of its processors where slots are shared.

    Raises:
        InputError: there are none.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise InputError(f"{count} slots: there must be 1 or more")
        self.count = count
        # Of all shares: whatever one of them does, another may wait for. Can be entered again by a signal's handler.
        self._changed = threading.Condition(threading.RLock())
        self._free = count
        self._shares: list[Share] = []
        self._turns = 0

    @contextlib.contextmanager
    def share(self) -> Iterator["Share"]:
        """What one evaluation has of the slots. At the end nobody may wait for any of its slots any more."""
        share = Share(self)
        with self._changed:
            self._shares.append(share)
        try:
            yield share
        finally:
            with self._changed:
                share.close()
                self._shares.remove(share)
                self._free += share.held
                self._hand_out()

    def _hand_out(self) -> None:
        """Give what is free to those that wait: to the one with the fewest, and of several to each in turn.

        Where that one asks for more than is free, nobody gets anything until there is enough: else it might wait for
        ever.
        """
        while True:
            waiting = [share for share in self._shares if share._requests]
            share = min(waiting, key=lambda share: (share.held, share._turn), default=None)
            if share is None or share._requests[0].size > self._free:
                break
            request = share._requests.popleft()
            request.granted = True
            self._free -= request.size
            share.held += request.size
            self._turns += 1
            share._turn = self._turns
        self._changed.notify_all()


class _Request:
    def __init__(self, size: int) -> None:
        self.size, self.granted = size, False


class Share:
    """What one evaluation has of the slots. See :meth:`Slots.share`.

    Attributes:
        held: slots that it has now.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots, self._changed = slots, slots._changed
        self._requests: deque[_Request] = deque()
        self._turn = 0
        self._closed = False
        self.held = 0

    @property
    def room(self) -> int:
        """Slots that it has or could have now: all of them where it is alone."""
        with self._changed:
            return self.held + self._slots._free

    def take(self, size: int = 1) -> bool:
        """Wait for slots; False where there will be none, because it was closed.

        Args:
            size: how many, all together; more than there are is as many as there are.
        """
        request = _Request(min(size, self._slots.count))
        with self._changed:
            try:
                if not self._closed:
                    self._requests.append(request)
                    self._slots._hand_out()
                    self._changed.wait_for(lambda: request.granted or self._closed)
                return request.granted
            except BaseException:
                if request in self._requests:
                    self._requests.remove(request)
                if request.granted:
                    self.give_back(size)
                raise

    def give_back(self, size: int = 1) -> None:
        """Give back what a call of :meth:`take` with this ``size`` has got."""
        size = min(size, self._slots.count)
        with self._changed:
            self.held -= size
            self._slots._free += size
            self._slots._hand_out()

    def close(self) -> None:
        """Whoever waits gets nothing, nor does anybody who asks from now on; what it has it keeps."""
        with self._changed:
            self._closed = True
            self._requests.clear()
            self._slots._hand_out()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something holds that depends on slots, or on what :meth:`wake` was called for."""
        with self._changed:
            self._changed.wait_for(condition)

    def wake(self) -> None:
        """Let those look again who :meth:`wait_for` something."""
        with self._changed:
            self._changed.notify_all()
