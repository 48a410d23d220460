"""What a detector learns from: the models of a split, with their labels."""

import hashlib
import json
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from palladion.errors import InputError, PalladionError
from palladion.files import write_atomically
from palladion.models.round_directory import MODELS, SplitDirectory
from palladion.progress import progress
from palladion.workers import WorkerError, run_tasks

__all__ = ["TrainModel", "TrainSplit"]


@dataclass(frozen=True, slots=True)
class TrainModel:
    """One model whose label is known."""

    name: str
    model_dir: Path
    examples_dir: Path
    poisoned: bool


class TrainSplit(Sequence[TrainModel]):
    """The models of a split in the order of their names.

    Args:
        path: the split's directory, which holds ``models/`` and ``METADATA.csv``; or that ``models/`` itself.
        scratch: where :meth:`map` keeps what it has, so that an interrupted one goes on; nowhere by default.
        jobs: how many models :meth:`map` takes at a time.

    Raises:
        InputError: this is not a split of a round, or its table of labels is at fault.
    """

    def __init__(self, path: Path, scratch: Path | None = None, jobs: int = 1) -> None:
        if path.name == MODELS and not (path / MODELS).exists():
            path = path.parent
        split = SplitDirectory(path.name, path)
        labels = split.labels()
        self.path, self.scratch, self.jobs = path, scratch, jobs
        self._models = tuple(
            TrainModel(entry.name, entry.model, entry.examples, labels[entry.name]) for entry in split.models()
        )

    def __len__(self) -> int:
        return len(self._models)

    @overload
    def __getitem__(self, index: int) -> TrainModel: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[TrainModel, ...]: ...
    def __getitem__(self, index: int | slice) -> TrainModel | tuple[TrainModel, ...]:
        return self._models[index]

    @property
    def poisoned(self) -> list[bool]:
        """The labels in the order of the models."""
        return [model.poisoned for model in self._models]

    def map(
        self, function: Callable[[Path, Path], Any], label: str = "models", *, preload: Sequence[str] = ()
    ) -> list[Any]:
        """Call ``function(model_dir, examples_dir)`` for every model, each in a fresh process.

        With a scratch directory, results are kept as they come, and a call after an interruption only computes the
        others. They are thrown away where the function's object, the module it is written in or the models changed.

        Args:
            function: a method of the detector, or a function of an importable module. Its result must be what JSON
                can hold; it comes back as JSON gives it (a tuple as a list).
            label: what the progress bar says, and the name of the file with the results: another one for each
                function.
            preload: modules that take long to import, imported once for all models.

        Returns:
            The results in the order of the models.

        Raises:
            PalladionError: the function failed; the message names the model.
        """
        kept = _Kept(self.scratch, label, _identity(function, self._models))
        waiting = [model for model in self._models if model.name not in kept.results]
        tasks = [(function, model.model_dir, model.examples_dir) for model in waiting]
        try:
            with progress(len(tasks), label) as shown:
                if kept.results:
                    shown.say(f"{label}: {len(kept.results)} of {len(self)} were done before")
                for position, text in run_tasks(_apply, tasks, jobs=self.jobs, preload=preload):
                    kept.add(waiting[position].name, json.loads(text))
                    shown.advance()
        except WorkerError as error:
            raise PalladionError(f"{waiting[error.task].name}: {label}: {error}") from None
        return [kept.results[model.name] for model in self._models]


def _apply(task: tuple[Callable[[Path, Path], Any], Path, Path]) -> str:
    function, model_dir, examples_dir = task
    result = function(model_dir, examples_dir)
    try:
        return json.dumps(result)
    except (TypeError, ValueError) as error:
        raise PalladionError(f"the result cannot be kept as JSON: {error}; of an array, return .tolist()") from None


def _identity(function: Callable[..., Any], models: Sequence[TrainModel]) -> str:
    """Digest of everything that the results depend on, as far as it can be seen from here."""
    digest = hashlib.sha256(pickle.dumps(function))
    source = getattr(sys.modules.get(function.__module__), "__file__", None)
    if source:
        digest.update(Path(source).read_bytes())
    for model in models:
        digest.update(f"\n{model.name}".encode())
        for path in sorted([*model.model_dir.iterdir(), *_files(model.examples_dir)]):
            status = path.stat()
            digest.update(f"\n{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _files(directory: Path) -> Iterator[Path]:
    return directory.iterdir() if directory.is_dir() else iter(())


class _Kept:
    """Results by model name: a header line with what they belong to, then one line of JSON a model."""

    def __init__(self, scratch: Path | None, label: str, identity: str) -> None:
        self.results: dict[str, Any] = {}
        self._path = None
        if scratch is None:
            return
        self._path = scratch / f"{re.sub(r'[^A-Za-z0-9]+', '-', label)}.jsonl"
        header = json.dumps({"identity": identity})
        lines = self._path.read_text(encoding="utf-8").split("\n") if self._path.exists() else []
        if lines and lines[0] == header:
            for line in lines[1:-1]:  # after the last newline stands nothing, or half a line
                name, result = json.loads(line)
                self.results[name] = result
        kept = "".join(json.dumps(item) + "\n" for item in self.results.items())
        write_atomically(self._path, f"{header}\n{kept}")

    def add(self, name: str, result: Any) -> None:
        self.results[name] = result
        if self._path is not None:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps((name, result)) + "\n")
            except OSError as error:
                raise InputError(f"cannot be written: {error.strerror}", path=self._path) from None
