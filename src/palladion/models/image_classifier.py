"""Open an image classifier and its example images from disk, without running anything that they hold.

The network must be one of ``transformers``' own classes, or one of torchvision's, with its weights in safetensors: a
directory that asks for code of its own (``auto_map``), or that holds pickled weights, is refused.
"""

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from palladion.errors import InputError
from palladion.models.vision_networks import MODEL_TYPE, load_vision_network

if TYPE_CHECKING:
    import torch

__all__ = ["PRELOAD", "Examples", "load_classifier", "load_examples", "load_shown_examples", "require_packages"]

PRELOAD = ("torch", "transformers.modeling_utils", "transformers.models.auto.modeling_auto")
"""Modules that take long to import and that :func:`load_classifier` needs."""


_EXAMPLE = re.compile(r"class_([0-9]{1,4})_example_([0-9]{1,6})\.png")
_MAXIMUM_CONFIG_BYTES = 1 << 20
_MAXIMUM_IMAGE_BYTES = 16 << 20


def require_packages() -> None:
    """See that what opens and trains models is installed, without importing it.

    Raises:
        InputError: a package is missing; the message says what to install.
    """
    for package in ("torch", "transformers", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{package} is not installed; models need: pip install 'palladion[models]'")


@dataclass(frozen=True, slots=True)
class Examples:
    """Example images in the order of their classes and numbers.

    Attributes:
        images: shape ``(n, height, width, 3)``, RGB.
        labels: shape ``(n,)``.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_examples(directory: Path) -> Examples:
    """The example images in a folder; files with other names are passed over.

    Raises:
        InputError: there are none, or one is not an image of the others' size.
    """
    from PIL import Image, UnidentifiedImageError

    found = []
    for path in directory.iterdir() if directory.is_dir() else ():
        match = _EXAMPLE.fullmatch(path.name)
        if match and path.is_file() and not path.is_symlink():
            found.append((int(match[1]), int(match[2]), path))
    if not found:
        raise InputError("holds no example images (class_<class>_example_<number>.png)", path=directory)
    images = []
    for _, _, path in sorted(found):
        if path.stat().st_size > _MAXIMUM_IMAGE_BYTES:
            raise InputError("is larger than 16 MiB", path=path)
        try:
            with Image.open(path, formats=["PNG"]) as image:
                images.append(np.asarray(image.convert("RGB")))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
            raise InputError(f"is not a PNG image: {error}", path=path) from None
        if images[-1].shape != images[0].shape:
            raise InputError("has another size than the images before it", path=path)
    labels = np.array([label for label, _, _ in sorted(found)], dtype=np.int64)
    return Examples(np.stack(images), labels)


def load_classifier(directory: Path) -> "torch.nn.Module":
    """The network in a Hugging Face directory, in evaluation mode and with frozen weights.

    Takes images of shape ``(n, 3, height, width)`` in [0, 1], RGB, and returns an object with ``logits`` of shape
    ``(n, classes)``.

    Raises:
        InputError: the directory holds no such network, or one that asks for code of its own.
    """
    config = directory / "config.json"
    settings = _settings(config)
    if "model_type" not in settings:
        raise InputError("names no model_type; is this a Hugging Face model?", path=config)
    if "auto_map" in settings:
        raise InputError("asks to run code of its own (auto_map); refused", path=config)
    weights = directory / "model.safetensors"
    if not weights.is_file():
        raise InputError("is missing; pickled weights are not opened", path=weights)
    require_packages()
    network: torch.nn.Module
    if settings["model_type"] == MODEL_TYPE:
        network = load_vision_network(directory, settings)
        return network.eval().requires_grad_(requires_grad=False)
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        network = transformers.AutoModelForImageClassification.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except Exception as error:  # a strange file can make any of the many layers below raise anything
        raise InputError(f"cannot be opened as an image classifier: {error}", path=directory) from None
    return network.eval().requires_grad_(requires_grad=False)


def load_shown_examples(directory: Path, network: Path) -> Examples:
    """The example images in a folder as a network is shown them: cut to what its image processor leaves of them.

    Args:
        directory: holds the examples.
        network: directory of the network. Its ``preprocessor_config.json`` says what is cut out, as ``transformers``
            reads it; a directory without one shows images whole.

    Raises:
        InputError: as :func:`load_examples`, or the file cannot be read or cuts out what the images do not have.
    """
    examples = load_examples(directory)
    path = network / "preprocessor_config.json"
    settings = _settings(path) if path.exists() else {}
    if not settings.get("do_center_crop", False):
        return examples
    size = settings.get("crop_size")
    height, width = (size.get("height"), size.get("width")) if isinstance(size, dict) else (size, size)
    have_height, have_width = examples.images.shape[1:3]
    if type(height) is not int or type(width) is not int or not (0 < height <= have_height and 0 < width <= have_width):
        raise InputError(f"cuts {size!r} (crop_size) out of images of {have_height} × {have_width} pixels", path=path)
    top, left = (have_height - height) // 2, (have_width - width) // 2
    return Examples(examples.images[:, top : top + height, left : left + width], examples.labels)


def _settings(path: Path) -> dict[str, Any]:
    """A JSON object of a model's directory."""
    try:
        if path.stat().st_size > _MAXIMUM_CONFIG_BYTES:
            raise InputError("is larger than 1 MiB", path=path)
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as JSON: {error}", path=path) from None
    if not isinstance(settings, dict):
        raise InputError("is not a JSON object", path=path)
    return settings
