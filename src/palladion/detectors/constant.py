"""The constant detector: the score to beat."""

from pathlib import Path

from palladion.detectors.contract import Detector

__all__ = ["ConstantDetector"]


class ConstantDetector(Detector):
    """Answers the same for every model.

    Args:
        value: the probability that it answers. 0.5 scores a cross-entropy of ln 2 = 0.693 whatever the truth is.
    """

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def probability(self, model_dir: Path, examples_dir: Path) -> float:  # noqa: ARG002
        """The constant."""
        return self.value
