"""The data of a stage of a detection track: a round of models."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from palladion.challenge import detection_values
from palladion.challenge.sanity import SanityResult, detection_answers, score_answers
from palladion.errors import InputError
from palladion.models.round_directory import OPEN, ROUND_FILE, SPLITS, RoundDirectory
from palladion.rounds.check import check_round
from palladion.rounds.stage_contract import StageData, noted, seed_notes
from palladion.rounds.stage_files import PublishedFile, detection_files, identity_of
from palladion.scoring import Answers, score_detection

__all__ = ["DetectionData"]

_FEWEST_CLUSTERS: Final = 10
"""Of fewer, resamples hardly differ from each other: everything would seem certain."""
_REPLICATES: Final = 100  # of intervals that nobody looks at


@dataclass(frozen=True, slots=True)
class DetectionData(StageData):
    """A round of models.

    Attributes:
        path: its directory.
        rounds: the same, opened.
        dry_run: whether the test split is to be the train split.
    """

    path: Path
    rounds: RoundDirectory
    dry_run: bool = False

    @property
    def splits(self) -> tuple[str, ...]:
        """Of train, test and holdout."""
        return tuple(name for name in SPLITS if (self.path / self.rounds.same_as.get(name, name)).is_dir())

    @property
    def sealed_splits(self) -> tuple[str, ...]:
        """Of test and holdout; the test split of a dry run is scored, but not sealed."""
        return tuple(name for name in self.splits if self.rounds.is_sealed(name))

    def labels(self, split: str) -> dict[str, bool]:
        """Whether each model of a split is poisoned, by name, in the order of the names.

        Raises:
            InputError: there is no such split, or its table is at fault.
        """
        found = self.rounds.split(split)
        labels = found.labels()
        return {entry.name: labels[entry.name] for entry in found.models()}

    def faults(self, *, thorough: bool = False) -> list[str]:
        """As :meth:`StageData.faults`."""
        found: list[str] = []
        train, test = SPLITS[:2]
        same = self.rounds.same_as.get(test) == train
        if self.dry_run and not same:
            found.append(
                f"{self.path}: a dry run needs a test split that is the train split (splits: {{test: {{same_as: "
                f"train}}}}); with one of its own, leave dry_run out"
            )
        if same and not self.dry_run:
            found.append(f"{self.path}: its test split is the train split, whose labels are open; write dry_run: true")
        for name in SPLITS:
            if name in self.splits or name in (train, test) or name in self.rounds.counts:
                found += self._split_faults(name)
        found += noted(self._unpublishable)
        if thorough:
            found += noted(lambda: [str(fault) for fault in check_round(self.path)])
        return list(dict.fromkeys(found))

    def cluster_faults(self, columns: Sequence[str]) -> list[str]:
        """Why data points cannot be drawn by the clusters that these columns make."""
        found = []
        for name in dict.fromkeys(("test", *self.sealed_splits)):
            if name not in self.splits:
                continue
            split = self.rounds.split(name)
            try:
                count = len(set(split.clusters(columns)))
            except InputError as error:
                found.append(str(error))
                continue
            if count < _FEWEST_CLUSTERS:
                found.append(
                    f"{split.metadata}: {', '.join(columns)} make {count} clusters; intervals need at least "
                    f"{_FEWEST_CLUSTERS}: name more columns, or leave clusters out"
                )
        return found

    def notes(self, prevalence: float) -> list[str]:
        """As :meth:`StageData.notes`."""
        found = []
        if not self.dry_run and SPLITS[2] not in self.splits:
            found.append(f"{self.path}: there is no holdout split; at the end nothing can be run on models never seen")
        for name in self.sealed_splits:
            try:
                share = self.prevalence(name)
                count = len(self.labels(name))
            except InputError:
                continue  # told as a fault
            # Nothing nearer can be had with so many models.
            if abs(share - prevalence) > 0.5 / count + 1e-9:
                found.append(
                    f"{self.path}: {share:.3f} of the {name} split are poisoned, where the file says prevalence: "
                    f"{prevalence:g}; the goal is computed from the file"
                )
        return [*found, *(seed_notes(self.path, self.path / ROUND_FILE) if self.sealed_splits else ())]

    def sanity(self, split: str = "test", *, seed: int = 0) -> tuple[SanityResult, ...]:
        """As :meth:`StageData.sanity`."""
        poisoned = list(self.labels(split).values())

        def score(probabilities: Any) -> dict[str, float | None]:
            scores = score_detection(Answers.from_values(probabilities), poisoned, replicates=_REPLICATES)
            return detection_values(scores.to_dict())

        return score_answers(detection_answers(poisoned, seed=seed), score)

    def prevalence(self, split: str = "test") -> float:
        """As :meth:`StageData.prevalence`."""
        labels = self.labels(split)
        return sum(labels.values()) / len(labels)

    def published_files(self) -> Iterator[PublishedFile]:
        """The train split with its labels, and the round's own files; no byte of test and holdout."""
        return detection_files(self.rounds, dry_run=self.dry_run)

    def identity(self) -> str:
        """As :meth:`StageData.identity`."""
        return identity_of(self.path, ROUND_FILE, OPEN, *SPLITS)

    def _split_faults(self, name: str) -> list[str]:
        try:
            split = self.rounds.split(name)
            entries = split.models()
            labels = self.labels(name)
        except InputError as error:
            return [str(error)]
        found = []
        planned = self.rounds.counts.get(name)
        if planned is not None and planned != len(entries):
            found.append(f"{split.path}: holds {len(entries)} of {planned} models; build or import it to its end")
        if self.rounds.is_sealed(name) and len(set(labels.values())) == 1:
            kind = "poisoned" if next(iter(labels.values())) else "clean"
            found.append(f"{split.metadata}: all models are {kind}; there is nothing to tell apart")
        found += [f"{entry.directory}: holds no model to look at" for entry in entries if not entry.model.exists()]
        return found
