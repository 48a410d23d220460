"""The public and the private part of a sealed split: told scores are of the public one, final ranks of the other."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from palladion.errors import ScoringError
from palladion.scoring import PointScores

__all__ = ["part_masks", "private_masks", "public_mask"]

Mask = NDArray[np.bool_]

_LEAST_SALT: Final = 16


def public_mask(
    names: Sequence[str],
    poisoned: Sequence[bool] | Mask,
    cluster: Sequence[int] | NDArray[np.integer],
    *,
    share: float,
    salt: bytes,
) -> Mask:
    """Which data points are public: chosen by salted hashes, in equal shares of each label and cluster.

    Within a label, the data points are put in the order of their clusters, and within a cluster of their hashes; of
    this row every (1 / share)-th is public, from a hashed beginning on. So each label, and each cluster within it, has
    its share to within one data point. A data point's part depends on the names, labels and clusters of all and on the
    salt, but not on the order in which they come, nor on the numbers of the clusters.

    Args:
        names: of the data points, n different ones.
        poisoned: their labels.
        cluster: their clusters.
        share: of the data points that are public, above 0 and below 1.
        salt: secret and random, of the stage, at least 16 bytes: who has it knows the parts.

    Returns:
        Shape (n,).

    Raises:
        ScoringError: for other lengths, names that are there twice, a share or a salt that is none.
    """
    labels, clusters = np.asarray(poisoned, dtype=np.bool_), np.asarray(cluster)
    if not len(names) == labels.size == clusters.size:
        raise ScoringError(f"{len(names)} names, {labels.size} labels and {clusters.size} clusters do not fit together")
    if len(set(names)) != len(names):
        raise ScoringError("names of data points are there twice")
    if not 0 < share < 1:
        raise ScoringError(f"share is {share}; it must lie between 0 and 1")
    if len(salt) < _LEAST_SALT:
        raise ScoringError(f"the salt has {len(salt)} bytes; it must have at least {_LEAST_SALT}")
    # Data points and labels are hashed as what they are, so that no name is taken for a label.
    hashes = [_hash(salt, b"point", name.encode()) for name in names]
    first: dict[int, int] = {}
    numbers = clusters.tolist()
    for number, place in zip(numbers, hashes, strict=True):
        first[number] = min(first.get(number, place), place)
    mask = np.zeros(len(names), dtype=np.bool_)
    for label in (False, True):
        row = sorted(np.flatnonzero(labels == label).tolist(), key=lambda i: (first[numbers[i]], hashes[i]))
        begin = _hash(salt, b"label", str(int(label)).encode()) / 2**64
        counted = np.floor(np.arange(len(row) + 1) * share + begin)
        mask[row] = np.diff(counted) > 0
    return mask


def part_masks(
    points: PointScores, *, share: float | None, salt: bytes, names: Sequence[str] | None = None
) -> dict[str, Mask] | None:
    """The public part of the data points of a split, for :meth:`PointScores.part`; None where all are public.

    Args:
        points: of any submission to the stage; the rows of a task that it has no answers to are in no part.
        share: ``public`` of :class:`palladion.challenge.Feedback`.
        salt: of the stage.
        names: of the data points of a detection split, in their order; rows of language tasks are named by number.

    Raises:
        ScoringError: as :func:`public_mask`; names are missing.
    """
    if share is None:
        return None
    if points.task == "detection":
        if names is None:
            raise ScoringError("parts of a detection split need the names of its data points")
        arrays = points.arrays
        return {
            group: public_mask(names, arrays["poisoned"], arrays["cluster"], share=share, salt=salt)
            for group in points.groups
        }
    masks = {}
    for group, size in points.groups.items():
        task, _, kind = group.rpartition("/")
        rows = [f"{group}/{row}" for row in range(size)]
        attack = points.arrays[f"{task}/attack"] if kind == "poisoned" else np.zeros(size, dtype=np.int32)
        masks[group] = public_mask(rows, np.zeros(size, dtype=np.bool_), attack, share=share, salt=salt)
    return masks


def private_masks(public: Mapping[str, Mask]) -> dict[str, Mask]:
    """All that is not public."""
    return {group: ~mask for group, mask in public.items()}


def _hash(salt: bytes, kind: bytes, name: bytes) -> int:
    """A number of 64 bits that nobody without the salt can foresee."""
    digest = hashlib.blake2b(name, key=hashlib.sha256(salt).digest(), person=kind, digest_size=8).digest()
    return int.from_bytes(digest, "big")
