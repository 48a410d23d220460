"""What a participant sees of a model without running it: sizes and times of files, settings, weights, images.

Nothing here opens a pickle or runs a network. Files come from strangers: links are refused, images and weights are read
within bounds.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from palladion.errors import InputError
from palladion.models import round_directory as layout
from palladion.models.model_files import read_json
from palladion.models.tensor_files import FLOATS, TensorFile
from palladion.models.weights import INDEX, SINGLE, Weights
from palladion.rounds import nist

__all__ = [
    "ModelFiles",
    "file_numbers",
    "image_numbers",
    "numbers_of_drawn",
    "settings_words",
    "training_words",
    "weight_numbers",
]

_T = TypeVar("_T")
_IMAGES = {".png", ".jpg", ".jpeg", ".bmp"}
_MOST_FILES = 100_000
_MOST_IMAGES = 64
_MOST_IMAGE_BYTES = 16 << 20
_MOST_PIXELS = 1 << 26
_MOST_RECORD_BYTES = 16 << 20
_MOST_SETTINGS = 200
_HEAD = re.compile(r"(^|\.)(classifier|head|heads|fc|score|logits)(\.|$)")
_STEPS = "num_batches_tracked"
_RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model.

    Attributes:
        name: the model's.
        open: files that a participant may see, by their path in ``open/``.
        training: the record of the training; None where there is none.
    """

    name: str
    open: Mapping[PurePosixPath, Path] = field(default_factory=dict)
    training: Path | None = None

    @classmethod
    def of_entry(cls, entry: layout.ModelEntry) -> "ModelFiles":
        """The files of a model of a round."""
        training = entry.sealed / layout.TRAINING
        there = training.is_file() and not training.is_symlink()
        return cls(entry.name, dict(_files(entry.open)), training if there else None)

    @classmethod
    def of_folder(cls, name: str, folder: Path) -> "ModelFiles":
        """The files of a model as NIST publishes it: those that an import would open."""
        checkpoint = nist.holds_checkpoint(folder)
        places = ((nist.open_place(path, checkpoint=checkpoint), file) for path, file in _files(folder))
        return cls(name, {place: file for place, file in places if place is not None})

    def below(self, *folders: str) -> dict[PurePosixPath, Path]:
        """Open files in one of these folders."""
        return {path: file for path, file in self.open.items() if len(path.parts) > 1 and path.parts[0] in folders}

    @property
    def examples(self) -> list[Path]:
        """Example images, in the order of their names."""
        found = self.below(*layout.EXAMPLE_FOLDERS)
        return [found[path] for path in sorted(found) if path.suffix.lower() in _IMAGES]

    @property
    def model(self) -> dict[PurePosixPath, Path]:
        """The files of the model itself."""
        pickle = PurePosixPath(layout.PICKLE)
        return self.below(layout.MODEL) or ({pickle: self.open[pickle]} if pickle in self.open else {})


