"""Trigger inversion, configured on the train split of each round: the reference detector, as a submission."""

from palladion.detectors.inversion import InversionDetector


class Inversion(InversionDetector):
    """How small a sticker makes the model answer with one class? Of a poisoned model, a very small one."""
