"""Slots shared by what runs at a time, and the way to stop it: with real threads."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.execution.data_points import Staged
from palladion.execution.evaluation import run_all
from palladion.execution.outcome import Outcome
from palladion.execution.processes import Cancelled
from palladion.execution.sandbox.contract import Limits
from palladion.execution.slots import Share, Slots, Stop
from palladion.models import ModelEntry
from palladion.scoring import AnswerStatus


def soon(condition: Callable[[], bool]) -> None:
    """Wait until something holds; fails where it does not in a while."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Asker:
    """Asks a share for slots one after the other, and keeps all that it gets."""

    def __init__(self, share: Share, times: int, size: int = 1) -> None:
        self.share, self.got = share, list[bool]()
        self._thread = threading.Thread(target=self._ask, args=(times, size))
        self._thread.start()

    def _ask(self, times: int, size: int) -> None:
        for _ in range(times):
            self.got.append(self.share.take(size))

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


def waits(share: Share) -> bool:
    return bool(share._requests)


def test_one_alone_has_all_slots() -> None:
    slots = Slots(4)
    with slots.share() as share:
        assert share.room == 4
        assert [share.take() for _ in range(4)] == [True] * 4
        assert (share.held, share.room) == (4, 4)
        for _ in range(4):
            share.give_back()
        assert (share.held, share.room) == (0, 4)


def test_what_becomes_free_goes_to_whoever_has_the_fewest() -> None:
    slots = Slots(4)
    with slots.share() as first, slots.share() as second, slots.share() as third:
        for _ in range(4):
            first.take()
        assert (second.room, third.room) == (0, 0)
        shares = (first, second, third)
        askers = [Asker(share, 9) for share in shares]
        held = []
        for _ in range(5):
            soon(lambda: all(map(waits, shares)))
            first.give_back()
            held.append(tuple(share.held for share in shares))
        # The two that had nothing come first. Of those that have one each, whoever was served longest ago does; and
        # who gives its only one back gets it again.
        assert held == [(3, 1, 0), (2, 1, 1), (2, 1, 1), (1, 2, 1), (1, 2, 1)]
        for share in shares:
            share.close()
        for asker in askers:
            asker.join()
        assert sum(asker.got.count(True) for asker in askers) == 5


def test_slots_that_are_asked_for_together_are_given_together_and_nobody_passes_by_for_ever() -> None:
    slots = Slots(4)
    with slots.share() as small, slots.share() as large:
        for _ in range(4):
            small.take()
        one, all_of_them = Asker(small, 1), Asker(large, 1, size=3)
        soon(lambda: waits(small) and waits(large))
        for _ in range(2):
            small.give_back()
            assert (small.held + large.held, large.held) == (3 - _, 0)
        small.give_back()
        all_of_them.join()
        assert (small.held, large.held) == (1, 3)
        small.give_back()
        one.join()
        assert (small.held, large.held) == (1, 3)


def test_more_than_there_are_is_all_of_them() -> None:
    slots = Slots(2)
    with slots.share() as share:
        assert share.take(16)
        assert share.held == 2
        share.give_back(16)
        assert share.room == 2


def test_who_is_closed_gets_nothing_and_others_do() -> None:
    slots = Slots(1)
    with slots.share() as first, slots.share() as second, slots.share() as third:
        first.take()
        waiting, other = Asker(second, 2), Asker(third, 1)
        soon(lambda: waits(second) and waits(third))
        second.close()
        waiting.join()
        assert waiting.got == [False, False]
        first.give_back()
        other.join()
        assert other.got == [True]


def test_what_somebody_leaves_behind_becomes_free() -> None:
    slots = Slots(2)
    with slots.share() as share:
        share.take(2)
    with slots.share() as share:
        assert share.room == 2


@pytest.mark.parametrize("count", [0, -1])
def test_there_must_be_slots(count: int) -> None:
    with pytest.raises(InputError, match="there must be 1 or more"):
        Slots(count)


def test_a_stop_calls_what_was_given_to_it() -> None:
    stop, called = Stop(), list[str]()
    with stop.calling(lambda: called.append("before")):
        stop.gracefully()
        assert (stop.asked, stop.at_once) == (True, False)
    assert called == ["before"]
    with stop.calling(lambda: called.append("late")):
        assert called == ["before", "late"]
        stop.now()
        stop.gracefully()  # does not take it back
        assert (stop.asked, stop.at_once) == (True, True)
    stop.now()
    assert called == ["before", "late", "late", "late"]


class Place:
    def discard(self) -> None:
        """Nothing is there."""


class Runner:
    """Runs nothing, for a moment; counts. Stands in for a sandbox, which would take far longer.

    Args:
        most: what must never be exceeded by all runners of a test together.
    """

    def __init__(self, counts: "Counts", seconds: float = 0.0005) -> None:
        self._counts, self._seconds = counts, seconds
        self._killed = threading.Event()

    def stage(self, entry: ModelEntry) -> Staged:
        if self._killed.is_set():
            raise Cancelled
        with self._counts.lock:
            self._counts.staged += 1
        return Staged(entry, Place(), 0.0)  # type: ignore[arg-type]

    def run(self, staged: Staged, limits: Limits) -> Outcome:
        del limits
        with self._counts.lock:
            self._counts.running += 1
            self._counts.peak = max(self._counts.peak, self._counts.running)
            self._counts.runs[staged.entry.name] += 1
        killed = self._killed.wait(self._seconds)
        with self._counts.lock:
            self._counts.running -= 1
        if killed:
            raise Cancelled
        return Outcome(staged.entry.name, 0.5, None, None, self._seconds, 0.0, None, AnswerStatus.OK)

    def stop(self) -> None:
        self._killed.set()


