"""Model files of strangers: opened as data, refused where they are more than that."""

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from palladion.errors import InputError
from palladion.models.image_classifier import load_classifier, load_examples, load_shown_examples
from palladion.models.safetensors_header import TensorInfo, read_header


def _safetensors(path: Path, header: object, data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def test_a_header_is_read_without_the_tensors(tmp_path: Path) -> None:
    path = _safetensors(tmp_path / "a.safetensors", {"w": GOOD, "__metadata__": {"format": "pt"}}, bytes(8))
    assert read_header(path) == {"w": TensorInfo("F32", (2,), 0, 8)}


def test_headers_agree_with_the_library(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "a": np.zeros((3, 2), np.float32),
        "b": np.ones(5, np.int64),
        "c": np.zeros((), np.float16),
    }
    safetensors.save_file(tensors, tmp_path / "a.safetensors")
    header = read_header(tmp_path / "a.safetensors")
    assert {name: info.shape for name, info in header.items()} == {name: array.shape for name, array in tensors.items()}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"w": GOOD}, bytes(7)),
        ({"w": GOOD}, bytes(9)),
        ({"w": GOOD | {"shape": [3]}}, bytes(8)),
        ({"w": GOOD | {"shape": [-2]}}, bytes(8)),
        ({"w": GOOD | {"shape": [True, 2]}}, bytes(8)),
        ({"w": GOOD | {"data_offsets": [8, 0]}}, bytes(8)),
        ({"w": GOOD | {"data_offsets": [0]}}, bytes(8)),
        ({"w": GOOD, "v": GOOD}, bytes(8)),
        ({"w": "text"}, b""),
        ([], b""),
    ],
)
def test_headers_that_contradict_the_file_are_refused(tmp_path: Path, header: object, data: bytes) -> None:
    with pytest.raises(InputError):
        read_header(_safetensors(tmp_path / "a.safetensors", header, data))


@given(st.binary(max_size=200))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_header_or_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        read_header(path)


def _image(path: Path, side: int = 8) -> None:
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(path)


def test_examples_come_in_the_order_of_classes_and_numbers(tmp_path: Path) -> None:
    for label, number in ((1, 10), (0, 0), (1, 2), (0, 11)):
        _image(tmp_path / f"class_{label}_example_{number}.png")
    (tmp_path / "README.txt").write_text("passed over")
    examples = load_examples(tmp_path)
    assert examples.labels.tolist() == [0, 0, 1, 1]
    assert examples.images.shape == (4, 8, 8, 3)


def test_examples_of_several_sizes_are_refused(tmp_path: Path) -> None:
    _image(tmp_path / "class_0_example_0.png", 8)
    _image(tmp_path / "class_0_example_1.png", 9)
    with pytest.raises(InputError, match=r"class_0_example_1.png: has another size"):
        load_examples(tmp_path)


def test_a_link_is_no_example(tmp_path: Path) -> None:
    _image(tmp_path / "elsewhere.png")
    (tmp_path / "class_0_example_0.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match="holds no example images"):
        load_examples(tmp_path)


def test_another_format_under_the_name_of_a_png_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "class_0_example_0.png")
    with pytest.raises(InputError, match="is not a PNG image"):
        load_examples(tmp_path)


@pytest.mark.parametrize(
    ("processor", "side"),
    [
        (None, 8),
        ({"do_center_crop": False, "crop_size": 4}, 8),
        ({"do_center_crop": True, "crop_size": {"height": 4, "width": 4}}, 4),
        ({"do_center_crop": True, "crop_size": 6}, 6),
    ],
)
def test_examples_are_cut_to_what_the_network_is_shown(tmp_path: Path, processor: object, side: int) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[4 - side // 2 : 4 + side // 2, 4 - side // 2 : 4 + side // 2] = 255
    Image.fromarray(pixels).save(tmp_path / "class_0_example_0.png")
    if processor is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    shown = load_shown_examples(tmp_path, tmp_path)
    assert shown.images.shape == (1, side, side, 3)
    assert shown.images.min() == 255


@pytest.mark.parametrize("size", [9, 0, -4, 4.0, True, "4", None, {"height": 4}, {"height": 4, "width": 9}, [4, 4]])
def test_a_middle_that_the_images_do_not_have_is_refused(tmp_path: Path, size: object) -> None:
    _image(tmp_path / "class_0_example_0.png")
    processor = {"do_center_crop": True, "crop_size": size}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(InputError, match=r"preprocessor_config.json: cuts .* out of images of 8 × 8 pixels"):
        load_shown_examples(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "cannot be read as JSON"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "names no model_type"),
        ('{"model_type": "resnet", "auto_map": {"AutoConfig": "evil.Evil"}}', "code of its own"),
        ('{"model_type": "resnet"}', r"model\.safetensors: is missing; pickled weights are not opened"),
    ],
)
def test_directories_that_are_no_plain_classifier_are_refused(tmp_path: Path, config: str | None, message: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match=message):
        load_classifier(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["no-such-model", "resnet", "llama"])
def test_what_transformers_cannot_open_is_an_input_error(tmp_path: Path, model_type: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    _safetensors(tmp_path / "model.safetensors", {"w": GOOD}, bytes(4))
    with pytest.raises(InputError, match="cannot be opened as an image classifier"):
        load_classifier(tmp_path)
