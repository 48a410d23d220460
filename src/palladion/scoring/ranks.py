"""Counting pairs: how often a poisoned data point is answered higher than a clean one.

The ROC-AUC is the share of (poisoned, clean) pairs that the poisoned one wins, a tie counting one half (Mann
and Whitney). Everything here counts *twice* the wins, so that a tie is the whole number 1 and every count is
exact: an int64, or a float64 far below 2⁵³. Arguments are taken as checked.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pair_wins", "tie_borders", "twice_wins"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

# Both bound memory only: the elements of a block of counts (32 MiB) and the pairs listed at once.
_BLOCK_ELEMENTS = 1 << 22
_PAIRS_AT_ONCE = 1 << 21
# A pair listed one by one costs as much as this many multiplications in a matrix product.
_PAIR_COST = 100


def tie_borders(ascending: Floats) -> Integers:
    """Where the runs of equal values begin in a sorted array, then its length: shape (runs + 1,)."""
    inner = np.flatnonzero(ascending[1:] != ascending[:-1]) + 1
    return np.concatenate(([0], inner, [ascending.size])).astype(np.int64)


def twice_wins(probability: Floats, poisoned: Booleans) -> Integers:
    """For each data point, twice its wins against the other class, shape (n,).

    A poisoned point wins against the clean points below it, a clean point against the poisoned points above
    it. The sum over either class is 2·P·N·AUC. O(n log n): the midranks of Sun and Xu (2014), less the ranks
    within the own class.
    """
    order = np.argsort(probability)
    borders = tie_borders(probability[order])
    labels = poisoned[order]
    clean_before = np.concatenate(([0], np.cumsum(~labels)))[borders]
    poisoned_before = borders - clean_before
    size = np.diff(borders)
    below = clean_before[:-1] + clean_before[1:]
    above = 2 * poisoned_before[-1] - poisoned_before[:-1] - poisoned_before[1:]
    wins = np.empty(probability.size, dtype=np.int64)
    wins[order] = np.where(labels, np.repeat(below, size), np.repeat(above, size))
    return wins


def pair_wins(probability: Floats, poisoned: Booleans, unit: NDArray[np.intp], rows: slice, columns: slice) -> Floats:
    """Twice the wins between units: U[a, b] over pairs (poisoned point of unit a, clean point of unit b).

    Args:
        probability: shape (n,).
        poisoned: shape (n,).
        unit: shape (n,), the unit of each data point.
        rows: the units that hold poisoned points; ``rows.start`` becomes row 0.
        columns: the units that hold clean points; ``columns.start`` becomes column 0.

    Returns:
        Whole numbers in float64, shape (rows, columns). Each is at most twice the pairs of its two units, so
        all sums on the way stay below 2·P·N and are exact up to n = 9·10⁷.

    The sorted points are cut into blocks along the borders of ties. Between blocks, the wins are one matrix
    product: counts of poisoned points a block and unit, times counts of clean points in all earlier blocks.
    Within a block the winning pairs are listed; a block that is one single tie needs no list (half of
    everything). The length of a block balances the two costs.
    """
    row_count, column_count = rows.stop - rows.start, columns.stop - columns.start
    order = np.argsort(probability)
    borders = tie_borders(probability[order])
    size = np.diff(borders)
    labels = poisoned[order]
    units = unit[order]
    n = order.size

    length = max(1, int((8 * row_count * column_count / _PAIR_COST) ** 0.5))
    long = size > length
    window = borders[:-1] // length
    opens = np.ones(size.size, dtype=np.bool_)
    opens[1:] = (window[1:] != window[:-1]) | long[1:] | long[:-1]
    first = np.flatnonzero(opens)
    block_start = np.append(borders[:-1][first], n)
    one_tie = np.diff(np.append(first, size.size)) == 1
    blocks = first.size

    wins = np.zeros((row_count, column_count))
    block = np.repeat(np.arange(blocks), np.diff(block_start))
    before = np.zeros(column_count)
    step = max(1, _BLOCK_ELEMENTS // max(row_count, column_count))
    for low in range(0, blocks, step):
        high = min(low + step, blocks)
        part = slice(block_start[low], block_start[high])
        local, member, label = block[part] - low, units[part], labels[part]
        won = _counts(local[label], member[label] - rows.start, high - low, row_count)
        lost = _counts(local[~label], member[~label] - columns.start, high - low, column_count)
        total = np.cumsum(lost, axis=0)
        below = 2 * (before + total - lost) + one_tie[low:high, None] * lost
        wins += won.T @ below
        before += total[-1]

    # Within blocks of several ties: clean points are numbered in sorted order, so that what a poisoned point
    # wins against is the range from its block's start to its tie's start, and what it ties with is its tie.
    clean_before = np.concatenate(([0], np.cumsum(~labels)))
    listed = np.flatnonzero(labels & ~one_tie[block])
    tie = np.repeat(np.arange(size.size), size)[listed]
    row = (units[listed] - rows.start) * column_count
    clean_column = units[~labels] - columns.start
    start, tie_start, tie_stop = (
        clean_before[border] for border in (block_start[block[listed]], borders[tie], borders[tie + 1])
    )
    flat = wins.reshape(-1)
    _add_pairs(flat, row, start, tie_start, clean_column, 2.0)
    _add_pairs(flat, row, tie_start, tie_stop, clean_column, 1.0)
    return wins


def _counts(row: NDArray[np.intp], column: NDArray[np.intp], rows: int, columns: int) -> Floats:
    counts = np.bincount(row * columns + column, minlength=rows * columns)
    return counts.reshape(rows, columns).astype(np.float64)


def _add_pairs(
    flat: Floats, row: Integers, start: Integers, stop: Integers, column: NDArray[np.intp], amount: float
) -> None:
    """Add ``amount`` at ``row[i] + column[j]`` for every i and every j in [start[i], stop[i])."""
    used = stop > start
    row, start, stop = row[used], start[used], stop[used]
    ends = np.cumsum(stop - start)
    low = 0
    while low < row.size:
        done = ends[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        length = stop[low:high] - start[low:high]
        shift = start[low:high] - (ends[low:high] - length - done)
        j = np.arange(ends[high - 1] - done) + np.repeat(shift, length)
        np.add.at(flat, np.repeat(row[low:high], length) + column[j], amount)
        low = high
