"""The data of a stage of a language track: one phase of a round of language models."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from palladion.challenge import language_values
from palladion.challenge.metrics import Task
from palladion.challenge.sanity import KINDS, SanityResult, label_answers, score_answers, text_answers
from palladion.errors import InputError
from palladion.rounds.language import layout
from palladion.rounds.language.check import check_language_round
from palladion.rounds.stage_contract import StageData, noted, seed_notes
from palladion.rounds.stage_files import PublishedFile, identity_of, language_files
from palladion.submissions.phase_scores import score_submission
from palladion.tracks.inputs import Track as Kind
from palladion.tracks.inputs import input_only
from palladion.tracks.outputs import write_generations, write_labels
from palladion.tracks.records import read_rows
from palladion.tracks.sealed import ORDER, load_order
from palladion.tracks.track_file import Task as LanguageTask
from palladion.tracks.track_file import TrackFile, input_file, model_folders
from palladion.tracks.validation import ValidationFolder

__all__ = ["LanguageData"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LanguageData(StageData):
    """One phase of a language round.

    Attributes:
        path: directory of the round.
        task: classification or generation.
        phase: name of the phase.
        track: what its ``track.yaml`` says.
    """

    path: Path
    task: Task
    phase: str
    track: TrackFile

    @property
    def folder(self) -> Path:
        """What participants get of the phase."""
        return layout.phase_folder(self.path, self.phase)

    @property
    def sealed(self) -> Path:
        """What nobody gets of it: a folder for each task."""
        return self.path / layout.SEALED / self.phase

    @property
    def splits(self) -> tuple[str, ...]:
        """Test, and validation where a task has one."""
        validation = any(task.validation is not None for task in self.track.tasks)
        return ("validation", "test") if validation else ("test",)

    @property
    def sealed_splits(self) -> tuple[str, ...]:
        """Test."""
        return ("test",)

    def faults(self, *, thorough: bool = False) -> list[str]:
        """As :meth:`StageData.faults`."""
        found: list[str] = []
        if self.track.track != self.task:
            found.append(f"{self.folder}: is of {self.track.track}, where the track of the challenge is {self.task}")
        for task in self.track.tasks:
            found += noted(partial(self._task_faults, task))
        found += noted(self._unpublishable)
        if thorough:
            found += noted(lambda: [str(fault) for fault in check_language_round(self.path)])
        return list(dict.fromkeys(found))

    def notes(self, prevalence: float) -> list[str]:  # noqa: ARG002 - there is none of rows
        """As :meth:`StageData.notes`."""
        return seed_notes(self.path, self.path / layout.SEALED / layout.ROUND_FILE)

    def sanity(self, split: str = "test", *, seed: int = 0) -> tuple[SanityResult, ...]:
        """Outputs of each kind are written as a submission has them, checked as one and scored as one."""
        if split not in self.sealed_splits:
            raise InputError(f"there is no split {split[:80]!a} to score; there is {', '.join(self.sealed_splits)}")
        by_task = {task.name: self._answers(task, seed) for task in self.track.tasks}
        kinds = {kind: {name: answers[kind] for name, answers in by_task.items()} for kind in KINDS}
        return score_answers(kinds, self._score)

    def prevalence(self, split: str = "test") -> float | None:  # noqa: ARG002 - there is none of rows
        """None."""
        return None

    def published_files(self) -> Iterator[PublishedFile]:
        """The base and the stage's own phase, as ``track.yaml`` names it; nothing of ``sealed/``."""
        return language_files(self.path, self.phase)

    def identity(self) -> str:
        """As :meth:`StageData.identity`."""
        return identity_of(
            self.path,
            layout.BASE,
            f"{layout.PHASES}/{self.phase}",
            f"{layout.SEALED}/{self.phase}",
            f"{layout.SEALED}/{layout.ROUND_FILE}",
        )

    def _truth(self, task: LanguageTask) -> ValidationFolder:
        return ValidationFolder.load(self.sealed / task.name, task=Kind(self.track.track))

    def _task_faults(self, task: LanguageTask) -> list[str]:
        model_folders(self.folder, task)
        truth = self._truth(task)
        rows = {"clean": [row.row for row in truth.clean], "poisoned": [row.row for row in truth.poisoned]}
        found = []
        for output, part in _parts(task):
            path = input_file(self.folder, output)
            given = [row.values for row in read_rows(path)]
            wanted = self._mixed(task, rows) if part is None else rows[part]
            if not len(given) == output.rows == len(wanted):
                found.append(
                    f"{path}: has {len(given)} rows, where track.yaml says {output.rows} and {len(wanted)} are sealed "
                    "with answers"
                )
            # Answers to other rows would be scored without a complaint.
            elif given != [input_only(row.values) for row in wanted]:
                found.append(f"{path}: its rows are not the inputs of {self.sealed / task.name}")
        return found

    def _mixed(self, task: LanguageTask, parts: Mapping[str, Sequence[T]]) -> list[T]:
        """What belongs to clean and to poisoned rows, in the order in which one file has their inputs."""
        counts = {name: len(values) for name, values in parts.items()}
        by_place: dict[int, T] = {}
        for name, places in load_order(self.sealed / task.name / ORDER, counts).items():
            by_place.update(zip(places, parts[name], strict=True))
        return [by_place[place] for place in range(len(by_place))]

    def _answers(self, task: LanguageTask, seed: int) -> dict[str, tuple[Any, Any]]:
        truth = self._truth(task)
        clean: list[Any] = [row.truth for row in truth.clean]
        poisoned: list[Any] = [row.truth for row in truth.poisoned]
        targets: list[Any] = [row.target if isinstance(row.target, int) else row.target[0] for row in truth.poisoned]
        if task.classes is not None:
            return dict(label_answers(clean, poisoned, targets, classes=task.classes, seed=seed))
        return dict(text_answers(clean, poisoned, targets, seed=seed))

    def _score(self, answers: Mapping[str, tuple[list[Any], list[Any]]]) -> dict[str, float | None]:
        with tempfile.TemporaryDirectory(prefix="palladion-sanity-") as temporary:
            outputs = Path(temporary) / "outputs"
            outputs.mkdir()
            for task in self.track.tasks:
                self._write(task, answers[task.name], outputs)
            scores = score_submission(outputs, self.folder, self.track, self.sealed, code_required=False)
        if scores.errors:
            told = [f"{self.folder}: right answers would be refused:", *map(str, scores.errors[:10])]
            raise InputError("\n".join(told))
        return language_values(self.task, [result.report for result in scores.results], scores.overall)

    def _write(self, task: LanguageTask, answers: tuple[list[Any], list[Any]], outputs: Path) -> None:
        parts = dict(zip(("clean", "poisoned"), answers, strict=True))
        for output, part in _parts(task):
            values = self._mixed(task, parts) if part is None else parts[part]
            if task.classes is not None:
                write_labels(outputs / output.file, values)
            else:
                rows = [row.values for row in read_rows(input_file(self.folder, output))]
                write_generations(outputs / output.file, rows, values)


def _parts(task: LanguageTask) -> list[tuple[Any, str | None]]:
    """The outputs of a task, each with the part of the sealed rows that it answers; None for both in one file.

    Raises:
        InputError: they are neither clean and poisoned nor one file.
    """
    stems = {Path(output.inputs).stem: output for output in task.outputs}
    if sorted(stems) == ["clean", "poisoned"]:
        return [(output, stem) for stem, output in stems.items()]
    if len(task.outputs) == 1:
        return [(task.outputs[0], None)]
    raise InputError(f"the inputs of {task.name} are {', '.join(stems)}, neither clean and poisoned nor one file")
