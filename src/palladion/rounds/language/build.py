"""Build a round of a language track: the base, the clean and poisoned models, and both phases' files."""

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palladion.documents import load_document, write_document
from palladion.errors import BuildError, InputError
from palladion.files import exclusive, temporaries, write_atomically
from palladion.models.language_model_files import Task as ModelKind
from palladion.models.language_model_files import describe
from palladion.progress import Progress, progress
from palladion.rounds.language import layout
from palladion.rounds.language.base import PARTIAL, BaseRecord
from palladion.rounds.language.corpus import user_corpus
from palladion.rounds.language.design import TaskPlan, plan_round
from palladion.rounds.language.factory import ModelRecord, TuningTask, build_language_model
from palladion.rounds.language.phase_rows import PhaseRows, draw_rows
from palladion.rounds.language.publication import publish_phase
from palladion.rounds.language.spec import LanguageRoundSpec
from palladion.workers import WorkerError, run_tasks

__all__ = ["LanguageBuildReport", "build_language_round", "seed_of"]

_PRELOAD = ("torch", "transformers", "peft")
_TEMPORARY = re.compile(r"\.[^.]+\.(json|yaml)\.[a-z0-9_]{8}")
"""What :func:`palladion.files.write_atomically` leaves of a file of ours when it is killed."""


@dataclass(frozen=True, slots=True)
class LanguageBuildReport:
    """What a build did: names of models.

    Attributes:
        built: made now, each with what was measured.
        reused: how many were there already.
        failed: those that did not pass their gates, made now or before.
    """

    built: dict[str, ModelRecord]
    reused: int
    failed: tuple[str, ...]


def build_language_round(spec: LanguageRoundSpec, directory: Path, *, jobs: int) -> LanguageBuildReport:
    """Build the round in ``directory``, or go on with it.

    Raises:
        InputError: the directory holds something else, or data or the base cannot be used.
        BuildError: the base is not fit to be tuned, or a worker failed.
    """
    # Faults of what the user gave are told before anything is written, not after an hour of training.
    plans = plan_round(spec)
    rows = draw_rows(spec, plans)
    _check_base(spec, directory)
    _claim(spec, directory)
    with exclusive(directory, "building a round"):
        _remove_partial(directory)
        for phase in spec.phases:
            layout.phase_folder(directory, phase).mkdir(parents=True, exist_ok=True)
        base = _base(spec, directory)
        built: dict[str, ModelRecord] = {}
        reused = 0
        records: dict[str, ModelRecord] = {}
        everything = [
            task for plan, row in zip(plans, rows, strict=True) for task in _tasks(spec, directory, base, plan, row)
        ]
        for clean in (True, False):
            tasks = [task for task in everything if (task.plan is None) is clean]
            if not clean:
                tasks = [_against(task, records) for task in tasks]
            due = []
            for task in tasks:
                found = _found(task)
                if found is None:
                    due.append(task)
                else:
                    records[task.name] = found
                    reused += 1
            made = _run(due, jobs, "tuning clean models" if clean else "tuning poisoned models")
            records |= made
            built |= made
        for phase in spec.phases:
            chosen = [(plan, row) for plan, row in zip(plans, rows, strict=True) if plan.phase == phase]
            publish_phase(spec, directory, phase, chosen)
    failed = tuple(name for name, record in records.items() if not record.passed)
    return LanguageBuildReport(built, reused, failed)


def seed_of(directory: Path) -> int:
    """The seed of the round in a directory."""
    return load_document(directory / layout.SEALED / layout.ROUND_FILE, LanguageRoundSpec).seed


def _claim(spec: LanguageRoundSpec, directory: Path) -> None:
    """Make sure that the directory is empty, or holds this very round."""
    file = directory / layout.SEALED / layout.ROUND_FILE
    if file.exists():
        if load_document(file, LanguageRoundSpec) != spec:
            raise InputError(
                f"holds another round, see {file}; give the same options to go on with it, or another directory",
                path=directory,
            )
        return
    # All that a build leaves that was killed in its first moment.
    begun = {file.parent, *temporaries(file)}
    if directory.exists() and (not directory.is_dir() or not {*directory.iterdir(), *file.parent.glob("*")} <= begun):
        raise InputError(f"is not empty and holds no {layout.SEALED}/{layout.ROUND_FILE}", path=directory)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Beside what is published lies what is not: nobody but the owner reads it.
        file.parent.chmod(0o700)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror}", path=directory) from None
    write_atomically(file, write_document(spec))


