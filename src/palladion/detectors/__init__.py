"""Detectors: the contract, what they learn from, and the reference detectors.

Write a class with :class:`~palladion.detectors.contract.Detector` as its base; ``palladion evaluate`` runs it on every
model of a round. Nothing here loads torch until a detector that needs it is.
"""

from palladion.detectors.constant import ConstantDetector
from palladion.detectors.contract import Detector
from palladion.detectors.registry import load_detector, reference_detectors
from palladion.detectors.train_split import TrainModel, TrainSplit

__all__ = ["ConstantDetector", "Detector", "TrainModel", "TrainSplit", "load_detector", "reference_detectors"]
