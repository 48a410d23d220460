"""Build a round: every model that is not there yet, in parallel, so that stopping and going on changes nothing.

On a GPU small networks of one family are trained as stacks (:mod:`palladion.rounds.stacking`), several at a time: while
one is trained, others draw their images.
"""

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palladion.documents import load_document, write_document
from palladion.errors import BuildError, InputError
from palladion.files import exclusive, temporaries, write_atomically
from palladion.models import round_directory as layout
from palladion.models.image_classifier import PRELOAD, require_packages
from palladion.progress import Progress, progress
from palladion.rounds import metadata
from palladion.rounds.design import ModelPlan, plan_split
from palladion.rounds.factory import PARTIAL, BuildTask, BuiltModel, build_models
from palladion.rounds.families import family_modules, require_networks
from palladion.rounds.images.pictures import pictures_digest
from palladion.rounds.spec import RoundSpec
from palladion.rounds.training_record import TrainingRecord, read_record
from palladion.workers import WorkerError, run_tasks

__all__ = ["BuildReport", "build_round"]

# Imported once by the fork server: what every worker needs.
_PRELOAD = (*PRELOAD, "palladion.rounds.factory", "palladion.rounds.training")

_STACK = 16  # networks that are trained together at most: as many again hardly fill a GPU better


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did.

    Attributes:
        built: the models that this call built, with their timings.
        reused: number of models that were there already.
        failed: ``split/name`` of every model of the round that did not pass its gates.
    """

    built: tuple[BuiltModel, ...]
    reused: int
    failed: tuple[str, ...]


def build_round(spec: RoundSpec, directory: Path, *, jobs: int, device: str = "cpu") -> BuildReport:
    """Build the round, or what is missing of it.

    Args:
        spec: of the round.
        directory: to build in, or to go on in.
        jobs: models at a time; on a GPU stacks of models.
        device: ``cpu`` or ``cuda``.

    Raises:
        InputError: the directory holds something else, or a package is missing.
        BuildError: a model could not be built.
    """
    require_packages()
    _require_device(device)
    require_networks(spec.architectures)
    pictures = None if spec.images.pictures is None else pictures_digest(Path(spec.images.pictures))
    _claim(spec, directory)
    with exclusive(directory, "building a round"):
        if not (directory / layout.ROUND_FILE).exists():
            write_atomically(directory / layout.ROUND_FILE, write_document(spec))
        splits = [name for name, split in spec.splits.items() if split.models is not None]
        plans = {name: plan_split(spec, name) for name in splits}
        absent: list[ModelPlan] = []
        again: list[ModelPlan] = []
        for name in splits:
            models = directory / name / layout.MODELS
            models.mkdir(parents=True, exist_ok=True)
            _remove_partial(directory / name)
            for plan in plans[name]:
                if not (models / plan.name).is_dir():
                    absent.append(plan)
                    continue
                record = read_record(models / plan.name)
                _require_same_origin(models / plan.name, record, device, pictures)
                if not record.passed and len(record.attempts) < spec.gates.attempts:
                    again.append(plan)
        if again:
            write_atomically(directory / layout.ROUND_FILE, write_document(spec))  # which allows more attempts now
        for plan in again:
            # The table goes first: a split that has one is complete.
            (directory / plan.split / layout.METADATA).unlink(missing_ok=True)
            shutil.rmtree(directory / plan.split / layout.MODELS / plan.name)
        tasks = [
            BuildTask(spec, stack, directory, device, pictures) for stack in _stacks(spec, [*absent, *again], device)
        ]
        try:
            built = _build_models(tasks, jobs) if tasks else ()
        finally:
            for name in splits:
                _remove_partial(directory / name)
        failed = []
        for name in splits:
            records = [(plan, read_record(directory / name / layout.MODELS / plan.name)) for plan in plans[name]]
            failed += [f"{name}/{plan.name}" for plan, record in records if not record.passed]
            write_atomically(directory / name / layout.METADATA_DICTIONARY, metadata.dictionary_csv())
            # The table comes last, too.
            write_atomically(directory / name / layout.METADATA, metadata.metadata_csv(spec, records))
    reused = sum(len(plans[name]) for name in splits) - len(built)
    return BuildReport(built, reused, tuple(failed))


def _require_same_origin(model: Path, record: TrainingRecord, device: str, pictures: str | None) -> None:
    """See that a model that is there already was made as those will be that are not."""
    if record.device != device:
        raise InputError(f"was trained on {record.device}; go on with --device {record.device}", path=model)
    if record.pictures_sha256 != pictures:
        raise InputError("was made with other background pictures than lie in images.pictures now", path=model)


def _require_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise InputError(f"--device {device}: there is no GPU that torch {torch.__version__} can use")


def _remove_partial(split: Path) -> None:
    """Remove what builds that were killed have left in a split, and above it."""
    for leftover in (split / layout.MODELS).glob(f"{PARTIAL}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for file in (
        split.parent / layout.ROUND_FILE,
        split / layout.METADATA,
        split / layout.METADATA_DICTIONARY,
    ):
        for unfinished in temporaries(file):
            unfinished.unlink(missing_ok=True)


def _claim(spec: RoundSpec, directory: Path) -> None:
    """Make sure that the directory is empty, or holds this very round."""
    file = directory / layout.ROUND_FILE
    if file.exists():
        there = load_document(file, RoundSpec)
        raised = spec.gates.attempts > there.gates.attempts
        if there != spec.with_options(seed=None, models={}, attempts=there.gates.attempts if raised else None):
            differing = _differences(there.model_dump(mode="json"), spec.model_dump(mode="json"))
            raise InputError(
                f"holds another round: {'; '.join(differing)}. Give the same options to go on with it, or "
                "another directory",
                path=directory,
            )
        return
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        # A lone temporary of round.yaml is what a build killed in its first moment leaves.
        unfinished = set(temporaries(file))
        strangers = [path for path in directory.iterdir() if path not in unfinished]
        if strangers:
            raise InputError(f"is not empty and holds no {layout.ROUND_FILE}; choose another directory", path=directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror}", path=directory) from None


def _differences(there: Any, wanted: Any, name: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(wanted, dict):
        keys = list(dict.fromkeys([*there, *wanted]))
        return [
            line
            for key in keys
            for line in _differences(there.get(key), wanted.get(key), f"{name}.{key}" if name else str(key))
        ]
    return [] if there == wanted else [f"{name} is {there} there, {wanted} is wanted"]


def _stacks(spec: RoundSpec, plans: list[ModelPlan], device: str) -> list[tuple[ModelPlan, ...]]:
    """The models that are trained together: on a GPU small ones of one family, of as equal a length as may be."""
    if device == "cpu" or spec.scale != "small":
        return [(plan,) for plan in plans]
    stacks = []
    for family in dict.fromkeys(plan.architecture for plan in plans):
        alike = sorted((plan for plan in plans if plan.architecture == family), key=lambda plan: plan.steps)
        stacks += [tuple(alike[start : start + _STACK]) for start in range(0, len(alike), _STACK)]
    return stacks


def _build_models(tasks: list[BuildTask], jobs: int) -> tuple[BuiltModel, ...]:
    built: list[BuiltModel] = []
    # What is imported after the fork is imported once a model.
    families = {plan.architecture for task in tasks for plan in task.plans}
    with progress(sum(len(task.plans) for task in tasks), "building models") as shown:
        try:
            # Closed before anything else happens, so that no worker writes any more when the leftovers are removed.
            preload = (*_PRELOAD, *family_modules(families))
            with closing(run_tasks(build_models, tasks, jobs=jobs, preload=preload)) as finished:
                for _, models in finished:
                    built += models
                    for model in models:
                        _tell(shown, model)
        except WorkerError as error:
            names = ", ".join(f"{plan.split}/{plan.name}" for plan in tasks[error.task].plans)
            raise BuildError(f"{names} could not be built: {error}") from None
    return tuple(built)


def _tell(shown: Progress, model: BuiltModel) -> None:
    if model.attempts > 1 or not model.passed:
        success = "" if model.attack_success_rate is None else f", attack {model.attack_success_rate:.3f}"
        verdict = "passed" if model.passed else "did NOT pass"
        shown.say(
            f"{model.split}/{model.name} {verdict} its gates after {model.attempts} attempts "
            f"(clean {model.clean_accuracy:.3f}{success})"
        )
    shown.advance(f"{model.split}/{model.name}")
