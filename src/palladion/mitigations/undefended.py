"""No mitigation: one of the models as it is, to compare the others with."""

from pathlib import Path

from palladion.errors import InputError
from palladion.mitigations.contract import Context, Mitigation, Needs, Product

__all__ = ["Undefended"]


class Undefended(Mitigation):
    """One of the models as it is.

    Args:
        model: which of them, counted from 1.
    """

    name = "undefended"
    summary = "the first model as it is, to compare with"
    needs = Needs()
    product = Product.MODEL

    def __init__(self, *, model: int = 1) -> None:
        self.model = model

    def restore(self, context: Context) -> Path:
        """The directory of the model itself.

        Raises:
            InputError: there is no model of this number.
        """
        if not 1 <= self.model <= len(context.models):
            raise InputError(f"there is no model {self.model}; there are {len(context.models)}, counted from 1")
        return context.models[self.model - 1]
