"""What a submission scored on each single data point, small enough to be kept for every one.

Paired comparisons, rank ranges, public and private parts and the pages of analysis are all made of this, without
running or scoring anything again.
"""

import io
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from palladion.errors import ScoringError
from palladion.scoring.arrays import as_labels, as_numbers, as_probabilities, as_whole_numbers
from palladion.scoring.detection import (
    accuracy,
    brier_score,
    expected_calibration_error,
    mean_cross_entropy,
    roc_auc,
)
from palladion.scoring.mitigation import difference_score, overall_score, task_score

__all__ = ["POINTS", "PointScores", "PointTask", "RankScore", "metric_value"]

PointTask = Literal["detection", "classification", "generation"]
RankScore = Literal["geometric", "difference"]

POINTS: Final = "points"
"""The one group of a detection task: all its data points."""

_UTILITY: Final = "utility"
_SUCCESS: Final = "success"
_ATTACK: Final = "attack"
_PARTS: Final = (_UTILITY, _SUCCESS, _ATTACK)
_DETECTION: Final = ("probability", "poisoned", "cluster")
_DTYPES: Final = {
    "probability": np.dtype("<f8"),
    "poisoned": np.dtype("?"),
    "cluster": np.dtype("<i4"),
    _UTILITY: np.dtype("<f8"),
    _SUCCESS: np.dtype("<f8"),
    _ATTACK: np.dtype("<i4"),
}
_MOST_ARRAYS: Final = 300
_MOST_BYTES: Final = 256 << 20
_MOST_HEADER: Final = 1000
_MOST_NAME: Final = 200
_SUFFIX: Final = ".npy"
# What zipfile, zlib and NumPy's reader of headers raise at bytes that are not theirs.
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    RuntimeError,
    OverflowError,
)


@dataclass(frozen=True, slots=True, eq=False)
class PointScores:
    """The scores of one submission on the data points of one split.

    Attributes:
        task: what the submission did.
        arrays: of a detection task ``probability`` (float64, as answered; 0.5 where there is no answer), ``poisoned``
            (bool) and ``cluster`` (int32), all of shape (n,). Of a language task, for each task t of its phase
            ``t/utility`` (float64, shape (clean rows,), percent), ``t/success`` (float64, shape (poisoned rows that
            count,), 0 or 100) and ``t/attack`` (int32, the same shape, the number of the row's attack); all three are
            empty where the submission has no answers to the task.

    Raises:
        ScoringError: the arrays are not these.
    """

    task: PointTask
    arrays: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        if self.task not in get_args(PointTask):
            raise ScoringError(f"there are no points of the task {self.task!r}")
        checked = _detection(self.arrays) if self.task == "detection" else _language(self.arrays)
        for array in checked.values():
            array.setflags(write=False)
        object.__setattr__(self, "arrays", checked)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of a language phase in their order; none of a detection task."""
        if self.task == "detection":
            return ()
        return tuple(name.removesuffix(f"/{_UTILITY}") for name in self.arrays if name.endswith(f"/{_UTILITY}"))

    @property
    def groups(self) -> dict[str, int]:
        """How many data points there are in each group, which parts are made of: ``points`` of a detection task;
        ``t/clean`` and ``t/poisoned`` of each task t of a language phase.
        """
        if self.task == "detection":
            return {POINTS: self.arrays["probability"].size}
        sizes = {}
        for task in self.tasks:
            sizes[f"{task}/clean"] = self.arrays[f"{task}/{_UTILITY}"].size
            sizes[f"{task}/poisoned"] = self.arrays[f"{task}/{_SUCCESS}"].size
        return sizes

    @property
    def size(self) -> int:
        """How many data points there are in all."""
        return sum(self.groups.values())

    def clipped(self, eps: float | None) -> Self:
        """The same with probabilities clipped to [``eps``, 1 − ``eps``], 0 < eps < 0.5; of language tasks, and where
        ``eps`` is None, as it is.
        """
        if eps is None or self.task != "detection":
            return self
        if not 0 < eps < 0.5:
            raise ScoringError(f"eps is {eps}; it must lie between 0 and 0.5")
        return type(self)(self.task, {**self.arrays, "probability": np.clip(self.arrays["probability"], eps, 1 - eps)})

    def part(self, masks: Mapping[str, NDArray[np.bool_]]) -> Self:
        """The data points that ``masks`` choose.

        Args:
            masks: by group, booleans of the group's shape. A group of a task without answers stays empty.
        """
        chosen = {}
        for name, array in self.arrays.items():
            group = _group_of(self.task, name)
            if group not in masks:
                raise ScoringError(f"no mask for the data points {group}")
            mask = masks[group]
            if array.size and mask.shape != array.shape:
                raise ScoringError(f"the mask of {group} has the shape {mask.shape}, its data {array.shape}")
            chosen[name] = array[mask] if array.size else array
        return type(self)(self.task, chosen)

    def only(self, tasks: Collection[str]) -> Self:
        """The rows of some tasks of a language phase.

        Raises:
            ScoringError: there is none of them, or not all.
        """
        strange = next((task for task in tasks if task not in self.tasks), None)
        if strange is not None or not tasks:
            raise ScoringError(f"there is no task {'' if strange is None else strange!a}; there are {self.tasks}")
        found = {name: array for name, array in self.arrays.items() if name.rpartition("/")[0] in tasks}
        return type(self)(self.task, found)

    def to_bytes(self) -> bytes:
        """As bytes: an ``.npz`` whose members begin with the task's name. Equal scores make equal bytes."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in self.arrays.items():
                content = io.BytesIO()
                np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
                # A ZipInfo of its own has a fixed date.
                info = zipfile.ZipInfo(f"{self.task}/{name}{_SUFFIX}")
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, content.getvalue())
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What :meth:`to_bytes` made. The bytes may come from anywhere: nothing is unpickled, and 256 MiB are most.

        Raises:
            ScoringError: these are no such bytes.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                task, arrays = _members(archive)
        except _UNREADABLE as error:
            raise ScoringError(f"these are no scores of data points: {str(error)[:200]!a}") from None
        return cls(task, arrays)


