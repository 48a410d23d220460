"""Weights of full models: found without being read, and refused where index and shards disagree."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from palladion.cli import app
from palladion.errors import InputError
from palladion.models import tensor_files
from palladion.models.description import describe_directory
from palladion.models.tensor_files import TensorFile, as_bytes, file_sha256, write_tensors
from palladion.models.weights import INDEX, Weights
from tests.models.small_adapters import Q, lora, pair
from tests.models.tiny_llama import write_base

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.tensor(7)}


def sharded(directory: Path) -> Path:
    directory.mkdir()
    save_file({"a": TENSORS["a"]}, directory / "model-00001-of-00002.safetensors")
    save_file({"b": TENSORS["b"], "c": TENSORS["c"]}, directory / "model-00002-of-00002.safetensors")
    places = {"a": "model-00001-of-00002.safetensors"} | dict.fromkeys("bc", "model-00002-of-00002.safetensors")
    (directory / INDEX).write_text(json.dumps({"metadata": {"total_size": 40}, "weight_map": places}))
    (directory / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    return directory


def edit_index(directory: Path, **places: str | None) -> None:
    index = json.loads((directory / INDEX).read_text())
    for name, place in places.items():
        index["weight_map"].pop(name, None)
        if place is not None:
            index["weight_map"][name] = place
    (directory / INDEX).write_text(json.dumps(index))


def test_tensors_are_found_in_their_shards(tmp_path: Path) -> None:
    weights = Weights.open(sharded(tmp_path / "m"))
    assert {name: file.path.name[:11] for name, file in weights.places.items()} == {
        "a": "model-00001",
        "b": "model-00002",
        "c": "model-00002",
    }
    assert weights.parameters == 11
    assert weights.dtypes == {"F32": 6, "BF16": 4, "I64": 1}
    for name, tensor in TENSORS.items():
        assert torch.equal(weights.places[name].read(name), tensor)


def test_a_model_of_transformers_is_read_as_it_stands(tmp_path: Path) -> None:
    directory = write_base(tmp_path / "m", shards=True, tokenizer=False)
    weights = Weights.open(directory)
    assert len(weights.shards) > 1
    for file in weights.shards:
        for name, tensor in load_file(file.path).items():
            assert torch.equal(weights.places[name].read(name), tensor)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]),
            st.lists(st.integers(0, 5), max_size=3),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 40),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_in_pieces_is_what_the_library_reads(
    tmp_path: Path, kinds: list[tuple[torch.dtype, list[int]]], size: int
) -> None:
    tensors = {f"t{i}": (torch.randn(shape) * 5).to(dtype) for i, (dtype, shape) in enumerate(kinds)}
    save_file(tensors, tmp_path / "in.safetensors")
    file = TensorFile(tmp_path / "in.safetensors")
    types = {name: (file.tensors[name].dtype, file.tensors[name].shape) for name in tensors}
    write_tensors(tmp_path / "out.safetensors", types, lambda name: (as_bytes(b) for _, b in file.blocks(name, size)))
    found = load_file(tmp_path / "out.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    write_tensors(tmp_path / "out.safetensors", types, file.raw)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(tmp_path / "out.safetensors").items())


def test_pieces_and_rows_are_those_of_the_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.arange(35.0).reshape(7, 5).to(torch.bfloat16)
    save_file({"w": tensor}, tmp_path / "m.safetensors")
    file = TensorFile(tmp_path / "m.safetensors")
    assert torch.equal(file.read("w", 2, 6), tensor[2:6])
    firsts = [(first, block.shape[0]) for first, block in file.blocks("w", 30)]
    assert firsts == [(0, 3), (3, 3), (6, 1)]
    monkeypatch.setattr(tensor_files, "PIECE_ELEMENTS", 4)
    pieces = list(file.pieces("w"))
    assert [piece.numel() for piece in pieces] == [4] * 8 + [3]
    assert torch.equal(torch.cat(pieces), tensor.reshape(-1))


def test_a_digest_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "f").write_bytes(content)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_every_disagreement_of_index_and_shards_is_told(tmp_path: Path) -> None:
    directory = sharded(tmp_path / "m")
    edit_index(directory, a="model-00002-of-00002.safetensors", d="model-00003-of-00003.safetensors")
    with pytest.raises(InputError) as caught:
        Weights.open(directory)
    faults = str(caught.value).split("\n")
    assert len(faults) == 3
    assert "model-00001-of-00002.safetensors: is not in model.safetensors.index.json" in faults[0]
    assert "model-00003-of-00003.safetensors: is missing" in faults[1]
    assert "model-00002-of-00002.safetensors: lacks a, which" in faults[2]


def test_a_tensor_that_the_index_does_not_name_is_told(tmp_path: Path) -> None:
    directory = sharded(tmp_path / "m")
    edit_index(directory, b=None)
    with pytest.raises(InputError, match=r"holds b, which model\.safetensors\.index\.json does not place there"):
        Weights.open(directory)


@pytest.mark.parametrize("place", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "", ".safetensors", 3])
def test_shards_are_files_of_the_directory(tmp_path: Path, place: str) -> None:
    directory = sharded(tmp_path / "m")
    edit_index(directory, a=place)
    with pytest.raises(InputError, match="which is no name of a shard"):
        Weights.open(directory)


def test_a_shard_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    directory = sharded(tmp_path / "m")
    shard = directory / "model-00001-of-00002.safetensors"
    shard.rename(tmp_path / "secret.safetensors")
    shard.symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(InputError, match="leads out"):
        Weights.open(directory)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": []}', '{"weight_map": {}}', "[]", "[" * 100_000])
def test_an_index_that_is_none_is_refused(tmp_path: Path, index: str) -> None:
    directory = sharded(tmp_path / "m")
    (directory / INDEX).write_text(index)
    with pytest.raises(InputError, match=INDEX):
        Weights.open(directory)


def test_pickles_and_two_models_in_one_folder_are_refused(tmp_path: Path) -> None:
    directory = sharded(tmp_path / "m")
    save_file(TENSORS, directory / "model.safetensors")
    with pytest.raises(InputError, match="holds both"):
        Weights.open(directory)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no weights"):
        Weights.open(empty)
    (empty / "pytorch_model-00001-of-00002.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="as a pickle"):
        Weights.open(empty)


def test_a_type_that_torch_lacks_is_told_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    header = json.dumps({"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(InputError, match="type 'F4', which cannot be read"):
        TensorFile(path).read("w")


def test_a_directory_is_described_without_torch(tmp_path: Path) -> None:
    directory = write_base(tmp_path / "m", tokenizer=False)
    lora(tmp_path / "a", {Q: pair(2, 32, 32)})
    code = (
        "import sys; from pathlib import Path; from palladion.models.description import describe_directory as d; "
        f"print(d(Path({str(directory)!r})), d(Path({str(tmp_path / 'a')!r}), base=Path({str(directory)!r}))); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_model_is_described(tmp_path: Path) -> None:
    directory = write_base(tmp_path / "m", shards=True, layers=1)
    found = describe_directory(directory)
    assert found["kind"] == "model"
    assert found["faults"] == []
    assert found["architecture"] == "LlamaForCausalLM"
    assert found["hidden_size"] == 32
    assert found["parameters"] == sum(
        t.numel() for path in directory.glob("*.safetensors") for t in load_file(path).values()
    )
    assert [shard["file"] for shard in found["shards"]] == sorted(p.name for p in directory.glob("model-*.safetensors"))
    (directory / "config.json").write_text('{"auto_map": {}, "architectures": "?", "hidden_size": true}')
    (directory / found["shards"][0]["file"]).unlink()
    found = describe_directory(directory)
    assert found["architecture"] is None
    assert len(found["faults"]) == 2
    assert "hidden_size" not in found


def test_the_command_tells_what_a_model_is_beside_the_verdicts(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", tokenizer=False)
    adapter = lora(tmp_path / "adapter", {Q: pair(2, 32, 32)}, saved={"score.weight": torch.ones(3, 32)})
    run = CliRunner().invoke(app, ["inspect", str(base), str(adapter), "--json", "--hash", "--base", str(base)])
    assert run.exit_code == 0
    report = json.loads(run.stdout)
    assert [file["verdict"] for file in report["files"]] == ["safe", "safe"]
    assert report["files"][0]["sha256"] == hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    assert [model["kind"] for model in report["models"]] == ["model", "adapter"]
    described = report["models"][1]
    assert described["fits_base"] is True
    assert described["ranks"] == [2]
    assert described["scalings"] == [2.0]
    assert described["base"] == "someone/base"
    assert described["saved"] == {"score.weight": [3, 32]}
    shown = CliRunner().invoke(app, ["inspect", str(adapter), "--base", str(base)]).stdout
    assert "LoRA adapter of someone/base, CAUSAL_LM, rank 2, scale 2, 1 modules (q_proj)" in shown
    assert "fits the base" in shown


def test_the_command_fails_where_an_adapter_does_not_fit(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", tokenizer=False)
    adapter = lora(tmp_path / "adapter", {Q: pair(2, 31, 32), "model.layers.9.x": pair(2, 1, 1)})
    run = CliRunner().invoke(app, ["inspect", str(adapter), "--base", str(base)])
    assert run.exit_code == 1
    assert "q_proj.weight is of shape 32 × 32 in the base; the adapter needs 32 × 31" in run.stdout
    assert "the base has no tensor model.layers.9.x.weight" in run.stdout


def test_files_alone_are_reported_as_before(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    run = CliRunner().invoke(app, ["inspect", str(tmp_path / "w.safetensors"), "--json"])
    assert json.loads(run.stdout)["files"] == [
        {"file": str(tmp_path / "w.safetensors"), "form": "safetensors", "verdict": "safe", "findings": []}
    ]
