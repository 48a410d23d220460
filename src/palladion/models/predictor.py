"""Answer one file of rows with one language model after another, and keep the answers as they come."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palladion.errors import PalladionError
from palladion.models.language_model import (
    LanguageModel,
    LanguageModelFiles,
    choose_device,
    choose_dtype,
    describe,
    identity,
    open_language_model,
    resolve_base,
)
from palladion.models.prediction import PredictionJournal, Settings, check_rows, fingerprint, predict
from palladion.tracks.inputs import Track, kind_of, messages_of, sentence_of
from palladion.tracks.outputs import write_generations, write_labels
from palladion.tracks.records import read_rows

if TYPE_CHECKING:
    import torch

    from palladion.models.generation import Answer

__all__ = ["Predictor"]


class Predictor:
    """What a file of rows is answered with.

    Args:
        inputs: rows with ``sentence``, ``messages`` or ``instruction``.
        settings: how answers are made.
        base: the base of adapters; by default what they name.
        device, dtype, bits: as :func:`palladion.models.language_model.open_language_model` takes them.

    Attributes:
        inputs: the file.
        rows: what stands in it.
        labels_wanted: whether the rows are sentences to be labelled.

    Raises:
        InputError: the rows cannot be used, or there is no such device or type.
    """

    def __init__(
        self,
        inputs: Path,
        settings: Settings,
        *,
        base: Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        bits: int | None = None,
    ) -> None:
        self.inputs, self.rows = inputs, read_rows(inputs)
        self.labels_wanted = kind_of(self.rows, inputs) is Track.CLASSIFICATION
        read = sentence_of if self.labels_wanted else messages_of
        self._questions: list[Any] = [read(row, inputs) for row in self.rows]
        self._settings, self._base, self._bits = settings, base, bits
        self._wanted = device, dtype
        self._identities: dict[Path, str] = {}
        self._opened: LanguageModel | None = None

    def describe(self, directory: Path) -> LanguageModelFiles:
        """Read what a model's directory holds, and that of its base.

        Raises:
            InputError: it cannot be opened, or is not for these rows.
        """
        files = describe(directory)
        check_rows(files.task, self.labels_wanted, directory, self.inputs)
        if files.adapter is not None:
            describe(resolve_base(files, self._base))
        return files

    def place(self) -> tuple["torch.device", "torch.dtype"]:
        """Where answers are computed, and in which type of numbers.

        Raises:
            InputError: there is no such device or type.
        """
        from palladion.models.image_classifier import require_packages

        require_packages()
        # transformers is told that there is no network before it is imported: nothing is looked for there.
        os.environ["HF_HUB_OFFLINE"] = "1"
        device = choose_device(self._wanted[0])
        return device, choose_dtype(self._wanted[1], device)

    def journal(self, files: LanguageModelFiles, out: Path) -> PredictionJournal:
        """What there is already of a model's answers for an output file.

        Raises:
            InputError: there is no such device or type.
            PalladionError: another process writes there.
        """
        from palladion import __version__

        device, dtype = self.place()
        name = fingerprint(
            [self._identity(files.directory), *([] if files.adapter is None else [self._identity(self._home(files))])],
            self.inputs,
            self._settings,
            device=device.type,
            dtype=str(dtype),
            bits=self._bits,
            version=__version__,
        )
        return PredictionJournal(out, name, len(self.rows), int if self.labels_wanted else str)

    def answer(self, files: LanguageModelFiles, journal: PredictionJournal) -> Iterator["Answer"]:
        """Answer the rows that the journal lacks, and put the answers there; yields them as they come.

        Raises:
            InputError: the model cannot be opened, does not fit its base, or cannot read a row.
            PalladionError: a GPU's memory is full.
        """
        if journal.complete:
            return
        import torch

        try:
            for answer in predict(self._attached(files), self._questions, self._settings, journal.answers):
                journal.add(answer.row, answer.value, answer.probabilities)
                yield answer
        except torch.OutOfMemoryError:
            raise PalladionError(
                f"the GPU's memory is full; {self.kept(journal)}, with a smaller --batch-tokens"
            ) from None

    def kept(self, journal: PredictionJournal) -> str:
        """How far a model got, in words for whoever stops it."""
        done = f"{len(journal.answers)} of {len(self.rows)} answers of this model are kept"
        return f"{done}, and the same command goes on"

    def write(self, out: Path, answers: Sequence[Any]) -> None:
        """Write an answer to each row, in the order of the rows: labels as CSV, texts as JSON."""
        if self.labels_wanted:
            write_labels(out, answers)
        else:
            write_generations(out, [row.values for row in self.rows], answers)

    def _home(self, files: LanguageModelFiles) -> Path:
        """The directory whose weights are opened."""
        return files.directory if files.adapter is None else resolve_base(files, self._base)

    def _identity(self, directory: Path) -> str:
        real = directory.resolve()
        if real not in self._identities:
            self._identities[real] = identity(real)
        return self._identities[real]

    def _is_home(self, opened: LanguageModel, files: LanguageModelFiles) -> bool:
        # Compared by name: what was opened before may have been of a folder that is gone, as a merged model's.
        return opened.base.resolve() == self._home(files).resolve()

    def _attached(self, files: LanguageModelFiles) -> LanguageModel:
        """The model in memory; a base that is there already is not opened again."""
        opened = self._opened
        if opened is not None and opened.task is files.task and self._is_home(opened, files):
            opened.attach(files)
            return opened
        self._opened = opened = None  # two models at a time may be more than there is memory
        device, dtype = self._wanted
        self._opened = open_language_model(files, base=self._base, device=device, dtype=dtype, bits=self._bits)
        return self._opened
