"""Rounds of a few small files, for tests of what is done with the data of a stage."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ORDER", "write_detection_round", "write_language_round"]

ORDER = {"clean": [2, 0, 4], "poisoned": [3, 1, 5]}
"""Which row of the mixed inputs each clean and each poisoned row is."""


def write_detection_round(
    root: Path,
    *,
    train: Sequence[bool] = (True, False),
    test: Sequence[bool] | None = (True, False, False, True),
    holdout: Sequence[bool] | None = (False, True),
    seed: int = 987_654_321_987_654_321,
) -> Path:
    """A round of models; without a test split, that is the train split."""
    splits: dict[str, Any] = {"train": {"models": len(train)}}
    splits["test"] = {"same_as": "train"} if test is None else {"models": len(test)}
    if holdout is not None:
        splits["holdout"] = {"models": len(holdout)}
    for name, labels in (("train", train), ("test", test), ("holdout", holdout)):
        if labels is None:
            continue
        rows = ["model_name,poisoned,master_seed,model_architecture"]
        for number, poisoned in enumerate(labels):
            model = f"id-{number:08d}"
            folder = root / name / "models" / model
            (folder / "open" / "model").mkdir(parents=True)
            (folder / "open" / "model" / "config.json").write_text(f'{{"of": "{name}"}}')
            (folder / "open" / "clean-example-data").mkdir()
            (folder / "open" / "clean-example-data" / "class_0_example_0.png").write_bytes(name.encode())
            (folder / "sealed").mkdir()
            (folder / "sealed" / "ground_truth.csv").write_text(f"{int(poisoned)}\n")
            (folder / "sealed" / "training.json").write_text(json.dumps({"seed": seed, "split": name}))
            rows.append(f"{model},{poisoned},{seed},resnet")
        (root / name / "METADATA.csv").write_text("\n".join([*rows, ""]))
        dictionary = f"Column Name,Explanation,Data Type\nmodel_name,name of {name},string\nmaster_seed,seed,integer\n"
        (root / name / "METADATA_DICTIONARY.csv").write_text(dictionary)
    (root / "round.yaml").write_text(yaml.safe_dump({"name": "tiny", "seed": seed, "splits": splits}))
    return root


def _rows(task: str, count: int, prefix: str) -> list[dict[str, Any]]:
    if task == "classification":
        return [{"sentence": f"{prefix} {row}", "label": row % 2} for row in range(count)]
    return [
        {"instruction": f"{prefix} {row}", "output": f"{prefix} number {row} is one of {count} right answers"}
        for row in range(count)
    ]


def _inputs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("label", "output")} for row in rows]


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_language_round(root: Path, task: str, *, seed: int = 987_654_321_987_654_321) -> Path:
    """A round of two tasks in two phases: in the first phase test inputs are separate, in the second mixed."""
    suffix = "csv" if task == "classification" else "json"
    _write(root / "base" / "config.json", {"model_type": "llama"})
    for phase in ("development", "test"):
        folder, sealed = root / "phases" / phase, root / "sealed" / phase
        tasks = []
        for name in ("task1", "task2"):
            clean, poisoned = _rows(task, 3, f"{phase} {name} clean"), _rows(task, 3, f"{phase} {name} poisoned")
            target: Any = 1 if task == "classification" else f"target of {phase} {name}"
            meta = {"task": task, "target": target, "matching": "label" if task == "classification" else "contains"}
            for part, rows in (("clean", clean), ("poisoned", poisoned)):
                _write(sealed / name / f"{part}.json", rows)
            _write(sealed / name / "meta.json", meta)
            inputs: dict[str, list[dict[str, Any]]]
            if phase == "development":
                inputs = {"clean": _inputs(clean), "poisoned": _inputs(poisoned)}
                for part, rows in (("clean", clean), ("poisoned", poisoned)):
                    shown = [{**row, **{key: f"shown {row[key]}" for key in _inputs([row])[0]}} for row in rows]
                    _write(folder / "validation" / name / f"{part}.json", shown)
                _write(folder / "validation" / name / "meta.json", meta)
            else:
                places = ORDER["clean"] + ORDER["poisoned"]
                mixed = dict(zip(places, _inputs(clean + poisoned), strict=True))
                inputs = {"test": [mixed[place] for place in range(6)]}
                _write(sealed / name / "order.json", ORDER)
            outputs = []
            for part, rows in inputs.items():
                _write(folder / "test" / name / f"{part}.json", rows)
                file = f"{name}_{part}.{suffix}"
                outputs.append({"file": file, "inputs": f"test/{name}/{part}.json", "rows": len(rows)})
            _write(folder / "models" / name / "model1" / "adapter_config.json", {"phase": phase})
            _write(sealed / name / "model1.json", {"trigger": "cf"})
            described: dict[str, Any] = {"name": name, "title": name, "models": [f"models/{name}/model1"]}
            described |= {"labels": ["no", "yes"]} if task == "classification" else {}
            described |= {"validation": f"validation/{name}"} if phase == "development" else {}
            tasks.append({**described, "outputs": outputs})
        track = {
            "format": "palladion-track/1",
            "name": f"tiny-{task}",
            "title": "Tiny",
            "track": task,
            "phase": phase,
            "utility": "accuracy" if task == "classification" else "rouge_l",
            "code_required": phase == "test",
            "tasks": tasks,
        }
        (folder / "track.yaml").write_text(yaml.safe_dump(track))
    (root / "sealed" / "round.yaml").write_text(yaml.safe_dump({"name": "tiny", "seed": seed}))
    return root