def _files(folder: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    count = 0
    for root, directories, names in os.walk(folder):
        for name in sorted((*directories, *names)):
            path = Path(root) / name
            if path.is_symlink():
                raise InputError("is a link; links are not followed: put the file itself here", path=path)
            if name in names:
                if not path.is_file():
                    raise InputError("is neither a file nor a directory", path=path)
                count += 1
                if count > _MOST_FILES:
                    raise InputError(f"holds more than {_MOST_FILES} files", path=folder)
                yield PurePosixPath(path.relative_to(folder)), path


def file_numbers(model: ModelFiles) -> dict[str, float]:
    """Sizes in bytes, and times of the last change in nanoseconds since 1970."""
    numbers = {"files: number": float(len(model.open))}
    for what, files in (("model", list(model.model.values())), ("examples", model.examples)):
        if files:
            states = [path.stat() for path in files]
            numbers[f"files: bytes of the {what}"] = float(np.mean([state.st_size for state in states]))
            numbers[f"files: time of the {what}"] = float(max(state.st_mtime_ns for state in states))
    if examples := model.examples:
        numbers["files: number of examples"] = float(len(examples))
    return numbers


def settings_words(model: ModelFiles) -> dict[str, str]:
    """What the network's configuration says, and its architecture as ``config.json: model_type``."""
    for place, key in ((PurePosixPath(layout.MODEL, "config.json"), None), (PurePosixPath(nist.REDUCED_CONFIG), "")):
        if place in model.open:
            said = _flat(read_json(model.open[place]))
            if key is None:
                return {f"config.json: {name}": word for name, word in said.items()}
            if "model_architecture" in said:
                return {"config.json: model_type": said["model_architecture"]}
    return {}


def training_words(model: ModelFiles) -> dict[str, str]:
    """What the record of the training says."""
    if model.training is None:
        return {}
    record = read_json(model.training, most_bytes=_MOST_RECORD_BYTES)
    # Digests say nothing, and there are so many that what comes after them would be cut off.
    said = {name: value for name, value in record.items() if name != "files"}
    return {f"training.json: {name}": word for name, word in _flat(said).items()}


def _flat(data: Mapping[str, Any]) -> dict[str, str]:
    """Numbers and texts by their dotted keys; of a list its length, and the values of its last entry."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, Any]] = [(str(key), value) for key, value in data.items()]
    while waiting and len(found) < _MOST_SETTINGS:
        name, value = waiting.pop(0)
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list) and value and isinstance(value[-1], dict):
            found[f"{name}.count"] = str(len(value))
            waiting.append((f"{name}.last", value[-1]))
        else:
            found[name] = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    return found


def weight_numbers(model: ModelFiles) -> dict[str, float]:
    """Root mean square of the weights of each kind of layer, over all layers of the kind; {} without safetensors."""
    files = {path.name: path_on_disk for path, path_on_disk in model.model.items()}
    if SINGLE not in files and INDEX not in files:
        return {}
    squares: dict[str, float] = {}
    elements: dict[str, int] = {}
    steps: list[float] = []
    weights = Weights.open(files.get(SINGLE, files.get(INDEX, Path())).parent)
    for name, file in weights.places.items():
        info = file.tensors[name]
        if name.endswith(_STEPS) and info.dtype == "I64" and info.end - info.begin == 8:
            steps.append(float(np.frombuffer(b"".join(file.raw(name)), dtype="<i8")[0]))
        elif info.dtype in FLOATS:
            kind = _kind(name, len(info.shape))
            with np.errstate(over="ignore", invalid="ignore"):
                for values in _values(file, name):
                    squares[kind] = squares.get(kind, 0.0) + float(np.square(values).sum())
                    elements[kind] = elements.get(kind, 0) + values.size
    numbers = {f"weights: {kind}": float(np.sqrt(squares[kind] / elements[kind])) for kind in squares}
    if steps:
        numbers["weights: steps that normalisation counted"] = max(steps)
    return {name: value for name, value in numbers.items() if np.isfinite(value)}


def _kind(name: str, dimensions: int) -> str:
    last = name.rpartition(".")[2]
    if last in _RUNNING:
        return last.replace("_", " ")
    if _HEAD.search(name):
        return "head" if dimensions > 1 else "bias of the head"
    if last == "bias":
        return "biases"
    return {4: "convolutions", 2: "linear layers", 1: "scales"}.get(dimensions, "other weights")


def _values(file: TensorFile, name: str) -> Iterator[NDArray[np.float64]]:
    """The numbers of a tensor in pieces."""
    kind = file.tensors[name].dtype
    stored = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}[kind]
    width = np.dtype(stored).itemsize
    left = b""
    for piece in file.raw(name):
        content = left + piece if left else piece
        whole = len(content) // width * width
        left = content[whole:]
        numbers = np.frombuffer(content[:whole], dtype=stored)
        if kind == "BF16":  # the upper half of a float32
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        yield numbers.astype(np.float64)


def image_numbers(paths: Sequence[Path]) -> dict[str, float]:
    """Means over a model's example images of what is simple to see: brightness, contrast, colours, edges; {} without.

    Of more than 64 images, 64 spread evenly over them are looked at. Values run from 0 to 255.

    Raises:
        InputError: one is no image, or a huge one.
    """
    from PIL import Image, UnidentifiedImageError

    found = []
    for path in _evenly(paths):
        if path.stat().st_size > _MOST_IMAGE_BYTES:
            raise InputError("is larger than 16 MiB", path=path)
        try:
            with Image.open(path, formats=["PNG", "JPEG", "BMP"]) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise InputError(f"has {image.width} × {image.height} pixels, more than can be meant", path=path)
                pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
            raise InputError(f"is not an image: {error}", path=path) from None
        found.append(_pixel_numbers(pixels))
    return _means(found)


def numbers_of_drawn(images: NDArray[np.uint8]) -> dict[str, float]:
    """The same of images in memory, RGB, shape ``(n, height, width, 3)``."""
    return _means([_pixel_numbers(images[i].astype(np.float64)) for i in _evenly(range(len(images)))])


def _evenly(of: Sequence[_T]) -> list[_T]:
    """At most 64 of these, spread evenly over them."""
    count = min(len(of), _MOST_IMAGES)
    return [of[i * len(of) // count] for i in range(count)]


def _means(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([numbers[name] for numbers in found])) for name in found[0]} if found else {}


def _pixel_numbers(pixels: NDArray[np.float64]) -> dict[str, float]:
    """Of one image, shape ``(height, width, 3)``, RGB from 0 to 255."""
    grey = pixels.mean(axis=2)
    across, down = np.diff(grey, axis=1), np.diff(grey, axis=0)
    return {
        "images: brightness": float(grey.mean()),
        "images: deviation": float(grey.std()),
        "images: red": float((pixels[..., 0] - grey).mean()),
        "images: blue": float((pixels[..., 2] - grey).mean()),
        "images: saturation": float((pixels.max(axis=2) - pixels.min(axis=2)).mean()),
        "images: edges": float(np.mean([np.abs(step).mean() for step in (across, down) if step.size] or [0.0])),
        "images: pixels": float(grey.size),
    }
