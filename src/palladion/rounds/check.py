"""Check a round on disk: every fault, each with its file."""

import filecmp
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from palladion.documents import load_document
from palladion.errors import InputError
from palladion.models import round_directory as layout
from palladion.models.image_classifier import load_examples
from palladion.models.safetensors_header import read_header
from palladion.models.vision_networks import network_name
from palladion.rounds import nist
from palladion.rounds.design import ModelPlan, TriggerPlan, plan_split
from palladion.rounds.factory import PARTIAL
from palladion.rounds.manifest import sha256_of
from palladion.rounds.metadata import COLUMNS, metadata_csv
from palladion.rounds.spec import RoundSpec
from palladion.rounds.training_record import TrainingRecord, read_record
from palladion.submissions.families import family

__all__ = ["Fault", "check_round"]

_OPEN_ENTRIES = {layout.MODEL, layout.CLEAN_EXAMPLES}
_MODEL_FILES = {"config.json", "model.safetensors", "preprocessor_config.json"}
_SEALED_CLEAN = {layout.GROUND_TRUTH, layout.TRAINING}
_SEALED_POISONED = _SEALED_CLEAN | {layout.TRIGGER, layout.TRIGGER_PICTURE, layout.POISONED_EXAMPLES}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and the file it is wrong in."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def check_round(directory: Path) -> list[Fault]:
    """All faults of the round in this directory; none means that it is whole.

    Raises:
        InputError: there is no round here at all, or its specification cannot be read.
    """
    rounds = layout.RoundDirectory.open(directory)
    faults = list(_links(directory))
    if rounds.published or rounds.source != layout.SOURCES[0]:
        return _sorted([*faults, *_check_imported(rounds)])
    spec = load_document(directory / layout.ROUND_FILE, RoundSpec)
    known = {layout.ROUND_FILE} | {name for name, split in spec.splits.items() if split.models is not None}
    faults += _unexpected(directory, known)
    for name, split in spec.splits.items():
        if split.models is not None:
            faults += _check_split(spec, name, directory / name)
    return _sorted(faults)