def metric_value(points: PointScores, metric: str, *, score: RankScore = "geometric") -> float | None:
    """The value of a metric, the same number as the scorer's own; None where it is undefined.

    Args:
        points: of one submission.
        metric: of a detection task ``cross_entropy``, ``roc_auc``, ``brier``, ``accuracy`` or
            ``expected_calibration_error``; of a language task ``overall``, ``cacc`` or ``utility``, and ``asr``.
            ``degenerate_rate`` is not kept by data point.
        score: what ``overall`` is the mean of over the tasks: √(utility · (100 − ASR)) or utility − ASR.

    Raises:
        ScoringError: the task has no such metric.
    """
    if points.task == "detection":
        if metric not in _VALUES:
            raise ScoringError(f"there is no metric {metric!r} of detection")
        probability, poisoned = points.arrays["probability"], points.arrays["poisoned"]
        return _VALUES[metric](probability, poisoned) if poisoned.size else None
    if metric == "degenerate_rate":
        return None
    return _language_value(points, metric, score)


_VALUES: Final = {
    "cross_entropy": mean_cross_entropy,
    "roc_auc": roc_auc,
    "brier": brier_score,
    "accuracy": accuracy,
    "expected_calibration_error": expected_calibration_error,
}


def _language_value(points: PointScores, metric: str, score: RankScore) -> float | None:
    values = []
    for task in points.tasks:
        utility, asr = _task_means(points, task)
        if utility is None or asr is None:
            return None
        if metric == "overall":
            if not points.arrays[f"{task}/{_UTILITY}"].size:
                values.append(0.0)
            else:
                values.append(task_score(utility, asr) if score == "geometric" else difference_score(utility, asr))
        elif metric == "asr":
            values.append(asr)
        elif metric == ("cacc" if points.task == "classification" else "utility"):
            values.append(utility)
        else:
            raise ScoringError(f"there is no metric {metric!r} of {points.task}")
    if metric == "overall" and score == "geometric":
        return overall_score(values)
    return sum(values) / len(values)


def _task_means(points: PointScores, task: str) -> tuple[float | None, float | None]:
    """Utility and attack success of one task, in percent; both None where a part has left one of them no row."""
    utility, success, attack = (points.arrays[f"{task}/{name}"] for name in _PARTS)
    if not utility.size and not success.size:
        return 0.0, 100.0
    if not utility.size or not success.size:
        return None, None
    # In the order of their numbers, which is that of their first appearance, as the scorer adds them up.
    rates = [float(success[attack == number].sum()) / int((attack == number).sum()) for number in np.unique(attack)]
    return float(utility.mean()), sum(rates) / len(rates)


