"""LoRA adapters of strangers: read exactly, or refused with the reason."""

import contextlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.models.adapter_config import AdapterConfig
from palladion.models.adapters import Adapter, is_adapter
from tests.models.small_adapters import DOWN, Q, V, lora, pair
from tests.models.tiny_llama import write_adapter, write_base


def test_the_update_is_the_scaled_product_of_the_factors(tmp_path: Path) -> None:
    a = torch.tensor([[1.0, 2.0, 3.0]])
    b = torch.tensor([[1.0], [10.0]])
    adapter = Adapter.open(lora(tmp_path / "a", {Q: (a, b)}, lora_alpha=3))
    assert adapter.update(Q).tolist() == [[3.0, 6.0, 9.0], [30.0, 60.0, 90.0]]
    assert adapter.update_rows(Q)(1, 2).tolist() == [[30.0, 60.0, 90.0]]
    assert adapter.weight_shape(Q) == (2, 3)
    assert is_adapter(tmp_path / "a")
    assert not is_adapter(tmp_path)


@pytest.mark.parametrize(
    ("changed", "scaling"),
    [
        ({"lora_alpha": 16}, 4.0),
        ({"lora_alpha": 16, "use_rslora": True}, 8.0),
        ({"lora_alpha": 16, "alpha_pattern": {"q_proj": 2}}, 0.5),
        ({"lora_alpha": 16, "alpha_pattern": {r"^model\.layers\.0\.self_attn\.q_proj": 2}}, 0.5),
        ({"lora_alpha": 16, "alpha_pattern": {"^q_proj": 2}}, 4.0),  # anchored: it names another module
        ({"lora_alpha": 16, "alpha_pattern": {"proj": 2}}, 4.0),  # a part of a name is not its end
        ({"lora_alpha": 16, "alpha_pattern": {"self_attn.q_proj": 8, "q_proj": 2}}, 2.0),  # the first that fits
        ({"r": 7, "rank_pattern": {"q_proj": 4}, "lora_alpha": 16}, 4.0),
    ],
)
def test_scales_follow_the_settings(tmp_path: Path, changed: dict[str, Any], scaling: float) -> None:
    adapter = Adapter.open(lora(tmp_path / "a", {Q: pair(4, 6, 5)}, **changed))
    assert adapter.pairs[Q].scaling == pytest.approx(scaling)


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_updates_are_those_that_peft_computes(tmp_path: Path, rank_stabilised: bool) -> None:
    import peft
    import transformers

    base = write_base(tmp_path / "base", tokenizer=False)
    directory = write_adapter(tmp_path / "adapter", base, rank=3, alpha=5, labels=None)
    config = json.loads((directory / "adapter_config.json").read_text())
    config |= {
        "use_rslora": rank_stabilised,
        "alpha_pattern": {"v_proj": 2, "^model.layers.1.mlp.up_proj": 7},
    }
    (directory / "adapter_config.json").write_text(json.dumps(config))
    adapter = Adapter.open(directory)
    model = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base), str(directory))
    for module in adapter.pairs:
        layer = model.get_base_model().get_submodule(module)
        torch.testing.assert_close(adapter.update(module), layer.get_delta_weight("default"))
    assert len(adapter.pairs) == 14


def test_heads_that_were_trained_in_full_are_told(tmp_path: Path) -> None:
    head = torch.ones(2, 6)
    adapter = Adapter.open(lora(tmp_path / "a", {Q: pair(2, 6, 5)}, saved={"score.weight": head}, task_type="SEQ_CLS"))
    assert adapter.saved == {"score.weight": "base_model.model.score.weight"}
    assert adapter.parameters == 2 * 6 + 5 * 2 + 12
    assert adapter.ranks == (2,)
    assert adapter.dtypes == ("F32",)


