"""Files that are handed in, for tests of the commands over the service's API."""

import json
from pathlib import Path

from palladion.tracks.outputs import write_generations, write_labels
from tests.conftest import NIST_ENTRYPOINT
from tests.jobs.world import packed

HEADER = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Constant",
    "technique": "Constant answers",
    "technique_description": "Answers the same whatever the model is.",
    "technique_changes": "None so far.",
    "technique_type": ["Other"],
    "commit_id": "0123456789abcdef",
    "repo_name": "https://example.org/constant",
    "type": "object",
    "additionalProperties": False,
    "properties": {},
}
"""A header that may be handed in."""


def labels_zip(path: Path, *, right: bool = True, mark: str = "") -> Path:
    """Outputs for the labels of :func:`tests.rounds.stages.write_language_round`: the right label of a row is its
    number modulo 2. ``mark`` makes another file of the same outputs.
    """
    files: dict[str, str | bytes] = {}
    for task in ("task1", "task2"):
        for part in ("clean", "poisoned"):
            output = path.parent / f"{task}_{part}.csv"
            write_labels(output, [row % 2 if right else 1 - row % 2 for row in range(3)])
            files[output.name] = output.read_bytes() + mark.encode()
            output.unlink()
    path.write_bytes(packed(files))
    return path


def texts_zip(path: Path, inputs: Path, *, reverse: bool = False) -> Path:
    """Outputs for a generation track whose inputs lie in ``inputs``; in the wrong order with ``reverse``."""
    files: dict[str, str | bytes] = {}
    for task in ("task1", "task2"):
        for part in ("clean", "poisoned"):
            rows = json.loads((inputs / task / f"{part}.json").read_text())
            output = path.parent / f"{task}_{part}.json"
            write_generations(output, rows[::-1] if reverse else rows, [f"answer {row}" for row in range(len(rows))])
            files[output.name] = output.read_bytes()
            output.unlink()
    path.write_bytes(packed(files))
    return path


def detector_zip(path: Path, first_line: str = "") -> Path:
    """A detector that does what stands in the model, after ``first_line``."""
    files: dict[str, str | bytes] = {
        "entrypoint.py": f"{first_line}\n{NIST_ENTRYPOINT}",
        "metaparameters.json": "{}",
        "metaparameters_schema.json": json.dumps(HEADER),
        "learned_parameters/none": "",
    }
    path.write_bytes(packed(files))
    return path