class Counts:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.peak = self.staged = 0
        self.runs = Counter[str]()


def entries(prefix: str, count: int) -> list[ModelEntry]:
    return [ModelEntry(f"{prefix}{number}", Path(prefix)) for number in range(count)]


def run(runner: Runner, listed: list[ModelEntry], slots: Slots, done: Callable[[Outcome], None], **more: Any) -> None:
    run_all(runner, listed, slots, done, **more)  # type: ignore[arg-type]


@settings(max_examples=60)
@given(
    count=st.integers(1, 5),
    work=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3)), min_size=1, max_size=4),
)
def test_each_is_run_and_told_once_whoever_runs_beside_it(count: int, work: list[tuple[int, int]]) -> None:
    slots, counts, told = Slots(count), Counts(), Counter[str]()

    def one(number: int) -> None:
        listed, size = work[number]
        run(Runner(counts), entries(f"{number}-", listed), slots, lambda o: told.update([o.data_point]), size=size)

    with ThreadPoolExecutor(len(work)) as pool:
        list(pool.map(one, range(len(work))))
    wanted = {f"{number}-{item}" for number, (listed, _) in enumerate(work) for item in range(listed)}
    assert told == counts.runs == Counter(wanted)
    assert counts.running == 0
    assert counts.peak <= count
    with slots.share() as share:
        assert share.room == count


@settings(max_examples=60)
@given(
    count=st.integers(1, 4),
    listed=st.integers(0, 30),
    stops=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=3),
    from_outside=st.booleans(),
)
def test_however_often_it_is_stopped_each_is_told_once(
    count: int, listed: int, stops: list[tuple[int, bool]], from_outside: bool
) -> None:
    """As a ledger would use it: what is told is kept, and only the rest is run again."""
    told, slots, counts = Counter[str](), Slots(count), Counts()

    def rest() -> list[ModelEntry]:
        return [entry for entry in entries("m", listed) if entry.name not in told]

    for after, at_once in stops:
        stop = Stop()
        ask = stop.now if at_once else stop.gracefully
        asked_at = after + told.total()
        before = counts.runs.copy()

        def done(outcome: Outcome, ask: Callable[[], None] = ask, asked_at: int = asked_at) -> None:
            told.update([outcome.data_point])
            if not from_outside and told.total() >= asked_at:
                ask()

        timer = threading.Timer(after * 0.0002, ask)
        if from_outside:
            timer.start()
        run(Runner(counts), rest(), slots, done, stop=stop)
        assert counts.running == 0
        if from_outside:
            timer.join()
        if not at_once:
            # What was started was finished, and told.
            assert (counts.runs - before).keys() <= told.keys()
    run(Runner(counts), rest(), slots, lambda outcome: told.update([outcome.data_point]))
    assert told == Counter(entry.name for entry in entries("m", listed))
    with slots.share() as share:
        assert share.room == count


def test_asked_gracefully_nothing_new_starts_and_what_waits_is_thrown_away() -> None:
    counts, stop, told = Counts(), Stop(), list[str]()
    runner = Runner(counts, seconds=0.3)
    threading.Timer(0.1, stop.gracefully).start()
    start = time.monotonic()
    run(runner, entries("m", 20), Slots(2), lambda outcome: told.append(outcome.data_point), stop=stop)
    assert 0.25 < time.monotonic() - start < 5
    assert len(told) == counts.runs.total() == 2
    assert counts.staged == 3  # one more had been staged meanwhile


def test_asked_to_end_at_once_nobody_is_waited_for() -> None:
    counts, stop, told = Counts(), Stop(), list[str]()
    threading.Timer(0.1, stop.now).start()
    start = time.monotonic()
    run(Runner(counts, seconds=60), entries("m", 20), Slots(2), lambda o: told.append(o.data_point), stop=stop)
    assert time.monotonic() - start < 10
    assert told == []
    assert counts.running == 0


def test_what_cannot_be_kept_ends_all_that_runs() -> None:
    counts, slots = Counts(), Slots(2)

    def lost(outcome: Outcome) -> None:
        raise RuntimeError(f"somebody else has the lease, not {outcome.data_point}")

    with pytest.raises(RuntimeError, match="somebody else has the lease"):
        run(Runner(counts), entries("m", 20), slots, lost)
    assert counts.running == 0
    with slots.share() as share:
        assert share.room == 2


def test_two_that_run_at_a_time_get_as_much_each() -> None:
    """While both have work left, neither has done more than the other by more than what runs."""
    slots, counts = Slots(4), Counts()
    order: list[str] = []
    lock = threading.Lock()

    def note(outcome: Outcome) -> None:
        with lock:
            order.append(outcome.data_point[0])

    with ThreadPoolExecutor(2) as pool, ExitStack() as held:
        first = pool.submit(run, Runner(counts, 0.01), entries("a", 60), slots, note)
        soon(lambda: len(order) >= 8)
        began = len(order)
        second = pool.submit(run, Runner(counts, 0.01), entries("b", 20), slots, note)
        held.callback(first.result)
        held.callback(second.result)
    # From the first of b to its last, a got about as many.
    beside = order[order.index("b") : len(order) - order[::-1].index("b")]
    assert beside.count("b") == 20
    assert 14 <= beside.count("a") <= 26
    assert began < 20
    assert counts.peak == 4