def test_an_embedding_s_update_lies_as_its_weight_does(tmp_path: Path) -> None:
    a, b = pair(2, 7, 3)
    names = {
        "base_model.model.model.embed_tokens.lora_embedding_A": a,
        "base_model.model.model.embed_tokens.lora_embedding_B": b,
    }
    adapter = Adapter.open(lora(tmp_path / "a", {}, tensors=names, r=2, lora_alpha=2))
    module = "model.embed_tokens"
    assert adapter.weight_shape(module) == (7, 3)
    torch.testing.assert_close(adapter.update_rows(module)(2, 5), (b @ a).T[2:5])


def test_the_base_is_found_from_the_adapter_s_own_folder(tmp_path: Path) -> None:
    (tmp_path / "round" / "base").mkdir(parents=True)
    directory = lora(tmp_path / "round" / "models" / "one", {Q: pair(1, 2, 2)}, base_model_name_or_path="../../base")
    assert Adapter.open(directory).base_directory == (tmp_path / "round" / "base").resolve()
    for number, name in enumerate(["someone/base", "x" * 900, "a\0b", None]):
        other = lora(tmp_path / str(number), {Q: pair(1, 2, 2)}, base_model_name_or_path=name)
        assert Adapter.open(other).base_directory is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"peft_type": "IA3"}, "is of the kind IA3"),
        ({"peft_type": None}, "only LORA"),
        ({"use_dora": True}, "uses DoRA; only plain LoRA"),
        ({"use_dora": True, "lora_bias": True}, "uses DoRA, biases of lora_B"),
        ({"bias": "lora_only"}, "trained biases"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4, which changes the base"),
        ({"init_lora_weights": "loftq"}, "loftq"),
        ({"trainable_token_indices": [1]}, "trainable tokens"),
        ({"layer_replication": [[0, 1]]}, "replicated layers"),
        ({"r": 0}, "whole numbers from 1"),
        ({"r": True}, "whole numbers from 1"),
        ({"r": 3}, "of rank 2; adapter_config.json says 3"),
        ({"lora_alpha": "16"}, "lora_alpha must hold numbers"),
        ({"lora_alpha": 1e300}, "lora_alpha must hold numbers"),
        ({"use_rslora": 1}, "use_rslora must be true or false"),
        ({"rank_pattern": [1]}, "rank_pattern must be an object"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "no other regular expressions"),
        ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern must hold numbers"),
        ({"base_model_name_or_path": "x" * 5000}, "at most 1000 characters"),
        ({"target_modules": [1]}, "target_modules must be a list of names"),
    ],
)
def test_settings_that_are_not_plain_lora_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    directory = lora(tmp_path / "a", {Q: pair(2, 4, 4)}, **changed)
    with pytest.raises(InputError, match=message) as caught:
        Adapter.open(directory)
    assert "adapter_" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("model.layers.0.q_proj.weight", (2, 2), "begin with base_model.model."),
        (f"base_model.model.{V}.lora_A.weight", (2, 2), "has but one of its two factors"),
        (f"base_model.model.{V}.lora_magnitude_vector.weight", (2,), "no part of a plain LoRA adapter"),
        (f"base_model.model.{V}.lora_B.bias", (2,), "no part of a plain LoRA adapter"),
        ("base_model.model." + "x" * 600, (2,), "holds the tensor"),
        ("base_model.model.\x1b[31m.lora_A.weight", (2, 2), "x1b"),
    ],
)
def test_tensors_that_are_not_plain_lora_are_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...], message: str
) -> None:
    directory = lora(tmp_path / "a", {Q: pair(2, 4, 4)}, tensors={name: torch.zeros(shape)})
    with pytest.raises(InputError, match=message) as caught:
        Adapter.open(directory)
    assert "\x1b" not in str(caught.value)


def test_a_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    saved = {"model.embed.weight": torch.ones(2), "model.embed.base_layer.weight": torch.ones(2)}
    with pytest.raises(InputError, match=r"'model\.embed\.weight' twice"):
        Adapter.open(lora(tmp_path / "a", {Q: pair(2, 4, 4)}, saved=saved))


def test_factors_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    for number, (a, b) in enumerate([((2, 4), (4, 3)), ((2, 4, 1), (4, 2)), ((0, 4), (4, 0))]):
        directory = lora(tmp_path / str(number), {Q: (torch.zeros(a), torch.zeros(b))}, r=2)
        with pytest.raises(InputError, match="are of the shapes"):
            Adapter.open(directory)