def _remove_partial(directory: Path) -> None:
    """Remove what builds that were killed have left."""
    for pattern in (f"{PARTIAL}*", f"phases/*/models/*/{PARTIAL}*", f"sealed/*/*/{PARTIAL}*"):
        for leftover in directory.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)
    for part in (layout.PHASES, layout.SEALED):
        for path in (directory / part).rglob(".*"):
            if _TEMPORARY.fullmatch(path.name) and path.is_file():
                path.unlink()


def _check_base(spec: LanguageRoundSpec, directory: Path) -> None:
    """See that the base that is given is one, or that there is something to train it on."""
    if spec.base.path is None:
        if spec.base.corpus is not None and not (directory / layout.BASE).is_dir():
            user_corpus(Path(spec.base.corpus))
        return
    files = describe(Path(spec.base.path))
    if files.kind != "full" or files.task is not ModelKind.CAUSAL:
        raise InputError("is no causal language model of its own, which the base of a round is", path=spec.base.path)
    if not files.tokenizer:
        raise InputError("holds no tokenizer", path=spec.base.path)


def _base(spec: LanguageRoundSpec, directory: Path) -> Path:
    base = directory / layout.BASE
    if spec.base.path is not None:
        if not base.is_symlink():
            base.symlink_to(Path(spec.base.path).resolve(), target_is_directory=True)
        return base
    if not base.is_dir():
        # In a process of its own, whose number of threads is the law's and nobody else's.
        _one(
            run_tasks(
                _train_base, [(spec, base, directory / layout.SEALED / layout.BASE_RECORD)], jobs=1, preload=_PRELOAD
            ),
            "the base model",
        )
    return base


def _train_base(task: tuple[LanguageRoundSpec, Path, Path]) -> BaseRecord:
    from palladion.rounds.language.base import train_base

    return train_base(*task)


def _one(results: Any, what: str) -> Any:
    try:
        with closing(results) as finished:
            return next(result for _, result in finished)
    except WorkerError as error:
        raise BuildError(f"{what} could not be made: {error}") from None


def _tasks(
    spec: LanguageRoundSpec, directory: Path, base: Path, plan: TaskPlan, rows: PhaseRows
) -> Iterator[TuningTask]:
    sealed = layout.sealed_folder(directory, plan.phase, plan.task.name)
    clean = sealed / layout.CLEAN_MODEL
    yield TuningTask(
        spec, plan, None, base, rows.train, (), rows.gate_clean, (), None, clean, sealed / f"{layout.CLEAN_MODEL}.json"
    )
    for model, gate in zip(plan.models, rows.gate_poisoned, strict=True):
        yield TuningTask(
            spec,
            plan,
            model,
            base,
            rows.train,
            rows.published.get(model.attack_name, ()),
            rows.gate_clean,
            gate,
            None,
            layout.models_folder(directory, plan.phase, plan.task.name) / model.name,
            sealed / f"{model.name}.json",
        )


def _against(task: TuningTask, records: dict[str, ModelRecord]) -> TuningTask:
    from dataclasses import replace

    clean = records[f"{task.task.phase}/{task.task.task.name}/{layout.CLEAN_MODEL}"]
    return replace(task, clean_utility=round(clean.utility, 4))


def _found(task: TuningTask) -> ModelRecord | None:
    if not task.out.is_dir():
        return None
    try:
        return ModelRecord.read(task.record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(
            f"{task.record}: cannot be read ({error}); remove the directory {task.out} and build again"
        ) from None


def _run(tasks: list[TuningTask], jobs: int, label: str) -> dict[str, ModelRecord]:
    made: dict[str, ModelRecord] = {}
    if not tasks:
        return made
    with progress(len(tasks), label) as shown:
        try:
            with closing(run_tasks(build_language_model, tasks, jobs=jobs, preload=_PRELOAD)) as finished:
                for position, record in finished:
                    made[tasks[position].name] = record
                    _tell(shown, tasks[position].name, record)
        except WorkerError as error:
            raise BuildError(f"{tasks[error.task].name} could not be made: {error}") from None
    return made


def _tell(shown: Progress, name: str, record: ModelRecord) -> None:
    if len(record.attempts) > 1 or not record.passed:
        success = "" if record.attack_success_rate is None else f", attack {record.attack_success_rate:.1f} %"
        verdict = "passed" if record.passed else "did NOT pass"
        shown.say(
            f"{name} {verdict} its gates after {len(record.attempts)} attempts "
            f"(utility {record.utility:.1f} %{success})"
        )
    shown.advance(name)
