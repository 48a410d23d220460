"""torchvision's classifiers as palladion keeps them: a ``config.json`` that names the network, and safetensors.

``transformers`` has no such class, so the directory is read here: the name must be one of :data:`NETWORKS`, and nothing
but the number of classes is configurable. torchvision is needed to open one, and is not installed by default.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from palladion.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL_TYPE", "NETWORKS", "load_vision_network", "network_name", "new_vision_network", "require_torchvision"]

MODEL_TYPE = "torchvision"

# As TrojAI's Rounds 2 and 3 name them, and as torchvision does.
NETWORKS: dict[str, str] = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet152": "resnet152",
    "googlenet": "googlenet",
    "inceptionv3": "inception_v3",
    "densenet121": "densenet121",
    "densenet161": "densenet161",
    "densenet169": "densenet169",
    "densenet201": "densenet201",
    "squeezenetv1_0": "squeezenet1_0",
    "squeezenetv1_1": "squeezenet1_1",
    "wideresnet50": "wide_resnet50_2",
    "wideresnet101": "wide_resnet101_2",
    "mobilenetv2": "mobilenet_v2",
    "shufflenet1_0": "shufflenet_v2_x1_0",
    "shufflenet1_5": "shufflenet_v2_x1_5",
    "shufflenet2_0": "shufflenet_v2_x2_0",
    "vgg11bn": "vgg11_bn",
    "vgg13bn": "vgg13_bn",
    "vgg16bn": "vgg16_bn",
    "vgg19bn": "vgg19_bn",
}
_WITH_AUXILIARY = ("googlenet", "inceptionv3")
_MOST_CLASSES = 10_000


def require_torchvision() -> None:
    """See that torchvision is installed, without importing it.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("torchvision") is None:
        raise InputError("torchvision is not installed; these networks need: pip install torchvision")


def network_name(settings: dict[str, Any]) -> object:
    """The architecture that a ``config.json`` names, whether it is torchvision's or of ``transformers``."""
    if settings.get("model_type") != MODEL_TYPE:
        return settings.get("model_type")
    named = settings.get("architectures")
    return named[0] if isinstance(named, list) and named else None


def new_vision_network(name: str, classes: int) -> "torch.nn.Module":
    """A freshly initialised network: takes images of shape ``(n, 3, side, side)``, returns an object with ``logits``.

    It has a ``config`` and ``save_pretrained(directory)``, as the networks of ``transformers`` do.

    Raises:
        InputError: there is no such network, or torchvision is not installed.
    """
    if name not in NETWORKS:
        raise InputError(f"torchvision has no network {name!r} here; there are {', '.join(NETWORKS)}")
    require_torchvision()
    import torch

    try:
        import torchvision  # type: ignore[import-not-found, unused-ignore]
    except RuntimeError as error:  # what is built for CUDA says so where torch is not
        raise InputError(f"torchvision is not made for torch {torch.__version__}: {error}") from None

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            make: Callable[..., torch.nn.Module] = getattr(torchvision.models, NETWORKS[name])
            # What helps GoogLeNet and Inception to train at full size is no part of the classifier.
            extra = {"aux_logits": False, "init_weights": True} if name in _WITH_AUXILIARY else {}
            self.network = make(weights=None, num_classes=classes, **extra)
            self.config = SimpleNamespace(model_type=MODEL_TYPE, num_labels=classes)

        def forward(self, images: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.network(images))

        def save_pretrained(self, directory: Path) -> None:
            from safetensors.torch import save_file

            directory.mkdir(parents=True, exist_ok=True)
            settings = {
                "architectures": [name],
                "model_type": MODEL_TYPE,
                "num_labels": classes,
                "id2label": {str(label): f"LABEL_{label}" for label in range(classes)},
            }
            (directory / "config.json").write_text(json.dumps(settings, indent=1) + "\n")
            weights = {key: value.contiguous() for key, value in self.network.state_dict().items()}
            save_file(weights, directory / "model.safetensors")

    return Classifier()


def load_vision_network(directory: Path, settings: dict[str, Any]) -> "torch.nn.Module":
    """The network in a directory whose ``config.json`` holds these settings.

    Raises:
        InputError: the settings name no such network, or the weights are not its weights.
    """
    config, weights = directory / "config.json", directory / "model.safetensors"
    name, classes = network_name(settings), settings.get("num_labels")
    if not isinstance(name, str) or name not in NETWORKS:
        raise InputError("names no network of torchvision that is known here (architectures)", path=config)
    if not isinstance(classes, int) or isinstance(classes, bool) or not 2 <= classes <= _MOST_CLASSES:
        raise InputError(f"num_labels must be a whole number from 2 to {_MOST_CLASSES}", path=config)
    network = new_vision_network(name, classes)
    from safetensors.torch import load_file

    try:
        network.network.load_state_dict(load_file(weights))  # type: ignore[union-attr]
    except Exception as error:  # a strange file can make either of the two raise anything
        raise InputError(f"does not hold the weights of {name}: {str(error)[:300]}", path=weights) from None
    return network
