"""Score the outputs of a whole phase against its sealed answers: what the server runs, and what an organiser runs.

The sealed folder of a task holds the same three files as a validation folder, and ``order.json`` where the phase
gives its clean and poisoned inputs in one file: which row of it each of them is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from palladion.errors import InputError
from palladion.scoring import overall_score
from palladion.tracks.evaluation import RowScores, Scored, score_labels, score_texts
from palladion.tracks.inputs import Track
from palladion.tracks.outputs import read_generations, read_labels, refuse_fatal
from palladion.tracks.records import read_object, read_rows
from palladion.tracks.track_file import OutputFile, Task, TrackFile, input_file
from palladion.tracks.validation import ValidationFolder

__all__ = ["CLEAN", "META", "ORDER", "POISONED", "RANKED_BY", "TaskResult", "load_order", "score_phase", "score_task"]

CLEAN: Final = "clean.json"
POISONED: Final = "poisoned.json"
META: Final = "meta.json"
ORDER: Final = "order.json"
RANKED_BY: Final = {"geometric": "task_score", "difference": "difference_score"}
"""Which score of a report a track's ``score`` ranks by."""
_MOST_ORDER_BYTES: Final = 256 << 20

Answer = TypeVar("Answer", int, str)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task of a submission.

    Attributes:
        task: its name.
        report: of :func:`evaluate_classification` or :func:`evaluate_generation`; None where its outputs are missing.
        score: by which the track ranks, 0 where the task is missing.
        rows: what the single rows scored; None where its outputs are missing.
    """

    task: str
    report: dict[str, Any] | None
    score: float
    # The report is made of them: two results with the same report are the same.
    rows: RowScores | None = field(default=None, compare=False)


def score_phase(
    folder: Path, track: TrackFile, sealed: Path, outputs: Path, *, seed: int = 0
) -> tuple[list[TaskResult], float]:
    """Score what a folder of outputs holds for a phase.

    Args:
        folder: of the track file.
        track: what it says.
        sealed: holds a sealed folder for each task.
        outputs: holds the files that the track names; a task none of whose files is there counts 0.
        seed: of the intervals.

    Returns:
        The tasks, and the mean of their scores.

    Raises:
        InputError: a task has only some of its files, or a file does not fit its inputs: submissions are checked
        before.
    """
    results = []
    for task in track.tasks:
        found = _score_task(folder, track, task, sealed / task.name, outputs, seed=seed)
        if found is None:
            results.append(TaskResult(task.name, None, 0.0))
        else:
            score = float(found.report[RANKED_BY[track.score]])
            results.append(TaskResult(task.name, found.report, score, found.rows))
    scores = [result.score for result in results]
    # The mean of differences may be below 0, which overall_score does not take.
    overall = overall_score(scores) if track.score == "geometric" else sum(scores) / len(scores)
    return results, overall


def score_task(
    folder: Path, track: TrackFile, task: Task, sealed: Path, outputs: Path, *, seed: int = 0
) -> dict[str, Any] | None:
    """Score the outputs of one task; None where there are none. Arguments and errors as :func:`score_phase`."""
    found = _score_task(folder, track, task, sealed, outputs, seed=seed)
    return None if found is None else found.report


def _score_task(folder: Path, track: TrackFile, task: Task, sealed: Path, outputs: Path, *, seed: int) -> Scored | None:
    there = [output for output in task.outputs if (outputs / output.file).is_file()]
    if not there:
        return None
    if len(there) < len(task.outputs):
        missing = next(output.file for output in task.outputs if output not in there)
        raise InputError(
            f"lacks {missing}, where {there[0].file} is there; a task needs all of its files", path=outputs
        )
    truth = ValidationFolder.load(sealed, task=Track(track.track))
    counts = {"clean": len(truth.clean), "poisoned": len(truth.poisoned)}
    if track.track == "classification":
        labels = {output: _labels(outputs / output.file, output, task) for output in task.outputs}
        clean, poisoned = _parts(labels, sealed, counts)
        return score_labels(truth, clean, poisoned, seed=seed)
    texts = {output: _texts(folder, outputs / output.file, output) for output in task.outputs}
    clean_texts, poisoned_texts = _parts(texts, sealed, counts)
    # Under the metric of the track alone: whoever submits waits for it.
    return score_texts(truth, clean_texts, poisoned_texts, utility=track.utility, others=False, seed=seed)


def _labels(path: Path, output: OutputFile, task: Task) -> list[int | None]:
    labels, faults = read_labels(path, rows=output.rows, classes=task.classes)
    refuse_fatal(faults)
    return labels


def _texts(folder: Path, path: Path, output: OutputFile) -> list[str | None]:
    inputs = [row.values for row in read_rows(input_file(folder, output))]
    texts, faults = read_generations(path, rows=output.rows, inputs=inputs)
    refuse_fatal(faults)
    return texts


def _parts(
    answers: dict[OutputFile, list[Answer | None]], sealed: Path, counts: dict[str, int]
) -> tuple[list[Answer | None], list[Answer | None]]:
    """The answers to the clean and to the poisoned rows, each in the order of the sealed files."""
    stems = [Path(output.inputs).stem for output in answers]
    if sorted(stems) == sorted(counts):
        parts = dict(zip(stems, answers.values(), strict=True))
    elif len(stems) == 1:
        (mixed,) = answers.values()
        order = load_order(sealed / ORDER, counts)
        if len(mixed) != (known := sum(counts.values())):
            raise InputError(f"tells of {known} rows, where the inputs are {len(mixed)}", path=sealed / ORDER)
        parts = {part: [mixed[place] for place in places] for part, places in order.items()}
    else:
        raise InputError(f"the task's inputs are {', '.join(stems)}, which is neither clean and poisoned nor one file")
    return parts["clean"], parts["poisoned"]


def load_order(path: Path, counts: dict[str, int]) -> dict[str, Sequence[int]]:
    """Which row of the mixed inputs each clean and each poisoned row is, counted from 0.

    Raises:
        InputError: the file does not name every row once.
    """
    values = read_object(path, most=_MOST_ORDER_BYTES)
    wanted = sum(counts.values())
    for part, count in counts.items():
        places = values.get(part)
        if not isinstance(places, list) or not all(type(place) is int for place in places) or len(places) != count:
            raise InputError(f"{part} must be a list of {count} whole numbers", path=path)
    if sorted(place for part in counts for place in values[part]) != list(range(wanted)):
        raise InputError(f"must name each of the {wanted} rows of the inputs once", path=path)
    return {part: values[part] for part in counts}
