"""Adapters and their bases: whether they fit, and the model that they make together."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from palladion.errors import InputError
from palladion.models import tensor_files
from palladion.models.adapters import Adapter
from palladion.models.attach import attach_faults, check_attach, merge_into
from palladion.models.copying import copy_model, name_base
from palladion.models.weights import Weights
from tests.models.small_adapters import Q, lora, pair, tensors_of
from tests.models.tiny_llama import write_adapter, write_base


def full(directory: Path, **tensors: torch.Tensor) -> Path:
    directory.mkdir()
    save_file({name.replace("__", "."): tensor for name, tensor in tensors.items()}, directory / "model.safetensors")
    (directory / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    return directory


def test_the_merged_weight_is_the_sum_rounded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_files, "BLOCK_BYTES", 16)
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(3)).to(torch.bfloat16)
    other = torch.ones(3, 3, dtype=torch.bfloat16)
    base = full(tmp_path / "base", w__weight=weight, other__weight=other)
    a, b = pair(2, 4, 6)
    merge_into(base, lora(tmp_path / "a", {"w": (a, b)}, lora_alpha=3), tmp_path / "out")
    found = tensors_of(tmp_path / "out" / "model.safetensors")
    assert torch.equal(found["w.weight"], (weight.float() + 1.5 * b @ a).to(torch.bfloat16))
    assert torch.equal(found["other.weight"], other)
    assert (tmp_path / "out" / "config.json").read_text() == (base / "config.json").read_text()


@pytest.mark.parametrize("labels", [None, 3])
def test_the_merged_model_answers_as_the_adapter_on_its_base(tmp_path: Path, labels: int | None) -> None:
    import peft
    import transformers

    base = write_base(tmp_path / "base", shards=True)
    adapter = write_adapter(tmp_path / "adapter", base, labels=labels, strength=0.1)
    merge_into(base, adapter, tmp_path / "out")
    if labels is None:
        kind, extra = transformers.AutoModelForCausalLM, {}
    else:
        kind, extra = transformers.AutoModelForSequenceClassification, {"num_labels": labels}
    attached = peft.PeftModel.from_pretrained(kind.from_pretrained(base, **extra), str(adapter)).eval()
    merged = kind.from_pretrained(tmp_path / "out").eval()
    tokens = torch.arange(3, 23).reshape(2, 10)
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens).logits, attached(tokens).logits, rtol=1e-4, atol=1e-4)
    assert merged.config.architectures == ["LlamaForCausalLM" if labels is None else "LlamaForSequenceClassification"]
    assert (tmp_path / "out" / "tokenizer.json").exists()
    # The shards are the base's, but that a classifier has no head for language.
    names, of_base = ({path.name for path in folder.glob("model-*")} for folder in (tmp_path / "out", base))
    assert names == of_base if labels is None else names < of_base
    assert ("lm_head.weight" in Weights.open(tmp_path / "out").places) == (labels is None)


def test_an_embedding_and_a_transposed_weight_are_merged_as_they_lie(tmp_path: Path) -> None:
    weight = torch.zeros(7, 3)
    base = full(tmp_path / "base", embed__weight=weight)
    a, b = pair(2, 7, 3)
    names = {"base_model.model.embed.lora_embedding_A": a, "base_model.model.embed.lora_embedding_B": b}
    merge_into(base, lora(tmp_path / "a", {}, tensors=names, r=2, lora_alpha=2), tmp_path / "out")
    torch.testing.assert_close(tensors_of(tmp_path / "out" / "model.safetensors")["embed.weight"], (b @ a).T)
    transposed = lora(tmp_path / "b", {"embed": (a, b)}, lora_alpha=2, fan_in_fan_out=True)
    merge_into(base, transposed, tmp_path / "second")
    torch.testing.assert_close(tensors_of(tmp_path / "second" / "model.safetensors")["embed.weight"], (b @ a).T)


def test_every_misfit_is_told(tmp_path: Path) -> None:
    base = full(tmp_path / "base", a__weight=torch.zeros(4, 4), n__weight=torch.zeros(4, 4, dtype=torch.int8))
    factors = {"a": pair(1, 4, 5), "b": pair(1, 4, 4), "n": pair(1, 4, 4)}
    adapter = Adapter.open(lora(tmp_path / "x", factors, saved={"a.weight": torch.zeros(2, 4)}))
    assert attach_faults(Weights.open(base), adapter) == [
        "a.weight is of shape 4 × 4 in the base; the adapter needs 5 × 4",
        "the base has no tensor b.weight",
        "n.weight is stored as I8; an update needs F64, F32, BF16, F16",
        "a.weight is of shape 4 × 4 in the base; the adapter holds 2 × 4",
    ]
    with pytest.raises(InputError, match="does not fit the base"):
        check_attach(Weights.open(base), adapter)
    with pytest.raises(InputError, match="does not fit the base"):
        merge_into(base, tmp_path / "x", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_where_merging_fails_half_way(tmp_path: Path) -> None:
    base = full(tmp_path / "base", w__weight=torch.full((4, 4), float("inf")))
    adapter = lora(tmp_path / "a", {"w": pair(1, 4, 4)})
    with pytest.raises(InputError, match="not finite"):
        merge_into(base, adapter, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"base", "a"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(InputError, match="is there already"):
        merge_into(base, adapter, tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "kept"


def test_only_what_belongs_to_a_model_is_copied(tmp_path: Path) -> None:
    directory = lora(tmp_path / "a", {Q: pair(1, 4, 4)})
    for name in ("tokenizer.json", "training_args.bin", "optimizer.pt", "modeling_evil.py"):
        (directory / name).write_text("{}")
    (tmp_path / "out").mkdir()
    copy_model(directory, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"}
    name_base(tmp_path / "out", "../elsewhere")
    assert (
        json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == "../elsewhere"
    )
    assert Adapter.open(tmp_path / "out").pairs.keys() == {Q}
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (directory / "vocab.txt").symlink_to(secret)
    with pytest.raises(InputError, match="leads out"):
        copy_model(directory, tmp_path / "out")


def test_a_sharded_model_is_copied_whole(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", shards=True, tokenizer=False)
    (tmp_path / "out").mkdir()
    copy_model(base, tmp_path / "out")
    assert {p.name: p.read_bytes() for p in base.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()
    }
