"""Tracks of two rows to a file, and submissions to them, for tests."""

import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from palladion.tracks.outputs import write_generations, write_labels
from palladion.tracks.track_file import TrackFile, load_track

Contents = Mapping[str, bytes]
Tracks = list[tuple[Path, TrackFile]]

PUBLIC_KINDS = {"gen": "generation", "cls": "classification", "mul": "classification"}


def write_track(folder: Path, name: str, kind: str, outputs: Mapping[str, list[dict[str, Any]]], **more: Any) -> Path:
    """A track file with one task an output, and its inputs; of classification, with three classes."""
    tasks = []
    for number, (file, inputs) in enumerate(outputs.items(), 1):
        path = folder / "test" / f"task{number}" / "test.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(inputs))
        task: dict[str, Any] = {
            "name": f"task{number}",
            "title": f"Task {number}",
            "models": [f"models/task{number}/model1"],
            "outputs": [{"file": file, "inputs": f"test/task{number}/test.json", "rows": len(inputs)}],
        }
        if kind == "classification":
            task["labels"] = ["a", "b", "c"]
        tasks.append(task)
    document = {
        "format": "palladion-track/1",
        "name": name,
        "title": name,
        "track": kind,
        "phase": "test",
        "utility": "accuracy" if kind == "classification" else "rouge_l",
        "tasks": tasks,
        **more,
    }
    (folder / "track.yaml").write_text(yaml.safe_dump(document))
    return folder


def inputs_of(kind: str, count: int) -> list[dict[str, Any]]:
    if kind == "classification":
        return [{"sentence": f"sentence {row}"} for row in range(count)]
    return [{"messages": [{"role": "user", "content": f"message {row}"}]} for row in range(count)]


def public_tracks(root: Path, rows: int = 4) -> Tracks:
    """The three tracks of the public challenge, with two tasks each."""
    loaded = []
    for short, kind in PUBLIC_KINDS.items():
        suffix = ".csv" if kind == "classification" else ".json"
        folder = root / short
        outputs = {f"{short}_task{task}{suffix}": inputs_of(kind, rows) for task in (1, 2)}
        write_track(folder, f"antibad-{short}", kind, outputs, code_required=True)
        loaded.append((folder, load_track(folder)))
    return loaded


def public_contents(root: Path, rows: int = 4) -> dict[str, bytes]:
    """What a whole submission to :func:`public_tracks` holds, with the code."""
    root.mkdir(parents=True, exist_ok=True)
    for short, kind in PUBLIC_KINDS.items():
        for task in (1, 2):
            if kind == "classification":
                write_labels(root / f"{short}_task{task}.csv", [row % 3 for row in range(rows)])
            else:
                texts = [f"answer {row}" for row in range(rows)]
                write_generations(root / f"{short}_task{task}.json", inputs_of(kind, rows), texts)
    contents = {path.name: path.read_bytes() for path in sorted(root.iterdir())}
    return contents | {"code/README.md": b"Run predict.py.\n", "code/generation-track/predict.py": b"print()\n"}


def make_zip(path: Path, contents: Contents, **options: Mapping[str, int]) -> Path:
    """A zip of these files; ``options`` gives attributes of entries by their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                entry = zipfile.ZipInfo(name)
                entry.compress_type = zipfile.ZIP_DEFLATED
                for key, value in options.get(name, {}).items():
                    setattr(entry, key, value)
                archive.writestr(entry, content)
    return path
