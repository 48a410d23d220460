"""torchvision's networks are kept as data, and opened by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from palladion.errors import InputError
from palladion.models.image_classifier import load_classifier
from palladion.models.vision_networks import NETWORKS, load_vision_network, network_name, new_vision_network


def _installed() -> bool:
    try:
        new_vision_network("squeezenetv1_1", 2)
    except InputError:
        return False
    return True


needs_torchvision = pytest.mark.skipif(not _installed(), reason="torchvision is not installed for this torch")


def test_there_are_nist_s_23_networks() -> None:
    assert len(NETWORKS) == 23
    assert len(set(NETWORKS.values())) == 23


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="no network 'alexnet' here; there are resnet18"):
        new_vision_network("alexnet", 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architectures": ["alexnet"], "num_labels": 5}, "names no network of torchvision"),
        ({"architectures": "resnet18", "num_labels": 5}, "names no network of torchvision"),
        ({"architectures": [], "num_labels": 5}, "names no network of torchvision"),
        ({"architectures": [{"a": 1}], "num_labels": 5}, "names no network of torchvision"),
        ({"architectures": ["resnet18"]}, "num_labels must be a whole number"),
        ({"architectures": ["resnet18"], "num_labels": 10**9}, "num_labels must be a whole number"),
        ({"architectures": ["resnet18"], "num_labels": True}, "num_labels must be a whole number"),
    ],
)
def test_a_configuration_that_names_none_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "torchvision"} | settings))
    with pytest.raises(InputError, match=message):
        load_classifier(tmp_path)


def test_the_name_is_that_of_the_round_whichever_library_has_the_network() -> None:
    assert network_name({"model_type": "resnet"}) == "resnet"
    assert network_name({"model_type": "torchvision", "architectures": ["vgg11bn"]}) == "vgg11bn"
    assert network_name({"model_type": "torchvision"}) is None


@needs_torchvision
@pytest.mark.parametrize("name", ["resnet18", "googlenet", "squeezenetv1_1", "shufflenet1_0", "mobilenetv2"])
def test_a_network_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    import torch

    torch.manual_seed(1)
    network = new_vision_network(name, 7).eval()
    network.save_pretrained(tmp_path)  # type: ignore[operator]
    opened = load_classifier(tmp_path)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = network(images).logits, opened(images).logits
    assert expected.shape == (2, 7)
    assert torch.equal(expected, found)


@needs_torchvision
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    new_vision_network("squeezenetv1_1", 7).save_pretrained(tmp_path)  # type: ignore[operator]
    settings = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["resnet18"]}
    with pytest.raises(InputError, match="does not hold the weights of resnet18"):
        load_vision_network(tmp_path, settings)
