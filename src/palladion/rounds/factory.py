"""Make one model's directory: train it, draw its examples, write it whole or not at all."""

import hashlib
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from palladion.models import round_directory as layout
from palladion.rounds.design import ModelPlan
from palladion.rounds.images.scene import render
from palladion.rounds.images.triggers import PolygonTrigger
from palladion.rounds.spec import RoundSpec

__all__ = ["PARTIAL", "BuiltModel", "ModelTask", "build_model"]

PARTIAL = ".partial-"  # prefix of a model's directory while it is being written


@dataclass(frozen=True, slots=True)
class ModelTask:
    """One model to build, as it is sent to a worker."""

    spec: RoundSpec
    plan: ModelPlan
    models: Path


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """What the worker reports; seconds are wall time of this worker."""

    name: str
    passed: bool
    attempts: int
    clean_accuracy: float
    attack_success_rate: float | None
    seconds: float
    seconds_training: float


def build_model(task: ModelTask) -> BuiltModel:
    """Train the model and write its directory.

    The directory is filled under another name and renamed when it is complete, so that whoever is killed at any moment
    leaves either a whole model or a ``.partial-`` directory that the next build removes.
    """
    from palladion.rounds.training import predict, scene_law, scenery, train_model

    started = time.perf_counter()
    spec, plan = task.spec, task.plan
    trained = train_model(spec, plan)
    law, scene = scene_law(spec.images), scenery(plan)

    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{plan.name}-", dir=task.models))
    partial.chmod(0o755)
    opened, sealed = partial / layout.OPEN, partial / layout.SEALED
    sealed.mkdir()
    (opened / layout.CLEAN_EXAMPLES).mkdir(parents=True)

    index = np.arange(spec.images.examples_per_class * spec.images.classes)
    labels = scene.label(index)
    clean = render(law, scene, plan.stream("examples"), index)
    _write_examples(opened / layout.CLEAN_EXAMPLES, clean, labels)
    accuracy: dict[str, float] = {"clean_example_accuracy": _share(predict(trained.network, clean), labels)}
    if plan.trigger is not None:
        assert trained.trigger is not None
        poisoned = render(
            law,
            scene,
            plan.stream("poisoned-examples"),
            index,
            trigger=trained.trigger,
            triggered=np.ones(len(index), dtype=np.bool_),
        )
        (sealed / layout.POISONED_EXAMPLES).mkdir()
        _write_examples(sealed / layout.POISONED_EXAMPLES, poisoned, labels)
        target = np.full(len(index), plan.trigger.target_class)
        accuracy["poisoned_example_attack_success"] = _share(predict(trained.network, poisoned), target)
        _write_trigger(sealed, trained.trigger, plan)

    described: dict[str, Any] = {}
    if trained.trigger is not None:
        described["trigger_color"] = list(trained.trigger.colour)
    weights = _write_model(opened / layout.MODEL, trained.network, spec.images.side)
    (sealed / layout.GROUND_TRUTH).write_text(f"{int(plan.poisoned)}\n")
    record = (
        _record(spec, plan)
        | described
        | {
            "attempts": [attempt.record() for attempt in trained.attempts],
            "passed": trained.passed,
            **{name: round(value, 6) for name, value in accuracy.items()},
            "weights_sha256": weights,
            "versions": _versions(),
        }
    )
    (sealed / layout.TRAINING).write_text(json.dumps(record, indent=1) + "\n")

    for path in partial.rglob("*"):
        # Whoever evaluates runs as another user; safetensors writes files that only the owner can read.
        path.chmod(0o755 if path.is_dir() else 0o644)
    final = task.models / plan.name
    try:
        partial.rename(final)
    except OSError:
        # Another worker, left over from a build that was killed, was faster: its files are the same.
        if not final.is_dir():
            raise
        shutil.rmtree(partial)
    last = trained.attempts[-1]
    return BuiltModel(
        plan.name,
        trained.passed,
        len(trained.attempts),
        last.clean_accuracy,
        last.attack_success_rate,
        time.perf_counter() - started,
        trained.seconds_training,
    )


def _share(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return float((answers == labels).mean())


def _write_examples(directory: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    seen: dict[int, int] = {}
    for image, label in zip(images, labels.tolist(), strict=True):
        number = seen.get(label, 0)
        seen[label] = number + 1
        Image.fromarray(image).save(directory / layout.example_name(label, number))


def _write_trigger(sealed: Path, trigger: PolygonTrigger, plan: ModelPlan) -> None:
    assert plan.trigger is not None
    described = trigger.describe() | {
        "target_class": plan.trigger.target_class,
        "source_classes": "all",
        "triggered_fraction": plan.trigger.fraction,
    }
    (sealed / layout.TRIGGER).write_text(json.dumps(described, indent=1) + "\n")
    mask = trigger.mask()
    picture = np.empty((*mask.shape, 4), dtype=np.uint8)
    picture[..., :3] = trigger.colour
    picture[..., 3] = np.round(mask * 255)
    Image.fromarray(picture).save(sealed / layout.TRIGGER_PICTURE)


def _write_model(directory: Path, network: Any, side: int) -> str:
    """Write the Hugging Face directory; SHA-256 of the weights."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    network.save_pretrained(directory)
    # What AutoImageProcessor reads: the networks take RGB in [0, 1], neither shifted nor scaled further.
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_normalize": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_resize": True,
        "size": {"height": side, "width": side},
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n")
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def _record(spec: RoundSpec, plan: ModelPlan) -> dict[str, Any]:
    return {
        "round": spec.name,
        "split": plan.split,
        "model_name": plan.name,
        "poisoned": plan.poisoned,
        "architecture": plan.architecture,
        "backgrounds": plan.backgrounds,
        "signs": [sign.name for sign in plan.signs],
    }


def _versions() -> dict[str, str]:
    import safetensors
    import torch
    import transformers

    import palladion

    return {
        "palladion": palladion.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "safetensors": safetensors.__version__,
        "numpy": np.__version__,
    }