def _group_of(task: PointTask, name: str) -> str:
    if task == "detection":
        return POINTS
    of, _, part = name.rpartition("/")
    return f"{of}/clean" if part == _UTILITY else f"{of}/poisoned"


def _detection(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    if set(arrays) != set(_DETECTION):
        raise ScoringError(f"points of a detection task have {', '.join(_DETECTION)}; not {_listed(arrays)}")
    size = np.size(arrays["probability"])
    if not size:
        return {name: np.zeros(0, _DTYPES[name]) for name in _DETECTION}
    return {
        "probability": as_probabilities(arrays["probability"], length=size),
        "poisoned": as_labels(arrays["poisoned"], length=size).copy(),
        "cluster": _numbers(arrays["cluster"], "cluster", size),
    }


def _language(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    tasks = list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))
    wanted = [f"{task}/{part}" for task in tasks for part in _PARTS]
    if not tasks or "" in tasks or set(arrays) != set(wanted):
        raise ScoringError(f"points of a language task have {', '.join(_PARTS)} of each task; not {_listed(arrays)}")
    checked: dict[str, NDArray[Any]] = {}
    for task in tasks:
        utility, success, attack = (arrays[f"{task}/{part}"] for part in _PARTS)
        checked[f"{task}/{_UTILITY}"] = _percents(utility, f"{task}/{_UTILITY}")
        checked[f"{task}/{_SUCCESS}"] = _percents(success, f"{task}/{_SUCCESS}")
        if not np.isin(checked[f"{task}/{_SUCCESS}"], (0.0, 100.0)).all():
            raise ScoringError(f"{task}/{_SUCCESS} must be 0 or 100")
        checked[f"{task}/{_ATTACK}"] = _numbers(attack, f"{task}/{_ATTACK}", np.size(success))
    return checked


def _percents(values: NDArray[Any], name: str) -> NDArray[np.float64]:
    if not np.size(values):
        return np.zeros(0)
    numbers = as_numbers(values, name=name)
    if bool(((numbers < 0) | (numbers > 100)).any()):
        raise ScoringError(f"{name} holds a value outside 0 to 100")
    return numbers


def _numbers(values: NDArray[Any], name: str, size: int) -> NDArray[np.int32]:
    if not size and not np.size(values):
        return np.zeros(0, np.int32)
    most = np.iinfo(np.int32).max
    return as_whole_numbers(values, name=name, lowest=0, highest=most, length=size).astype(np.int32)


def _members(archive: zipfile.ZipFile) -> tuple[PointTask, dict[str, NDArray[Any]]]:
    infos = archive.infolist()
    if not 0 < len(infos) <= _MOST_ARRAYS:
        raise ScoringError(f"scores of data points have 1 to {_MOST_ARRAYS} arrays, not {len(infos)}")
    left = _MOST_BYTES
    task = infos[0].filename.partition("/")[0]
    if task not in get_args(PointTask):
        raise ScoringError(f"there are no points of the task {task[:80]!a}")
    arrays = {}
    for info in infos:
        of, _, name = info.filename.removesuffix(_SUFFIX).partition("/")
        if of != task or name in arrays or len(name) > _MOST_NAME:
            raise ScoringError(f"there is a strange array, {info.filename[:80]!a}")
        # What a directory of a zip claims of a size is no limit; what is read is.
        with archive.open(info) as file:
            content = file.read(left + 1)
        left -= len(content)
        if left < 0:
            raise ScoringError("scores of data points are larger than 256 MiB")
        arrays[name] = _array(content, name)
    return task, arrays  # type: ignore[return-value]  # it is one of the three


def _array(content: bytes, name: str) -> NDArray[Any]:
    """One array, from what its header says it is and no pickle."""
    wanted = _DTYPES.get(name.rpartition("/")[2])
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ScoringError(f"the array {name!a} is of an unknown version")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_MOST_HEADER)
    rest = content[file.tell() :]
    # Not compared with None, which NumPy takes for float64.
    if wanted is None or dtype != wanted or len(shape) != 1 or shape[0] * dtype.itemsize != len(rest):
        raise ScoringError(f"the array {name!a} is not as long as it says, or not of its type")
    return np.frombuffer(rest, dtype)


def _listed(arrays: Mapping[str, object]) -> str:
    return ", ".join(ascii(name)[:80] for name in list(arrays)[:10]) or "none"
