"""Trigger inversion: how small a sticker makes the model answer with one class, for each class?

For every class a mask and a pattern are optimised that turn images of the other classes into this one, as small as
they go (Neural Cleanse, Wang et al. 2019, "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural
Networks"). The target class of a trojan needs a far smaller mask than any other class. All classes are optimised in
one batch.

Two things are done differently. The sticker is moved by a few pixels at each step: a trojan works wherever the
trigger is stuck, a natural weakness of the model mostly in one place, so that the clean models' masks must grow. And
instead of a threshold on the masks' sizes, a logistic regression learns from the train split how sizes go with
labels.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from palladion.detectors.calibration import LogisticCalibration
from palladion.detectors.contract import Detector
from palladion.detectors.train_split import TrainSplit
from palladion.errors import InputError
from palladion.models.image_classifier import PRELOAD, load_classifier, load_shown_examples

__all__ = ["InversionDetector"]


class InversionDetector(Detector):
    """Trigger inversion for all target classes at once.

    Args:
        steps: optimiser steps.
        images: example images of other classes for each target class and step.
        learning_rate: of Adam.
        shift: the sticker moves by up to this many pixels each way.
        success: share of the images that must be turned for the mask to be pressed smaller.
        ridge: penalty of the calibration.
        seed: of the random draws; the answer is a pure function of model, examples and arguments.
    """

    def __init__(
        self,
        steps: int = 160,
        images: int = 16,
        learning_rate: float = 0.2,
        shift: int = 3,
        success: float = 0.98,
        ridge: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.steps = steps
        self.images = images
        self.learning_rate = learning_rate
        self.shift = shift
        self.success = success
        self.ridge = ridge
        self.seed = seed

    def configure(self, train_split: TrainSplit) -> None:
        """Learn how the sizes of the masks go with the labels."""
        features = train_split.map(
            self.features, "inverting triggers", preload=("palladion.detectors.inversion", *PRELOAD)
        )
        fitted = LogisticCalibration.fit(features, train_split.poisoned, ridge=self.ridge)
        self.calibration_: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(fitted).items()
        }

    def probability(self, model_dir: Path, examples_dir: Path) -> float:
        """The probability that the model is poisoned."""
        if not hasattr(self, "calibration_"):
            raise InputError("the inversion detector must be configured on a train split before it can answer")
        calibration = LogisticCalibration(**self.calibration_)
        return calibration.probability(self.features(model_dir, examples_dir))

    def features(self, model_dir: Path, examples_dir: Path) -> list[float]:
        """What the calibration sees: log of the smallest mask, and of its share of the second smallest."""
        sizes = np.sort(np.log(np.maximum(self.mask_sizes(model_dir, examples_dir), 1e-3)))
        return [float(sizes[0]), float(sizes[0] - sizes[1])]

    def mask_sizes(self, model_dir: Path, examples_dir: Path) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Mean size of each class's mask over the last third of the steps, pixels: shape ``(classes,)``.

        Raises:
            InputError: the model or the examples cannot be read, or the examples show fewer than two classes.
        """
        import torch

        torch.set_num_threads(1)
        network = load_classifier(model_dir).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        examples = load_shown_examples(examples_dir, model_dir)
        images = torch.from_numpy(examples.images).permute(0, 3, 1, 2).float().div_(255)
        labels = torch.from_numpy(examples.labels)
        classes = np.unique(examples.labels).tolist()
        if len(classes) < 2:
            raise InputError("must show two classes or more", path=examples_dir)
        others = [torch.nonzero(labels != label)[:, 0] for label in classes]
        targets = torch.tensor(classes)[:, None].expand(-1, self.images)
        side = images.shape[-1]

        draw = torch.Generator().manual_seed(self.seed)
        mask = (torch.randn(len(classes), 1, side, side, generator=draw) * 0.1 - 2).requires_grad_()
        pattern = (torch.randn(len(classes), 3, side, side, generator=draw) * 0.5).requires_grad_()
        optimizer = torch.optim.Adam([mask, pattern], self.learning_rate, betas=(0.5, 0.9))
        # How hard each class's mask is pressed: more while the sticker works, less while it does not.
        pressure = torch.full((len(classes),), 0.02)
        sizes = []
        for _ in range(self.steps):
            chosen = torch.stack([pool[torch.randint(len(pool), (self.images,), generator=draw)] for pool in others])
            opacity, colour = torch.sigmoid(mask), torch.sigmoid(pattern)
            size = opacity.sum(dim=(1, 2, 3))
            if self.shift:
                moves = torch.randint(-self.shift, self.shift + 1, (2,), generator=draw).tolist()
                opacity, colour = (torch.roll(part, moves, (2, 3)) for part in (opacity, colour))
            stuck = images[chosen] * (1 - opacity[:, None]) + (opacity * colour)[:, None]
            batch = stuck.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            logits = network(batch).logits
            loss = torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="none")
            total = (loss.view(targets.shape).mean(dim=1) + pressure * size).sum()
            optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            turned = (logits.argmax(dim=1).view(targets.shape) == targets).float().mean(dim=1)
            pressure = torch.where(turned >= self.success, pressure * 1.3, pressure / 1.3).clamp(1e-4, 1.0)
            sizes.append(size.detach())
        tail = torch.stack(sizes[-max(1, self.steps // 3) :])
        return tail.mean(dim=0).double().numpy()
