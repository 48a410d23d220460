"""Architecture families: networks of ``transformers``, scaled by their configuration.

One row a family. ``autocast`` is whether training in bfloat16 is faster than in float32 on a CPU that has bfloat16
instructions, measured with ``benchmarks/families.py``: it pays for dense convolutions and costs elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILIES", "FAMILY_NAMES", "Family", "new_network"]


@dataclass(frozen=True, slots=True)
class Family:
    """How to make the small network of one family.

    Attributes:
        name: as in METADATA's ``model_architecture``.
        architecture: class in ``transformers``.
        configuration: class of its configuration, and the values that scale it.
        autocast: train in bfloat16 autocast.
    """

    name: str
    architecture: str
    configuration: str
    values: dict[str, Any]
    autocast: bool


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "resnet",
            "ResNetForImageClassification",
            "ResNetConfig",
            {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1], "layer_type": "basic"},
            autocast=True,
        ),
        Family(
            "regnet",
            "RegNetForImageClassification",
            "RegNetConfig",
            {"embedding_size": 12, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1], "groups_width": 16},
            autocast=True,
        ),
        Family(
            "bit",
            "BitForImageClassification",
            "BitConfig",
            {"embedding_size": 16, "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1], "num_groups": 8},
            autocast=False,
        ),
    )
}
# The specification is checked without torch or transformers, and so is this list of names.
FAMILY_NAMES = tuple(FAMILIES)


def new_network(family: str, *, classes: int, seed: int) -> "torch.nn.Module":
    """A freshly initialised network for ``classes`` classes: the same one for the same seed.

    Takes images of shape ``(batch, 3, side, side)`` in [0, 1], RGB; any side.
    """
    import torch
    import transformers

    row = FAMILIES[family]
    configure: Callable[..., Any] = getattr(transformers, row.configuration)
    torch.manual_seed(seed)
    network: torch.nn.Module = getattr(transformers, row.architecture)(configure(num_labels=classes, **row.values))
    return network
