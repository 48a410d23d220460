"""Make models' directories: train them, draw their examples, write each whole or not at all."""

import json
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from palladion.models import round_directory as layout
from palladion.rounds.design import ModelPlan
from palladion.rounds.images.triggers import Trigger
from palladion.rounds.manifest import file_digests, spec_digest, versions
from palladion.rounds.model_images import LabelledImages, ModelImages
from palladion.rounds.spec import RoundSpec
from palladion.rounds.training_record import Reached, TrainingRecord, write_record

if TYPE_CHECKING:
    from palladion.rounds.training import TrainedModel

__all__ = ["PARTIAL", "BuildTask", "BuiltModel", "build_models"]

PARTIAL = ".partial-"  # prefix of a model's directory while it is being written


@dataclass(frozen=True, slots=True)
class BuildTask:
    """Models to build, as they are sent to a worker.

    Attributes:
        spec: of the round.
        plans: of the models; more than one are trained as one stack.
        directory: of the round; each model's directory is made in its split's folder of models.
        device: ``cpu`` or ``cuda``.
        pictures: SHA-256 of the organiser's pictures, where they are the backgrounds.
    """

    spec: RoundSpec
    plans: tuple[ModelPlan, ...]
    directory: Path
    device: str = "cpu"
    pictures: str | None = None


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """What the worker reports; seconds are wall time of this worker, shared by the models of a stack."""

    split: str
    name: str
    passed: bool
    attempts: int
    clean_accuracy: float
    attack_success_rate: float | None
    seconds: float
    seconds_training: float


def build_models(task: BuildTask) -> tuple[BuiltModel, ...]:
    """Train the models and write their directories."""
    from palladion.rounds.training import train_models

    started = time.perf_counter()
    trained = train_models(task.spec, task.plans, device=task.device)
    for plan, model in zip(task.plans, trained, strict=True):
        _write(task, plan, model)
    seconds = (time.perf_counter() - started) / len(trained)
    return tuple(
        BuiltModel(
            plan.split,
            plan.name,
            model.passed,
            len(model.attempts),
            model.attempts[-1].clean_accuracy,
            model.attempts[-1].attack_success_rate,
            seconds,
            model.seconds_training,
        )
        for plan, model in zip(task.plans, trained, strict=True)
    )


def _write(task: BuildTask, plan: ModelPlan, trained: "TrainedModel") -> None:
    """Write a model's directory.

    It is filled under another name and renamed when it is complete, so that whoever is killed at any moment leaves
    either a whole model or a ``.partial-`` directory that the next build removes.
    """
    from palladion.rounds.training import predict

    spec = task.spec
    models = task.directory / plan.split / layout.MODELS
    images = ModelImages(spec, plan)
    side = spec.images.input or spec.images.side

    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{plan.name}-", dir=models))
    partial.chmod(0o755)
    opened, sealed = partial / layout.OPEN, partial / layout.SEALED
    sealed.mkdir()
    (opened / layout.CLEAN_EXAMPLES).mkdir(parents=True)

    clean = images.clean_examples()
    _write_examples(opened / layout.CLEAN_EXAMPLES, clean)
    clean_accuracy = _share(predict(trained.network, clean, side), clean.labels)
    attack_success: float | None = None
    if plan.trigger is not None:
        assert trained.trigger is not None
        poisoned = images.poisoned_examples(trained.trigger)
        (sealed / layout.POISONED_EXAMPLES).mkdir()
        _write_examples(sealed / layout.POISONED_EXAMPLES, poisoned)
        answers = predict(trained.network, poisoned, side)
        attack_success = round(_share(answers, np.full(len(answers), plan.trigger.target_class)), 6)
        _write_trigger(sealed, trained.trigger, plan)

    _write_model(opened / layout.MODEL, trained.network, spec.images.side, side)
    (sealed / layout.GROUND_TRUTH).write_text(f"{int(plan.poisoned)}\n")
    files = file_digests(partial, but=sealed / layout.TRAINING)
    record = TrainingRecord(
        round=spec.name,
        spec_sha256=spec_digest(spec),
        round_seed=spec.seed,
        split=plan.split,
        model_name=plan.name,
        poisoned=plan.poisoned,
        architecture=plan.architecture,
        backgrounds=plan.backgrounds,
        adversarial=None if plan.adversarial is None else asdict(plan.adversarial),
        signs=[sign.name for sign in plan.signs],
        trigger=None if trained.trigger is None else trained.trigger.describe(),
        attempts=list(trained.attempts),
        gates=Reached(clean_accuracy=spec.gates.clean_accuracy, attack_success_rate=spec.gates.attack_success_rate),
        passed=trained.passed,
        clean_example_accuracy=round(clean_accuracy, 6),
        poisoned_example_attack_success=attack_success,
        device=task.device,
        pictures_sha256=task.pictures,
        versions=versions(),
        weights_sha256=files[f"{layout.OPEN}/{layout.MODEL}/model.safetensors"],
        files=files,
    )
    write_record(record, sealed / layout.TRAINING)

    for path in partial.rglob("*"):
        # Whoever evaluates runs as another user; safetensors writes files that only the owner can read.
        path.chmod(0o755 if path.is_dir() else 0o644)
    final = models / plan.name
    try:
        partial.rename(final)
    except OSError:
        # Another worker, left over from a build that was killed, was faster: its files are the same.
        if not final.is_dir():
            raise
        shutil.rmtree(partial)


def _share(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return float((answers == labels).mean())


def _write_examples(directory: Path, examples: LabelledImages) -> None:
    seen: dict[int, int] = {}
    for image, label in zip(examples.images, examples.labels.tolist(), strict=True):
        number = seen.get(label, 0)
        seen[label] = number + 1
        Image.fromarray(image).save(directory / layout.example_name(label, number))


def _write_trigger(sealed: Path, trigger: Trigger, plan: ModelPlan) -> None:
    assert plan.trigger is not None
    described = trigger.describe() | {
        "target_class": plan.trigger.target_class,
        "source_classes": list(plan.trigger.sources),
        "triggered_fraction": plan.trigger.fraction,
    }
    (sealed / layout.TRIGGER).write_text(json.dumps(described, indent=1) + "\n")
    Image.fromarray(trigger.picture()).save(sealed / layout.TRIGGER_PICTURE)


def _write_model(directory: Path, network: Any, side: int, middle: int) -> None:
    """Write the Hugging Face directory.

    Args:
        directory: to make.
        network: on the CPU.
        side: of the examples, pixels.
        middle: side of what the network sees of them.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    network.save_pretrained(directory)
    # What AutoImageProcessor reads: the networks take RGB in [0, 1], neither shifted nor scaled further.
    processor: dict[str, Any] = {
        "image_processor_type": "ViTImageProcessor",
        "do_normalize": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_resize": True,
        "size": {"height": side, "width": side},
    }
    if middle != side:
        processor |= {"do_center_crop": True, "crop_size": {"height": middle, "width": middle}}
    (directory / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n")
