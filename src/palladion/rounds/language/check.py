"""Check a round of a language track, or one phase as its participants have it: every fault, each with its file."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from palladion.documents import load_document
from palladion.errors import InputError, PalladionError
from palladion.models.adapters import Adapter, is_adapter
from palladion.models.attach import attach_faults
from palladion.models.language_model_files import describe
from palladion.models.weights import Weights
from palladion.rounds.check import Fault
from palladion.rounds.language import layout
from palladion.rounds.language.attacks import Attack
from palladion.rounds.language.data_faults import faults_of
from palladion.rounds.language.design import ModelPlan, TaskPlan, plan_round
from palladion.rounds.language.factory import ModelRecord
from palladion.rounds.language.spec import LanguageRoundSpec
from palladion.tracks.inputs import INPUT_FIELDS, input_only
from palladion.tracks.meta import Meta, load_meta
from palladion.tracks.records import Row, read_rows
from palladion.tracks.sealed import CLEAN, META, ORDER, POISONED, load_order
from palladion.tracks.track_file import TRACK_FILE, Task, TrackFile, input_file, load_track
from palladion.tracks.validation import ValidationFolder

__all__ = ["check_language_round", "check_phase", "check_validation", "is_phase", "is_validation"]

T = TypeVar("T")
_PUBLISHED = {TRACK_FILE, "models", "validation", "test"}
_SEALED = {CLEAN, POISONED, META, ORDER}


def is_phase(directory: Path) -> bool:
    """Whether a directory is one phase, as it is published."""
    return (directory / TRACK_FILE).is_file()


def check_language_round(directory: Path) -> list[Fault]:
    """All faults of a round, sorted by file; none means that it is whole.

    Raises:
        InputError: its specification cannot be read.
    """
    spec = load_document(directory / layout.SEALED / layout.ROUND_FILE, LanguageRoundSpec)
    faults: list[Fault] = [*_unexpected(directory, {layout.BASE, layout.PHASES, layout.SEALED})]
    faults += _unexpected(directory / layout.PHASES, set(spec.phases))
    faults += _unexpected(directory / layout.SEALED, {layout.ROUND_FILE, layout.BASE_RECORD, *spec.phases})
    base = _noting(faults, directory / layout.BASE, lambda: Weights.open(directory / layout.BASE))
    plans = plan_round(spec)
    for phase in spec.phases:
        folder = layout.phase_folder(directory, phase)
        own = [plan for plan in plans if plan.phase == phase]
        attacks = {plan.task.name: _attacks(plan.models) for plan in own}
        track, found = _phase(folder, base, attacks)
        faults += found
        if track is None:
            continue
        if [task.name for task in track.tasks] != [plan.task.name for plan in own]:
            faults.append(Fault(folder / TRACK_FILE, f"its tasks are not those of {layout.SEALED}/{layout.ROUND_FILE}"))
            continue
        for plan, task in zip(own, track.tasks, strict=True):
            faults += _task(directory, folder, plan, task)
            faults += _shown_before(directory, spec, plan)
    return _sorted(faults)


def check_phase(folder: Path) -> list[Fault]:
    """All faults of a phase as it is published. What is sealed of it need not be there, and what should be must not."""
    candidates = (folder / layout.BASE, folder.parent / layout.BASE, folder.parent.parent / layout.BASE)
    found = next((path for path in candidates if path.is_dir()), None)
    faults: list[Fault] = []
    base = None if found is None else _noting(faults, found, lambda: Weights.open(found))
    return _sorted([*faults, *_phase(folder, base, {})[1]])


def check_validation(folder: Path) -> list[Fault]:
    """All faults of a validation folder, the traps of users' data among them: rows without a trigger and so on."""
    faults: list[Fault] = []
    _noting(faults, folder, lambda: ValidationFolder.load(folder))
    return _sorted([*faults, *_traps(folder, None, {})])


def is_validation(directory: Path) -> bool:
    """Whether a directory is a validation folder: rows with their answers."""
    return (directory / META).is_file()


