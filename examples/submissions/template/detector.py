"""A detector to start from: copy this folder, change this file, and run it.

    palladion evaluate my-detector --round ROUND

``configure`` is called once with the train split, whose labels are known; ``probability`` is called once for each
model of the split that is evaluated, each time in a fresh process. Both may print what they like. Put a
``metaparameters.json`` beside this file to give the constructor other arguments: {"steps": 500}.

The idea here is the simplest one that has something to learn. A backdoor pulls inputs to its target class, and that
may show in the last layer: the row of weights of the target class is longer than the others. It is weak on purpose.
"""

import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from palladion.detectors import Detector, TrainSplit


class LongestRow(Detector):
    """Logistic regression on how much longer than the others the longest row of the last layer is.

    The constructor's arguments are the metaparameters. Nothing but keeping them may happen here.
    """

    def __init__(self, steps: int = 2000, learning_rate: float = 0.1, penalty: float = 0.01) -> None:
        self.steps = steps
        self.learning_rate = learning_rate
        self.penalty = penalty

    def configure(self, train_split: TrainSplit) -> None:
        # map() runs one model after the other, or several at a time with --slots, shows how far it is, and goes on
        # where it was after an interruption. What it returns is in the order of the models.
        features = np.array(train_split.map(self.features, "reading the last layers"))
        labels = np.array(train_split.poisoned, dtype=float)

        # What was learned goes into attributes whose names end in an underscore: only these are kept.
        self.mean_ = features.mean(axis=0)
        self.scale_ = features.std(axis=0) + 1e-9
        inputs = (features - self.mean_) / self.scale_
        self.weights_ = np.zeros(inputs.shape[1])
        self.bias_ = 0.0
        for _ in range(self.steps):
            error = 1 / (1 + np.exp(-(inputs @ self.weights_ + self.bias_))) - labels
            self.weights_ -= self.learning_rate * (inputs.T @ error / len(labels) + self.penalty * self.weights_)
            self.bias_ -= self.learning_rate * float(error.mean())

    def probability(self, model_dir: Path, examples_dir: Path) -> float:
        inputs = (np.array(self.features(model_dir, examples_dir)) - self.mean_) / self.scale_
        odds = float(np.clip(inputs @ self.weights_ + self.bias_, -30, 30))  # of a strange model, exp would overflow
        return 1 / (1 + math.exp(-odds))

    def features(self, model_dir: Path, examples_dir: Path) -> list[float]:  # noqa: ARG002
        """What is measured of a model. A list, since map() keeps results as JSON."""
        norms = np.sort(np.linalg.norm(last_layer(model_dir), axis=1))
        return [float((norms[-1] - norms[:-1].mean()) / norms.std()), float(norms[-1] / norms[-2])]


def last_layer(model_dir: Path) -> np.ndarray:
    """The weights that give the logits, one row a class."""
    config = json.loads((model_dir / "config.json").read_text())
    classes = len(config["id2label"])
    tensors = load_file(model_dir / "model.safetensors")
    matrices = [name for name, tensor in tensors.items() if tensor.ndim == 2 and len(tensor) == classes]
    # The classification head is called classifier or fc in the models of the Hugging Face library.
    heads = [name for name in matrices if "classifier" in name or "fc" in name]
    return tensors[(heads or matrices)[-1]].astype(np.float64)