def test_an_update_of_more_elements_than_any_model_s_is_refused(tmp_path: Path) -> None:
    wide = torch.zeros(1, 70_000), torch.zeros(70_000, 1)
    with pytest.raises(InputError, match="would have 4,900,000,000 elements"):
        Adapter.open(lora(tmp_path / "a", {Q: wide}))


def test_whole_numbers_are_no_factors(tmp_path: Path) -> None:
    whole = torch.zeros(2, 4, dtype=torch.int8), torch.zeros(4, 2, dtype=torch.int8)
    with pytest.raises(InputError, match="of the type I8"):
        Adapter.open(lora(tmp_path / "a", {Q: whole}))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_found_when_they_are_read(tmp_path: Path, value: float) -> None:
    a, b = pair(2, 4, 4)
    a[1, 2] = value
    adapter = Adapter.open(lora(tmp_path / "a", {Q: (a, b), DOWN: pair(2, 4, 4)}))
    adapter.update(DOWN)
    with pytest.raises(InputError, match=r"q_proj.lora_A.weight' holds numbers that are not finite"):
        adapter.update(Q)


def test_pickled_weights_are_refused_with_advice(tmp_path: Path) -> None:
    directory = lora(tmp_path / "a", {Q: pair(2, 4, 4)})
    (directory / "adapter_model.safetensors").rename(directory / "adapter_model.bin")
    with pytest.raises(InputError, match=r"as a pickle \(adapter_model.bin\).*palladion inspect"):
        Adapter.open(directory)
    (directory / "adapter_model.bin").unlink()
    with pytest.raises(InputError, match=r"holds no adapter_model\.safetensors"):
        Adapter.open(directory)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"peft_type": "LORA", "lora_alpha": NaN}',
        "\xff",
        '{"a":"' + "x" * (1 << 20) + '"}',
    ],
)
def test_settings_that_are_no_settings_are_refused(tmp_path: Path, content: str) -> None:
    directory = lora(tmp_path / "a", {Q: pair(2, 4, 4)})
    (directory / "adapter_config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        Adapter.open(directory)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KEYS = [
    *AdapterConfig.__slots__,
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "bias",
    "init_lora_weights",
    "use_dora",
]


@given(st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=5))
@settings(max_examples=150)
def test_any_settings_are_read_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, Any]
) -> None:
    directory = lora(tmp_path_factory.mktemp("any") / "a", {Q: pair(2, 4, 4)}, **drawn)
    with contextlib.suppress(InputError):
        adapter = Adapter.open(directory)
        assert math.isfinite(adapter.pairs[Q].scaling)


def test_weights_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    directory = lora(tmp_path / "a", {Q: pair(2, 4, 4)})
    weights = directory / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="is cut off"):
        Adapter.open(directory)
    weights.write_bytes(struct.pack("<Q", 1 << 60))
    with pytest.raises(InputError, match="is cut off"):
        Adapter.open(directory)


def test_links_that_lead_out_are_refused_and_a_cache_s_own_are_followed(tmp_path: Path) -> None:
    elsewhere = lora(tmp_path / "elsewhere", {Q: pair(2, 4, 4)})
    directory = lora(tmp_path / "a", {Q: pair(2, 4, 4)})
    (directory / "adapter_config.json").unlink()
    (directory / "adapter_config.json").symlink_to(elsewhere / "adapter_config.json")
    with pytest.raises(InputError, match="leads out of the model's directory"):
        Adapter.open(directory)

    snapshot = tmp_path / "models--x" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--x" / "blobs").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (elsewhere / name).rename(tmp_path / "models--x" / "blobs" / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    assert list(Adapter.open(snapshot).pairs) == [Q]


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such directory"):
        Adapter.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is this an adapter"):
        Adapter.open(tmp_path)
    with pytest.raises(InputError, match="holds no tensors"):
        Adapter.open(lora(tmp_path / "a", {}))
