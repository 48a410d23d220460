"""Recompute what a built round says of itself: digests, images, triggers, accuracies and, if wanted, the weights."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palladion.documents import load_document
from palladion.errors import InputError, PalladionError
from palladion.models import round_directory as layout
from palladion.models.image_classifier import PRELOAD, load_classifier, load_examples, require_packages
from palladion.progress import progress
from palladion.rounds import randomness
from palladion.rounds.check import Fault
from palladion.rounds.design import ModelPlan, plan_split
from palladion.rounds.factory import BuildTask, build_models
from palladion.rounds.images.pictures import pictures_digest
from palladion.rounds.manifest import file_digests, spec_digest, versions
from palladion.rounds.model_images import LabelledImages, ModelImages
from palladion.rounds.spec import RoundSpec
from palladion.rounds.training_record import Attempt, read_record
from palladion.workers import WorkerError, run_tasks

__all__ = ["VerifyReport", "verify_round"]

_TOLERANCE = 0.005  # of an accuracy, where the versions are others: a rounding may tip an answer that was even


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was recomputed.

    Attributes:
        models: number of models that were verified.
        retrained: ``split/name`` of those that were trained again, all of them equal to the last bit.
        faults: all that differs, in the order of the files.
        notes: what was compared less strictly, and why.
    """

    models: int
    retrained: tuple[str, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Task:
    spec: RoundSpec
    digest: str  # of round.yaml, which names the folder of pictures as it was
    plan: ModelPlan
    directory: Path
    pictures: str | None
    retrain: bool


def verify_round(directory: Path, *, jobs: int, retrain: int = 0, pictures: Path | None = None) -> VerifyReport:
    """Recompute every model of a round that was built here.

    Args:
        directory: the round.
        jobs: models at a time.
        retrain: how many models, drawn at random, are trained again and compared bit for bit.
        pictures: where the background pictures lie now; None where they lie as they did.

    Raises:
        InputError: this is no round that was built here, or a package is missing.
        PalladionError: a model cannot be looked at.
    """
    rounds = layout.RoundDirectory.open(directory)
    if rounds.published or rounds.source != layout.SOURCES[0]:
        raise InputError(
            "does not hold what it was built from, so nothing of it can be recomputed; see `palladion round check`",
            path=directory,
        )
    require_packages()
    spec = load_document(directory / layout.ROUND_FILE, RoundSpec)
    plans = [plan for name, split in spec.splits.items() if split.models is not None for plan in plan_split(spec, name)]
    digest = spec_digest(spec)
    if pictures is not None:
        if spec.images.pictures is None:
            raise InputError("--pictures: this round has backgrounds that are drawn; leave this option out")
        spec = spec.with_pictures(pictures)
    there = None if spec.images.pictures is None else pictures_digest(Path(spec.images.pictures))
    drawn = randomness.generator(spec.seed, "verify").permutation(len(plans))[:retrain]
    tasks = [
        _Task(spec, digest, plan, directory / plan.split / layout.MODELS / plan.name, there, position in drawn)
        for position, plan in enumerate(plans)
    ]
    faults: list[Fault] = []
    notes: list[str] = []
    with progress(len(tasks), "verifying models") as shown:
        try:
            with closing(run_tasks(_verify, tasks, jobs=jobs, preload=_PRELOAD)) as finished:
                for position, (found, noted) in finished:
                    faults += found
                    notes += noted
                    shown.advance(f"{plans[position].split}/{plans[position].name}")
        except WorkerError as error:
            plan = plans[error.task]
            raise PalladionError(f"{plan.split}/{plan.name} could not be verified: {error}") from None
    faults.sort(key=lambda fault: (str(fault.path), fault.message))
    again = tuple(f"{task.plan.split}/{task.plan.name}" for task in tasks if task.retrain)
    return VerifyReport(len(tasks), again, tuple(faults), tuple(sorted(set(notes))))


_PRELOAD = (*PRELOAD, "palladion.rounds.factory", "palladion.rounds.training")


def _verify(task: _Task) -> tuple[list[Fault], list[str]]:
    notes: list[str] = []
    return list(_faults(task, notes)), notes


def _faults(task: _Task, notes: list[str]) -> Iterator[Fault]:
    spec, plan, directory = task.spec, task.plan, task.directory
    sealed = directory / layout.SEALED
    path = sealed / layout.TRAINING
    try:
        record = read_record(directory)
    except InputError as error:
        yield Fault(path, error.problem)
        return
    recorded, made, attempt = record.files, record.versions, record.last.attempt
    if record.spec_sha256 != task.digest:
        yield Fault(path, "was made from another specification than round.yaml: its spec_sha256 differs")
    here = file_digests(directory, but=path)
    for name in sorted(set(recorded) | set(here)):
        if recorded.get(name) != here.get(name):
            what = "is missing" if name not in here else "differs" if name in recorded else "is not in the record"
            yield Fault(directory / name, f"{what} (SHA-256 in {layout.TRAINING})")
    same = made == versions() and record.device == "cpu"
    if record.device != "cpu":
        notes.append(f"trained on {record.device}: accuracies may differ by {_TOLERANCE}")
    if made != versions():
        notes.append(f"built with {_differing(made)}: accuracies may differ by {_TOLERANCE}, images by a grey level")
    if task.pictures != record.pictures_sha256:
        yield Fault(path, "was made with other background pictures than lie in the folder of images.pictures now")
        return
    images = ModelImages(spec, plan)
    trigger = images.trigger(attempt)
    if (None if trigger is None else json.loads(json.dumps(trigger.describe()))) != record.trigger:
        yield Fault(path, "describes another trigger than the one that its seed gives")
        return
    yield from _pictures(directory / layout.OPEN / layout.CLEAN_EXAMPLES, images.clean_examples(), 0 if same else 1)
    if trigger is not None:
        poisoned = images.poisoned_examples(trigger)
        yield from _pictures(sealed / layout.POISONED_EXAMPLES, poisoned, 0 if same else 1)
    yield from _accuracies(task, images, record.last, exact=same, path=path)
    if task.retrain and record.device != "cpu":
        notes.append(f"{plan.split}/{plan.name} was trained on {record.device}: it is not trained again here")
    elif task.retrain:
        yield from _retrained(task, recorded)


def _differing(made: dict[str, str]) -> str:
    mine = versions()
    return ", ".join(f"{name} {made.get(name)} (here {mine[name]})" for name in mine if made.get(name) != mine[name])


def _pictures(directory: Path, wanted: LabelledImages, tolerance: int) -> Iterator[Fault]:
    """Compare stored examples with the same ones drawn again, pixel by pixel."""
    try:
        there = load_examples(directory)
    except InputError as error:
        yield Fault(error.path or directory, error.problem)
        return
    order = np.argsort(wanted.labels, kind="stable")  # as they are stored: by class, then by number
    images = wanted.images[order]
    if there.images.shape != images.shape or not np.array_equal(there.labels, wanted.labels[order]):
        yield Fault(directory, "holds other examples than the specification gives")
        return
    differing = np.abs(there.images.astype(np.int16) - images).max(axis=(1, 2, 3)) > tolerance
    if differing.any():
        yield Fault(directory, f"{int(differing.sum())} of {len(images)} images differ from those drawn again")


def _accuracies(task: _Task, images: ModelImages, said: Attempt, *, exact: bool, path: Path) -> Iterator[Fault]:
    import torch

    from palladion.rounds.training import measure

    torch.set_num_threads(1)
    try:
        network = load_classifier(task.directory / layout.OPEN / layout.MODEL)
    except InputError as error:
        yield Fault(error.path or task.directory, error.problem)
        return
    # As it was in memory when it was measured: the order of the sums, and so the last bit, depends on it.
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    clean, success = measure(images, network, images.trigger(said.attempt))
    allowed = 1e-6 if exact else _TOLERANCE
    for name, value in (("clean_accuracy", clean), ("attack_success_rate", success)):
        stated = getattr(said, name)
        agree = value is stated if value is None or stated is None else abs(value - float(stated)) <= allowed
        if not agree:
            yield Fault(path, f"{name} is {stated} there, and {value} measured again")


def _retrained(task: _Task, recorded: dict[str, str]) -> Iterator[Fault]:
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch) / task.plan.split / layout.MODELS
        models.mkdir(parents=True)
        build_models(BuildTask(task.spec, (task.plan,), Path(scratch), pictures=task.pictures))
        again = models / task.plan.name
        found = file_digests(again, but=again / layout.SEALED / layout.TRAINING)
    if found != recorded:
        names = sorted(name for name in set(found) | set(recorded) if found.get(name) != recorded.get(name))
        yield Fault(task.directory, f"trained again, it comes out otherwise: {', '.join(names)}")
