"""Merge models of one base by the mean of their updates (Arora et al., Here's a Free Lunch, ACL Findings 2024).

What the models learned of the task adds up; what each learned of its own trigger is divided by their number.
"""

from pathlib import Path

from palladion.errors import InputError
from palladion.mitigations.contract import Context, Mitigation, Needs, Product
from palladion.mitigations.mean_of_adapters import write_mean_of_adapters
from palladion.mitigations.mean_of_weights import write_mean_of_weights
from palladion.models.adapters import Adapter, is_adapter

__all__ = ["MeanMerge"]


class MeanMerge(Mitigation):
    """The mean of the models' updates: of LoRA adapters the mean of scaling · B @ A, of full models that of weights.

    Args:
        rank: highest rank of the merged adapter. By default the ranks add up, and the mean is exact.
    """

    name = "merge"
    summary = "one model whose update is the mean of the models' updates"
    needs = Needs(models=2)
    product = Product.MODEL

    def __init__(self, *, rank: int | None = None) -> None:
        self.rank = rank

    def restore(self, context: Context) -> Path:
        """Write the merged model to the workspace.

        Raises:
            InputError: the models are not of one kind, do not fit each other, or are full models and a rank is given.
        """
        adapters = [model for model in context.models if is_adapter(model)]
        full = [model for model in context.models if not is_adapter(model)]
        if adapters and full:
            raise InputError(
                f"{adapters[0]} is an adapter and {full[0]} a full model; give models of one kind, "
                "or write full models of the adapters first (--method undefended --whole)"
            )
        out = context.workspace / "merged"
        out.mkdir()
        if full:
            if self.rank is not None:
                raise InputError("a rank is for adapters; these are full models")
            write_mean_of_weights(full, out)
        else:
            opened = [Adapter.open(model) for model in adapters]
            write_mean_of_adapters(opened, out, rank=self.rank, base=context.base, say=context.say)
        return out