def _sorted(faults: list[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: (str(fault.path), fault.message))


def _check_imported(rounds: layout.RoundDirectory) -> Iterator[Fault]:
    """Nothing says how an imported round was made, nor one that was downloaded: what can be checked is that it is whole
    and seals its labels.
    """
    try:
        family(rounds.family)
    except InputError as error:
        yield Fault(rounds.path / layout.ROUND_FILE, error.problem)
    shared = {layout.OPEN} if (rounds.path / layout.OPEN).exists() else set()
    yield from _unexpected(rounds.path, {layout.ROUND_FILE} | set(rounds.counts) | shared)
    for name, models in rounds.counts.items():
        split = layout.SplitDirectory(name, rounds.path / name)
        if not split.path.is_dir():
            continue  # reported as missing
        carried = {entry for entry in nist.CARRIED if (split.path / entry).exists()}
        yield from _unexpected(split.path, {layout.METADATA, layout.METADATA_DICTIONARY, layout.MODELS} | carried)
        try:
            entries = {entry.name: entry for entry in split.models()}
        except InputError as error:
            yield Fault(error.path or split.path, error.problem)
            continue
        if len(entries) != models:
            yield Fault(split.path / layout.MODELS, f"holds {len(entries)} models where round.yaml says {models}")
        for path in (split.path / layout.MODELS).iterdir():
            if path.name.startswith(PARTIAL):
                yield Fault(path, "is left over from an import that was stopped")
            elif path.name not in entries:
                yield Fault(path, "is not a model")
        labels: dict[str, bool] = {}
        if split.metadata.is_file():
            try:
                labels = layout.read_labels(split.metadata)
                lines = {name: line for name, (line, _) in layout.read_table(split.metadata, columns=()).items()}
            except InputError as error:
                yield Fault(split.metadata, error.problem)
            for row in sorted(set(labels) - set(entries)):
                yield Fault(split.metadata, f"line {lines[row]}: there is no model {row}; import it, or remove the row")
            for row in sorted(set(entries) - set(labels)) if labels else ():
                yield Fault(split.metadata, f"has no row for {row}")
        for entry in entries.values():
            yield from _check_imported_model(rounds, entry, labels.get(entry.name))


def _check_imported_model(
    rounds: layout.RoundDirectory, entry: layout.ModelEntry, poisoned: bool | None
) -> Iterator[Fault]:
    yield from _unexpected(entry.directory, {layout.OPEN, layout.SEALED})
    truth = entry.sealed / layout.GROUND_TRUTH
    try:
        label = nist.read_ground_truth(truth)
        if poisoned is not None and label != poisoned:
            yield Fault(truth, f"says {int(label)} where {layout.METADATA} says {int(poisoned)}")
    except InputError as error:
        yield Fault(truth, error.problem)
    if not entry.open.is_dir():
        return  # reported as missing
    if not entry.model.exists():
        yield Fault(entry.open, f"holds neither {layout.PICKLE} nor a folder {layout.MODEL}")
    if rounds.family == layout.DEFAULT_FAMILY and not entry.examples.is_dir():
        yield Fault(entry.open, f"holds no examples ({', '.join(layout.EXAMPLE_FOLDERS)})")
    for root, _, files in os.walk(entry.open):
        for name in files:
            path = Path(root) / name
            inner = PurePosixPath(path.relative_to(entry.open))
            if not nist.may_be_open(inner):
                yield Fault(path, "is not known to be open: it may tell of the label, and belongs into sealed/")
            elif (
                path.suffix != ".json" or inner.parts[0] in nist.CHECKPOINTS or path.is_symlink() or not path.is_file()
            ):
                continue
            elif nist.tells_label(path):
                yield Fault(path, "says something about a trigger, or cannot be read")
    config, reduced = entry.open / nist.CONFIG, entry.open / nist.REDUCED_CONFIG
    if config.is_file() and not (reduced.is_file() and filecmp.cmp(config, reduced, shallow=False)):
        yield Fault(config, f"is not the same as {nist.REDUCED_CONFIG}: it may be the one that tells of the label")


def _links(directory: Path) -> Iterator[Fault]:
    for root, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(root) / name
            if path.is_symlink():
                yield Fault(path, "is a link; a round holds files of its own")
            elif not path.is_dir() and not path.is_file():
                yield Fault(path, "is neither a file nor a directory")


def _unexpected(directory: Path, known: set[str]) -> Iterator[Fault]:
    present = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    for name in sorted(present - known):
        yield Fault(directory / name, "does not belong here")
    for name in sorted(known - present):
        yield Fault(directory / name, "is missing")


def _check_split(spec: RoundSpec, name: str, directory: Path) -> Iterator[Fault]:
    if not directory.is_dir():
        return  # reported as missing
    yield from _unexpected(directory, {layout.METADATA, layout.METADATA_DICTIONARY, layout.MODELS})
    models = directory / layout.MODELS
    plans = plan_split(spec, name)
    if models.is_dir():
        present = {path.name for path in models.iterdir()}
        for stranger in sorted(present - {plan.name for plan in plans}):
            what = (
                "is left over from a build that was stopped"
                if stranger.startswith(PARTIAL)
                else "is not a model of this round"
            )
            yield Fault(models / stranger, what)
    records: list[tuple[ModelPlan, TrainingRecord]] = []
    for plan in plans:
        if not (models / plan.name).is_dir():
            yield Fault(models / plan.name, "is missing")
            continue
        record = None
        for found in _check_model(spec, plan, models / plan.name):
            if isinstance(found, Fault):
                yield found
            else:
                record = found
        if record is not None:
            records.append((plan, record))
    yield from _check_metadata(spec, directory / layout.METADATA, plans, records)


def _check_model(spec: RoundSpec, plan: ModelPlan, directory: Path) -> Iterator[Fault | TrainingRecord]:
    """The model's faults and, if it can be read, its training record."""
    opened, sealed = directory / layout.OPEN, directory / layout.SEALED
    yield from _unexpected(directory, {layout.OPEN, layout.SEALED})
    if opened.is_dir():
        yield from _unexpected(opened, _OPEN_ENTRIES)
    if sealed.is_dir():
        yield from _unexpected(sealed, _SEALED_POISONED if plan.poisoned else _SEALED_CLEAN)

    record = None
    if (sealed / layout.TRAINING).is_file():
        try:
            record = read_record(directory)
        except InputError as error:
            yield Fault(sealed / layout.TRAINING, error.problem)
    if record is not None:
        fault = _misfit(record, plan)
        yield record if fault is None else Fault(sealed / layout.TRAINING, fault)
    if (opened / layout.MODEL).is_dir():
        yield from _check_weights(plan, opened / layout.MODEL, None if record is None else record.weights_sha256)
    if record is not None and not record.passed:
        yield Fault(sealed / layout.TRAINING, _gate_message(spec, record))

    truth = sealed / layout.GROUND_TRUTH
    if truth.is_file() and truth.read_bytes()[:16].strip() != (b"1" if plan.poisoned else b"0"):
        yield Fault(truth, f"must hold {int(plan.poisoned)}, as the design says")
    yield from _check_examples(spec, plan, opened / layout.CLEAN_EXAMPLES, range(plan.classes))
    if plan.trigger is not None:
        yield from _check_examples(spec, plan, sealed / layout.POISONED_EXAMPLES, plan.trigger.sources)
        yield from _check_trigger(plan.trigger, sealed / layout.TRIGGER)


def _misfit(record: TrainingRecord, plan: ModelPlan) -> str | None:
    """What a record says otherwise than the design, if anything."""
    for key, wanted in (("model_name", plan.name), ("split", plan.split), ("poisoned", plan.poisoned)):
        if (said := getattr(record, key)) != wanted:
            return f"{key} is {said!r} where the design says {wanted!r}"
    if plan.poisoned and (record.trigger is None or record.last.attack_success_rate is None):
        return "says nothing of a poisoned model's trigger, or of its attack success"
    return None


def _gate_message(spec: RoundSpec, record: TrainingRecord) -> str:
    clean, success = record.last.clean_accuracy, record.last.attack_success_rate
    attack = "" if success is None else (f" and attack success {success:.3f} (gate {spec.gates.attack_success_rate})")
    return (
        f"did not pass its gates in {len(record.attempts)} attempts: clean accuracy "
        f"{clean:.3f} (gate {spec.gates.clean_accuracy}){attack}"
    )


def _check_weights(plan: ModelPlan, directory: Path, sha256: str | None) -> Iterator[Fault]:
    yield from _unexpected(directory, _MODEL_FILES)
    config = directory / "config.json"
    if config.is_file():
        try:
            settings = json.loads(config.read_text(encoding="utf-8"))
            classes = len(settings.get("id2label", {}))
            if network_name(settings) != plan.architecture:
                yield Fault(config, f"names the network {network_name(settings)!r}, not {plan.architecture!r}")
            # transformers leaves the labels out where they are the default two
            if classes != plan.classes and not (classes == 0 and plan.classes == 2):
                yield Fault(config, f"has {classes} classes where the design says {plan.classes}")
        except (OSError, ValueError, AttributeError, TypeError) as error:
            yield Fault(config, f"cannot be read as a model's configuration: {error}")
    weights = directory / "model.safetensors"
    if weights.is_file():
        try:
            read_header(weights)
        except InputError as error:
            yield Fault(weights, error.problem)
        else:
            if sha256 is not None and sha256_of(weights) != sha256:
                yield Fault(weights, "is not the file that was trained: its SHA-256 differs from the record's")


def _check_examples(spec: RoundSpec, plan: ModelPlan, directory: Path, labels: Iterable[int]) -> Iterator[Fault]:
    if not directory.is_dir():
        return
    images = spec.images
    wanted = {layout.example_name(label, number) for label in labels for number in range(plan.examples)}
    yield from _unexpected(directory, wanted)
    try:
        examples = load_examples(directory)
    except InputError as error:
        yield Fault(error.path or directory, error.problem)
        return
    if examples.images.shape[1:] != (images.side, images.side, 3):
        height, width = examples.images.shape[1:3]
        yield Fault(directory, f"holds images of {width} × {height} pixels where the round has {images.side}")


def _check_trigger(plan: TriggerPlan, path: Path) -> Iterator[Fault]:
    if not path.is_file():
        return
    try:
        trigger = json.loads(path.read_text(encoding="utf-8"))
        found = [trigger["type"], trigger["target_class"], trigger["source_classes"], trigger.get("filter")]
        sides = len(trigger["corners"]) if trigger["type"] == "polygon" else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield Fault(path, f"does not describe a trigger: {error!r}")
        return
    if found != [plan.type, plan.target_class, list(plan.sources), plan.filter] or sides != plan.sides:
        yield Fault(path, "describes another trigger than the design's")


def _check_metadata(
    spec: RoundSpec,
    path: Path,
    plans: tuple[ModelPlan, ...],
    records: list[tuple[ModelPlan, TrainingRecord]],
) -> Iterator[Fault]:
    if not path.is_file():
        return
    try:
        table = layout.read_table(path, columns=tuple(column.name for column in COLUMNS))
        labels = layout.read_labels(path)
    except InputError as error:
        yield Fault(path, error.problem)
        return
    for name in sorted(set(table) - {plan.name for plan in plans}):
        yield Fault(path, f"line {table[name][0]}: {name} is not a model of this round")
    wrong = False
    for plan in plans:
        if plan.name not in table:
            yield Fault(path, f"has no row for {plan.name}")
            wrong = True
        elif labels[plan.name] != plan.poisoned:
            wrong = True
            yield Fault(path, f"line {table[plan.name][0]}: poisoned must be {plan.poisoned}, as the design says")
    if not wrong and len(records) == len(plans) and path.read_text() != metadata_csv(spec, records):
        yield Fault(path, "differs from what the models' training records say; build the round again to renew it")
