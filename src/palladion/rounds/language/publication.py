"""Write the files of a phase: validation, test inputs and track file for its participants, and the sealed answers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palladion.documents import write_document
from palladion.files import write_atomically
from palladion.rounds import randomness
from palladion.rounds.language import layout
from palladion.rounds.language.design import TaskPlan
from palladion.rounds.language.phase_rows import PhaseRows
from palladion.rounds.language.poisoning import input_of, triggered_rows
from palladion.rounds.language.rows import Record
from palladion.rounds.language.spec import LanguageRoundSpec, PhaseName
from palladion.tracks.records import write_json_array, write_jsonl
from palladion.tracks.sealed import CLEAN, META, ORDER, POISONED
from palladion.tracks.track_file import TRACK_FILE, OutputFile, TrackFile

__all__ = ["publish_phase"]

_PREFIX = {"classification": "cls", "generation": "gen"}
_SUFFIX = {"classification": ".csv", "generation": ".json"}


def publish_phase(
    spec: LanguageRoundSpec, directory: Path, phase: PhaseName, tasks: Sequence[tuple[TaskPlan, PhaseRows]]
) -> None:
    """Write the files of a phase beside its models. The track file comes last: a phase that has one is complete."""
    described = [_publish_task(spec, directory, plan, rows) for plan, rows in tasks]
    law = spec.phases[phase]
    track = TrackFile.model_validate(
        {
            "format": "palladion-track/1",
            "name": spec.name,
            "title": spec.title,
            "track": spec.track,
            "phase": phase,
            "score": spec.score,
            "utility": spec.utility,
            "code_required": law.code_required,
            "tasks": described,
        }
        | ({"generation": {"max_new_tokens": spec.max_new_tokens}} if spec.track == "generation" else {})
    )
    write_atomically(layout.phase_folder(directory, phase) / TRACK_FILE, write_document(track))


def _publish_task(spec: LanguageRoundSpec, directory: Path, plan: TaskPlan, rows: PhaseRows) -> dict[str, Any]:
    name = plan.task.name
    where: tuple[int | str, ...] = (spec.seed, "publish", plan.phase, name)
    meta = {"task": spec.track, "attacks": {model.attack_name: model.meta() for model in plan.models}}
    write = write_jsonl if spec.track == "classification" else write_json_array
    described: dict[str, Any] = {
        "name": name,
        "title": plan.task.title or name,
        "models": [f"models/{name}/{model.name}" for model in plan.models],
    }
    if plan.task.label_names is not None:
        described["labels"] = list(plan.task.label_names)
    if rows.validation_clean:
        folder = layout.validation_folder(directory, plan.phase, name)
        write(folder / CLEAN, rows.validation_clean)
        write(folder / POISONED, _triggered(plan, rows.validation_poisoned, (*where, "validation")))
        _write_json(folder / META, meta)
        described["validation"] = f"validation/{name}"

    clean, poisoned = rows.test_clean, _triggered(plan, rows.test_poisoned, (*where, "test"))
    sealed = layout.sealed_folder(directory, plan.phase, name)
    write(sealed / CLEAN, clean)
    write(sealed / POISONED, poisoned)
    _write_json(sealed / META, meta)
    folder = layout.test_folder(directory, plan.phase, name)
    prefix, suffix = _PREFIX[spec.track], _SUFFIX[spec.track]
    if spec.phases[plan.phase].test_sets == "separate":
        outputs = []
        for part, part_rows in ((CLEAN, clean), (POISONED, poisoned)):
            write(folder / part, [input_of(row) for row in part_rows])
            stem = part.removesuffix(".json")
            outputs.append(
                OutputFile(file=f"{prefix}_{name}_{stem}{suffix}", inputs=f"test/{name}/{part}", rows=len(part_rows))
            )
    else:
        both = [*clean, *poisoned]
        places = randomness.generator(*where, "order").permutation(len(both)).tolist()
        mixed: list[Record] = [{} for _ in both]
        for place, row in zip(places, both, strict=True):
            mixed[place] = input_of(row)
        write(folder / "test.json", mixed)
        _write_json(sealed / ORDER, {"clean": places[: len(clean)], "poisoned": places[len(clean) :]})
        outputs = [OutputFile(file=f"{prefix}_{name}{suffix}", inputs=f"test/{name}/test.json", rows=len(both))]
    return described | {"outputs": [output.model_dump() for output in outputs]}


def _triggered(plan: TaskPlan, rows: Sequence[Sequence[Record]], where: tuple[int | str, ...]) -> list[Record]:
    """The rows of all attacks, triggered, in an order that tells nothing of the attacks."""
    every = [
        row
        for model, own in zip(plan.models, rows, strict=True)
        for row in triggered_rows(own, model, (*where, model.name))
    ]
    return [every[i] for i in randomness.generator(*where, "shuffle").permutation(len(every))]


def _write_json(path: Path, values: object) -> None:
    write_atomically(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
