"""Mitigations: the contract, and the reference mitigations.

Write a class with :class:`~palladion.mitigations.contract.Mitigation` as its base; ``palladion restore`` runs it on the
models of a task. Nothing here loads torch until a mitigation that needs it is.
"""

from palladion.mitigations.contract import Answers, Context, Mitigation, Needs, Product
from palladion.mitigations.registry import load_mitigation, mitigations

__all__ = ["Answers", "Context", "Mitigation", "Needs", "Product", "load_mitigation", "mitigations"]