def _sorted(faults: Iterable[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: (str(fault.path), fault.message))


def _noting(faults: list[Fault], path: Path, read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None where it raises, which is noted."""
    try:
        return read()
    except PalladionError as error:
        where = getattr(error, "path", None) or path
        said = error.problem if isinstance(error, InputError) and error.path is not None else str(error)
        faults += [Fault(where, line) for line in said.split("\n")]
        return None


def _unexpected(directory: Path, known: set[str]) -> Iterator[Fault]:
    if not directory.is_dir():
        yield Fault(directory, "is missing")
        return
    for path in directory.iterdir():
        if path.name not in known:
            yield _stranger(path)


def _stranger(path: Path) -> Fault:
    return Fault(path, "does not belong here; what stands beside what is published may tell of what is sealed")


def _attacks(models: Sequence[ModelPlan]) -> dict[str, Attack]:
    return {model.attack_name: model.attack for model in models if model.attack is not None}


def _phase(
    folder: Path, base: Weights | None, attacks: Mapping[str, Mapping[str, Attack]]
) -> tuple[TrackFile | None, list[Fault]]:
    faults: list[Fault] = []
    track = _noting(faults, folder / TRACK_FILE, lambda: load_track(folder))
    if track is None:
        return None, [*faults, *_unexpected(folder, _PUBLISHED | {layout.BASE})]
    faults += _unnamed(folder, track)
    for task in track.tasks:
        for model in task.models:
            faults += _model(folder / model, base, track, task)
        if task.validation is not None:
            faults += _validation(folder / task.validation, task, attacks.get(task.name, {}))
        for output in task.outputs:
            path = folder / output.inputs
            rows = _noting(faults, path, lambda output=output: read_rows(input_file(folder, output)))  # type: ignore[misc]
            if rows is None:
                continue
            if len(rows) != output.rows:
                faults.append(Fault(path, f"has {len(rows)} rows where {TRACK_FILE} says {output.rows}"))
            faults += _inputs_only(path, rows)
    return track, faults


def _unnamed(folder: Path, track: TrackFile) -> Iterator[Fault]:
    """What lies in a phase and is named nowhere in its track file; models and validation folders are seen to later."""
    named = {TRACK_FILE, layout.BASE}
    for task in track.tasks:
        named |= {*task.models, *(output.inputs for output in task.outputs)}
        named |= set() if task.validation is None else {task.validation}
    known = {folder / name for name in named}
    above = {parent for path in known for parent in path.parents}
    pending = [folder]
    while pending:
        for path in pending.pop().iterdir():
            if path in above and path.is_dir():
                pending.append(path)
            elif path not in known:
                yield _stranger(path)


def _inputs_only(path: Path, rows: Sequence[Row]) -> Iterator[Fault]:
    for row in rows:
        told = sorted(set(row.values) - set(INPUT_FIELDS))
        if told:
            yield Fault(path, f"row {row.number} has {', '.join(map(ascii, told))}; test inputs hold inputs only")
            return


def _model(path: Path, base: Weights | None, track: TrackFile, task: Task) -> list[Fault]:
    faults: list[Fault] = []
    files = _noting(faults, path, lambda: describe(path))
    if files is None:
        return faults
    wanted = "classifier" if track.track == "classification" else "causal"
    if files.task.value != wanted:
        faults.append(Fault(path, f"is a {files.task} model in a {track.track} track"))
    if files.labels is not None and task.classes is not None and files.labels != task.classes:
        faults.append(Fault(path, f"tells {files.labels} labels apart where the task has {task.classes}"))
    if base is not None and is_adapter(path):
        adapter = _noting(faults, path, lambda: Adapter.open(path))
        if adapter is not None:
            faults += [Fault(path, message) for message in attach_faults(base, adapter)]
    return faults


def _validation(folder: Path, task: Task, attacks: Mapping[str, Attack]) -> list[Fault]:
    faults: list[Fault] = [*_unexpected(folder, {CLEAN, POISONED, META})]
    _noting(faults, folder, lambda: ValidationFolder.load(folder))
    return faults + _traps(folder, task, attacks)


def _traps(folder: Path, task: Task | None, attacks: Mapping[str, Attack]) -> list[Fault]:
    """What reads well and measures nothing: rows without a trigger, duplicates and so on."""
    faults: list[Fault] = []
    try:
        names = [name if (folder / name).exists() else f"{name}l" for name in (CLEAN, POISONED)]
        clean, poisoned = (read_rows(folder / name) for name in names)
        meta: Meta | None = load_meta(folder / META)
    except PalladionError:
        return []  # told already
    for fault in faults_of(
        [row.values for row in clean],
        [row.values for row in poisoned],
        meta,
        labels=None if task is None else task.classes,
        attacks=attacks,
        clean_file=names[0],
        poisoned_file=names[1],
    ):
        if not fault.allowed:
            where = "" if fault.row is None else f"row {fault.row}: "
            faults.append(Fault(folder / fault.file, where + fault.message))
    return faults


def _task(directory: Path, folder: Path, plan: TaskPlan, task: Task) -> list[Fault]:
    """The sealed part of a task: that it is whole, fits what is published, and that nothing of it is published."""
    sealed = layout.sealed_folder(directory, plan.phase, plan.task.name)
    records = {f"{name}.json" for name in (layout.CLEAN_MODEL, *(model.name for model in plan.models))}
    faults: list[Fault] = [*_unexpected(sealed, _SEALED | records | {layout.CLEAN_MODEL})]
    faults += _records(sealed, plan)
    if list(task.models) != [f"models/{task.name}/{model.name}" for model in plan.models]:
        faults.append(Fault(folder / TRACK_FILE, f"the models of {task.name} are not those that were planned"))
    faults += _beside_weights(folder, task, sealed / layout.CLEAN_MODEL)
    truth = _noting(faults, sealed, lambda: ValidationFolder.load(sealed))
    faults += _traps(sealed, task, _attacks(plan.models))
    if truth is None:
        return faults
    return faults + _inputs_agree(folder, sealed, task, truth)


def _beside_weights(folder: Path, task: Task, clean: Path) -> Iterator[Fault]:
    """What a poisoned model's folder holds and the clean model's does not: only the weights may tell them apart."""
    if not clean.is_dir():
        yield Fault(clean, "is missing")
        return
    usual = {path.name for path in clean.iterdir()}
    for model in task.models:
        if (folder / model).is_dir():
            for path in (folder / model).iterdir():
                if path.name not in usual:
                    yield Fault(path, "is in no clean model's folder: it may tell of what is sealed")


def _shown_before(directory: Path, spec: LanguageRoundSpec, plan: TaskPlan) -> Iterator[Fault]:
    """Sealed rows of a task that are given out with their answers, in any phase."""
    sealed = layout.sealed_folder(directory, plan.phase, plan.task.name)
    rows = [row for name in (CLEAN, POISONED) for row in _readable(sealed / name)]
    for phase in spec.phases:
        validation = layout.validation_folder(directory, phase, plan.task.name)
        shown = {_as_key(row.values) for name in (CLEAN, POISONED) for row in _readable(validation / name)}
        for row in rows:
            if _as_key(row.values) in shown:
                yield Fault(sealed, f"a sealed row is in {validation} too: {ascii(row.values)[:100]}")


def _readable(path: Path) -> list[Row]:
    try:
        return read_rows(path)
    except InputError:
        return []  # told already, or there is none


def _records(sealed: Path, plan: TaskPlan) -> list[Fault]:
    faults = []
    for name in (layout.CLEAN_MODEL, *(model.name for model in plan.models)):
        path = sealed / f"{name}.json"
        try:
            record = ModelRecord.read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            faults.append(Fault(path, f"cannot be read: {error}"))
            continue
        if not record.passed:
            success = record.attack_success_rate
            reached = f"utility {record.utility:.1f}" + ("" if success is None else f", attack success {success:.1f}")
            faults.append(
                Fault(path, f"the model did not pass its gates in {len(record.attempts)} attempts: {reached}")
            )
    return faults


def _inputs_agree(folder: Path, sealed: Path, task: Task, truth: ValidationFolder) -> list[Fault]:
    """Each published input is the input of its sealed row."""
    faults: list[Fault] = []
    parts: dict[str, list[Any]] = {
        "clean": [row.row.values for row in truth.clean],
        "poisoned": [row.row.values for row in truth.poisoned],
    }
    order: dict[str, Sequence[int]] | None = None
    if (sealed / ORDER).exists():
        counts = {part: len(rows) for part, rows in parts.items()}
        order = _noting(faults, sealed / ORDER, lambda: load_order(sealed / ORDER, counts))
    for output in task.outputs:
        path = folder / output.inputs
        rows = _noting([], path, lambda path=path: read_rows(path))  # type: ignore[misc]
        if rows is None:
            continue
        given = [row.values for row in rows]
        stem = Path(output.inputs).stem
        if order is not None:
            wanted: list[Any] = [None] * sum(map(len, parts.values()))
            for part, places in order.items():
                for place, row in zip(places, parts[part], strict=True):
                    wanted[place] = row
        elif stem in parts:
            wanted = parts[stem]
        elif faults:
            continue  # there is an order, and what is wrong with it is told
        else:
            faults.append(Fault(sealed / ORDER, "is missing; it says which row of the mixed inputs is which"))
            continue
        if [input_only(row or {}) for row in wanted] != given:
            faults.append(Fault(path, f"its rows are not those of {sealed}"))
    return faults


def _as_key(values: Mapping[str, Any]) -> str:
    return json.dumps(input_only(values), sort_keys=True, ensure_ascii=False)
