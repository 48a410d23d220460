"""Counter-based randomness: every draw is a pure function of where it stands.

A stream is named by a path such as ``(round seed, "train", 7, "images")``. Sample ``i`` of a stream can be drawn
alone, on any machine, in any order, without drawing samples ``0 … i−1`` first: that is what makes a build
resumable, independent of the number of workers, and checkable image by image.

Paths become keys through :class:`numpy.random.SeedSequence`, whose mixing is made for that. Within a stream the
draws come from the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
OOPSLA 2014) over the counter, because it is vectorised over samples, which NumPy's own generators are not.
"""

import zlib
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["generator", "key", "normal", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xD1B54A32D192ED03)


def _sequence(path: tuple[int | str, ...]) -> np.random.SeedSequence:
    if not path:
        raise ValueError("a random stream needs a path")
    # Strings and numbers are tagged, so that the path ("1",) is not the path (1,).
    entropy: list[int] = []
    for part in path:
        if isinstance(part, str):
            entropy += [1, zlib.crc32(part.encode()), len(part)]
        elif part < 0:
            raise ValueError(f"a random stream's path takes numbers from 0 up, not {part}")
        else:
            entropy += [0, part]
    return np.random.SeedSequence(entropy)


def key(*path: int | str) -> int:
    """The 64-bit key of the stream that ``path`` names."""
    return int(_sequence(path).generate_state(1, np.uint64)[0])


def generator(*path: int | str) -> np.random.Generator:
    """A NumPy generator for the few draws of a plan, where no sample needs to be drawn alone."""
    return np.random.Generator(np.random.Philox(_sequence(path)))


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser, in place."""
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def _bits(stream: int, index: NDArray[np.int64], draws: int) -> NDArray[np.uint64]:
    """64 random bits for each of ``draws`` draws of each sample: shape ``(len(index), draws)``."""
    with np.errstate(over="ignore"):
        sample = _mix(np.uint64(stream) + (index.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
        counter = (np.arange(1, draws + 1, dtype=np.uint64)) * _SECOND
        return _mix(sample[:, None] + counter[None, :])


def uniform(stream: int, index: NDArray[np.int64], draws: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), shape ``(len(index), draws)``, for the samples ``index`` of a stream."""
    return (_bits(stream, index, draws) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(stream: int, index: NDArray[np.int64], draws: int) -> NDArray[np.float32]:
    """Normal numbers (mean 0, variance 1) of 16 bits, shape ``(len(index), draws)``; none is beyond ±4.33.

    Four come from one hash: a part of its bits each, looked up among the quantiles of the normal distribution.
    """
    hashes = _bits(stream, index, -(-draws // 4)).astype("<u8", copy=False)
    return np.asarray(_quantiles().take(hashes.view("<u2")[:, :draws]))


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.float32]:
    """Quantiles of the normal distribution at the middles of 2^16 equal parts, a little stretched to variance 1."""
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse(0.5 + (part + 0.5) / 2**16) for part in range(2**15)])
    upper /= np.sqrt((upper**2).mean())
    return np.concatenate([-upper[::-1], upper]).astype(np.float32)
