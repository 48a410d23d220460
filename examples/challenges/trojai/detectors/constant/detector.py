"""The score to beat: the same answer for every model."""

from palladion.detectors.constant import ConstantDetector


class Constant(ConstantDetector):
    """Answers 0.5."""
