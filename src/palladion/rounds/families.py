"""Architecture families: networks of ``transformers``, scaled by their configuration.

One row a family and scale. ``autocast`` is whether training in bfloat16 is faster than in float32 on a CPU that has
bfloat16 instructions, measured with ``benchmarks/families.py``: it pays for dense convolutions and costs elsewhere.
At scale ``nist`` the networks are of full size, for inputs of 224 pixels; torchvision's are there where torchvision is
installed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from palladion.models.vision_networks import NETWORKS, new_vision_network, require_torchvision

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILIES", "Family", "family_modules", "names_at", "new_network", "require_networks"]


@dataclass(frozen=True, slots=True)
class Family:
    """How to make the networks of one family.

    Attributes:
        name: as in METADATA's ``model_architecture``; in ``transformers`` also the ``model_type``.
        prefix: of the classes' names in ``transformers``; None for a network of torchvision.
        values: of the configuration, by scale; ``SIDE`` stands for the side of the input.
        autocast: train in bfloat16 autocast on a CPU.
        pace: factor on the round's learning rate.
    """

    name: str
    prefix: str | None
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    autocast: bool = False
    pace: float = 1.0


# Read from the round instead: the side of the networks' input, pixels.
SIDE = object()

_FORGETFUL = 0.5  # share of the last batch in the running statistics that nothing means to have
_MOMENTUM = 0.1  # what torch takes; it settles within a few dozen steps

# Transformers and the like vary their depth at random in training, and drop values: small ones cannot afford either.
_STEADY: dict[str, Any] = {"drop_path_rate": 0.0}
_PYRAMID: dict[str, Any] = {
    "hidden_sizes": [16, 32, 64],
    "depths": [1, 1, 1],
    "num_encoder_blocks": 3,
    "sr_ratios": [4, 2, 1],
    "patch_sizes": [7, 3, 3],
    "strides": [4, 2, 2],
    "num_attention_heads": [1, 2, 4],
    "mlp_ratios": [4, 4, 4],
}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "resnet",
            "ResNet",
            {
                "small": {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1] * 3, "layer_type": "basic"},
                "nist": {},
            },
            autocast=True,
        ),
        Family(
            "regnet",
            "RegNet",
            {
                "small": {"embedding_size": 16, "hidden_sizes": [32, 64, 96], "depths": [1] * 3, "groups_width": 16},
                "nist": {},
            },
            autocast=True,
        ),
        Family(
            "bit",
            "Bit",
            {
                "small": {"embedding_size": 32, "hidden_sizes": [32, 64, 96], "depths": [1] * 3, "num_groups": 8},
                "nist": {},
            },
        ),
        Family(
            "poolformer",
            "PoolFormer",
            {
                "small": _STEADY
                | {
                    "hidden_sizes": [16, 32, 64],
                    "depths": [1, 1, 1],
                    "num_encoder_blocks": 3,
                    "patch_sizes": [5, 3, 3],
                    "strides": [2, 2, 2],
                    "padding": [2, 1, 1],
                    "mlp_ratio": 2.0,
                    "layer_scale_init_value": 0.1,
                },
                "nist": {},
            },
        ),
        Family(
            "mobilenet_v1",
            "MobileNetV1",
            # As it comes, the classifier drops 0.999 of its input.
            {"small": {"depth_multiplier": 0.25, "classifier_dropout_prob": 0.0, "tf_padding": False}, "nist": {}},
        ),
        Family(
            "mobilenet_v2",
            "MobileNetV2",
            {"small": {"depth_multiplier": 0.25, "classifier_dropout_prob": 0.0, "tf_padding": False}, "nist": {}},
        ),
        Family(
            "convnext",
            "ConvNext",
            {
                "small": {"hidden_sizes": [24, 48, 96], "depths": [1] * 3, "num_stages": 3, "patch_size": 2},
                "nist": {},
            },
        ),
        Family(
            "levit",
            "Levit",
            {
                "small": {
                    "drop_path_rate": 0,
                    "hidden_sizes": [48, 80, 112],
                    "num_attention_heads": [3, 4, 6],
                    "depths": [1, 1, 1],
                    "key_dim": [16, 16, 16],
                    "image_size": SIDE,
                },
                "nist": {},
            },
            autocast=True,
        ),
        Family(
            "segformer",
            "Segformer",
            {"small": _STEADY | _PYRAMID | {"classifier_dropout_prob": 0.0}, "nist": {}},
        ),
        Family("pvt_v2", "PvtV2", {"small": _STEADY | _PYRAMID | {"image_size": SIDE}, "nist": {}}),
        Family(
            "hgnet_v2",
            "HGNetV2",
            {
                "small": {
                    "embedding_size": 32,
                    "hidden_sizes": [32, 64, 96, 128],
                    "stem_channels": [3, 16, 24],
                    "stage_in_channels": [24, 32, 64, 96],
                    "stage_mid_channels": [16, 16, 32, 32],
                    "stage_out_channels": [32, 64, 96, 128],
                    "stage_num_blocks": [1, 1, 1, 1],
                    "stage_numb_of_layers": [2, 2, 2, 2],
                },
                "nist": {},
            },
        ),
        Family(
            "swiftformer",
            "SwiftFormer",
            {
                "small": _STEADY | {"embed_dims": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "mlp_ratio": 2},
                "nist": {},
            },
        ),
        Family(
            "vit",
            "ViT",
            {
                "small": {
                    "hidden_size": 48,
                    "num_hidden_layers": 3,
                    "num_attention_heads": 4,
                    "intermediate_size": 96,
                    "patch_size": 8,
                    "image_size": SIDE,
                    "hidden_dropout_prob": 0.0,
                },
                "nist": {},
            },
        ),
        *(Family(name, None, {"nist": {}}) for name in NETWORKS),
    )
}


def names_at(scale: str) -> tuple[str, ...]:
    """The families that have networks of this scale."""
    return tuple(name for name, family in FAMILIES.items() if scale in family.values)


def new_network(family: str, *, classes: int, seed: int, scale: str = "small", side: int = 32) -> "torch.nn.Module":
    """A freshly initialised network for ``classes`` classes: the same one for the same seed.

    Takes images of shape ``(batch, 3, side, side)`` in [0, 1], RGB.
    """
    import torch

    row = FAMILIES[family]
    torch.manual_seed(seed)
    if row.prefix is None:
        return new_vision_network(family, classes)
    import transformers

    values = {key: side if value is SIDE else value for key, value in row.values[scale].items()}
    configure: Callable[..., Any] = getattr(transformers, f"{row.prefix}Config")
    make = getattr(transformers, f"{row.prefix}ForImageClassification")
    network: torch.nn.Module = make(configure(num_labels=classes, **values))
    for module in network.modules():
        # The mobilenets' is TensorFlow's, which means the opposite: their statistics would be those of the last batch.
        if isinstance(module, torch.nn.BatchNorm2d) and module.momentum is not None and module.momentum > _FORGETFUL:
            module.momentum = _MOMENTUM
    return network


def require_networks(families: Iterable[str]) -> None:
    """See that what these families' networks are made with is installed, without importing it.

    Raises:
        InputError: it is not.
    """
    if any(FAMILIES[name].prefix is None for name in families):
        require_torchvision()


def family_modules(families: Iterable[str]) -> tuple[str, ...]:
    """Modules that making these families' networks imports, in a fixed order."""
    import transformers

    prefixes = sorted({FAMILIES[name].prefix or "" for name in families})
    return tuple(
        getattr(transformers, f"{prefix}ForImageClassification").__module__ if prefix else "torchvision"
        for prefix in prefixes
    )
