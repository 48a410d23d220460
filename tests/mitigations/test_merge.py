"""The mean of updates: exact, in any order, of any ranks; and its best approximation of a lower rank."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from palladion.errors import InputError
from palladion.mitigations.contract import Context
from palladion.mitigations.mean_of_adapters import compress, write_mean_of_adapters
from palladion.mitigations.mean_of_weights import write_mean_of_weights
from palladion.mitigations.merge import MeanMerge
from palladion.models import tensor_files
from palladion.models.adapters import Adapter
from palladion.models.weights import Weights
from tests.models.small_adapters import DOWN, Q, V, lora, pair, tensors_of
from tests.models.tiny_llama import write_adapter, write_base

SHAPES = {Q: (6, 5), V: (4, 7), DOWN: (9, 3)}  # inputs, outputs


def merged(folder: Path, adapters: list[Path], **options: Any) -> Adapter:
    out = folder / "merged"
    out.mkdir()
    write_mean_of_adapters([Adapter.open(path) for path in adapters], out, **options)
    return Adapter.open(out)


def mean_update(adapters: list[Path], module: str) -> torch.Tensor:
    """By the definition, in float64, from the tensors as a library reads them."""
    inputs, outputs = SHAPES[module]
    total = torch.zeros(outputs, inputs, dtype=torch.float64)
    for path in adapters:
        tensors = tensors_of(path / "adapter_model.safetensors")
        config = json.loads((path / "adapter_config.json").read_text())
        name = f"base_model.model.{module}.lora_"
        if f"{name}A.weight" in tensors:
            a, b = tensors[f"{name}A.weight"].double(), tensors[f"{name}B.weight"].double()
            scale = config["lora_alpha"] / (len(a) ** 0.5 if config.get("use_rslora") else len(a))
            total += scale * b @ a
    return total / len(adapters)


@st.composite
def siblings(draw: st.DrawFn) -> list[tuple[dict[str, int], int, bool]]:
    """Of each adapter: the rank of each module that it has, its alpha, and whether it is rank-stabilised."""
    one = st.tuples(
        st.dictionaries(st.sampled_from(sorted(SHAPES)), st.integers(1, 4), min_size=1),
        st.integers(1, 32),
        st.booleans(),
    )
    return draw(st.lists(one, min_size=2, max_size=4))


def written(folder: Path, drawn: list[tuple[dict[str, int], int, bool]], dtype: torch.dtype) -> list[Path]:
    paths = []
    for number, (ranks, alpha, stabilised) in enumerate(drawn):
        factors = {}
        for place, (module, rank) in enumerate(ranks.items()):
            a, b = pair(rank, *SHAPES[module], seed=10 * number + place)
            factors[module] = (a.to(dtype), b.to(dtype))
        paths.append(lora(folder / f"a{number}", factors, lora_alpha=alpha, use_rslora=stabilised))
    return paths


@given(siblings(), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_merged_update_is_the_mean_of_the_updates(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[dict[str, int], int, bool]], dtype: torch.dtype
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    paths = written(folder, drawn, dtype)
    result = merged(folder, paths)
    assert set(result.pairs) == set().union(*(ranks for ranks, _, _ in drawn))
    for module, found in result.pairs.items():
        assert found.rank == sum(ranks.get(module, 0) for ranks, _, _ in drawn)
        torch.testing.assert_close(
            result.update(module).double(), mean_update(paths, module), rtol=1e-5, atol=1e-5 * drawn[0][1]
        )


@given(siblings())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_the_models_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[dict[str, int], int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    paths = written(folder, drawn, torch.float32)
    one, other = merged(folder, paths), merged(folder / "a0", paths[::-1])
    assert set(one.pairs) == set(other.pairs)
    for module in one.pairs:
        torch.testing.assert_close(one.update(module), other.update(module), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_copies_of_one_adapter_are_that_adapter(tmp_path: Path, count: int) -> None:
    paths = [lora(tmp_path / str(i), {Q: pair(2, 6, 5), V: pair(3, 4, 7)}, lora_alpha=7) for i in range(count)]
    result = merged(tmp_path, paths)
    for module in (Q, V):
        torch.testing.assert_close(result.update(module), Adapter.open(paths[0]).update(module))


def test_factors_of_one_scale_are_kept_bit_for_bit(tmp_path: Path) -> None:
    factors = [{Q: tuple(factor.to(torch.bfloat16) for factor in pair(2, 6, 5, seed))} for seed in (1, 2, 3)]
    paths = [lora(tmp_path / str(i), one, lora_alpha=4) for i, one in enumerate(factors)]  # type: ignore[arg-type]
    result = merged(tmp_path, paths)
    assert result.pairs[Q].scaling == pytest.approx(2 / 3)
    assert (result.config.rank, result.config.alpha) == (6, 4)
    assert result.dtypes == ("BF16",)
    tensors = tensors_of(tmp_path / "merged" / "adapter_model.safetensors")
    assert torch.equal(tensors[result.pairs[Q].a], torch.cat([one[Q][0] for one in factors]))
    assert torch.equal(tensors[result.pairs[Q].b], torch.cat([one[Q][1] for one in factors], dim=1))


def test_the_mean_of_the_factors_is_something_else(tmp_path: Path) -> None:
    # ΔW₁ = 1·1, ΔW₂ = (−1)·(−1): the updates are equal, yet the means of the factors are 0.
    one, other = (torch.full((2, 1, 1), value) for value in (1.0, -1.0))
    paths = [
        lora(tmp_path / "0", {Q: (one[0].clone(), one[1].clone())}),
        lora(tmp_path / "1", {Q: (other[0].clone(), other[1].clone())}),
    ]
    assert merged(tmp_path, paths).update(Q).item() == pytest.approx(2.0)


def test_types_that_differ_become_float32(tmp_path: Path) -> None:
    half = tuple(factor.half() for factor in pair(1, 6, 5))
    paths = [lora(tmp_path / "0", {Q: half}), lora(tmp_path / "1", {Q: pair(1, 6, 5)})]  # type: ignore[dict-item]
    assert merged(tmp_path, paths).dtypes == ("F32",)


def test_heads_are_averaged(tmp_path: Path) -> None:
    heads = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 6.0]])]
    paths = [
        lora(
            tmp_path / str(i),
            {Q: pair(1, 6, 5, i)},
            saved={"score.weight": head},
            modules_to_save=["score"],
            task_type="SEQ_CLS",
        )
        for i, head in enumerate(heads)
    ]
    result = merged(tmp_path, paths)
    tensors = tensors_of(tmp_path / "merged" / "adapter_model.safetensors")
    assert tensors["base_model.model.score.weight"].tolist() == [[2.0, 4.0]]
    assert result.config.modules_to_save == ("score",)
    assert result.config.task_type == "SEQ_CLS"


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 8), st.integers(1, 9), st.integers(0, 10_000))
@settings(max_examples=80)
def test_compression_is_the_truncated_singular_value_decomposition(
    rank: int, inputs: int, outputs: int, wanted: int, seed: int
) -> None:
    a, b = pair(rank, inputs, outputs, seed)
    dense = b.double() @ a.double()
    values = torch.linalg.svdvals(dense)
    told: list[tuple[float, float]] = []
    small_a, small_b = compress(a, b, wanted, lambda kept, whole: told.append((kept, whole)))
    used = min(wanted, rank, inputs, outputs)
    assert small_a.shape == (used, inputs)
    assert small_b.shape == (outputs, used)
    # Eckart and Young: no matrix of this rank is nearer, and the distance is that of the values left out.
    bound = values[used:].square().sum().sqrt()
    torch.testing.assert_close(torch.linalg.norm(dense - small_b @ small_a), bound, rtol=1e-6, atol=1e-9)
    kept, whole = told[0]
    assert whole == pytest.approx(float(dense.square().sum()), rel=1e-9)
    assert kept == pytest.approx(float(values[:used].square().sum()), rel=1e-9)


def test_compression_of_nothing_is_nothing() -> None:
    a, b = compress(torch.zeros(2, 3), torch.zeros(4, 2), 1)
    assert not (b @ a).any()


def test_a_rank_that_suffices_changes_nothing_and_a_lower_one_is_told(tmp_path: Path) -> None:
    paths = [lora(tmp_path / str(i), {Q: pair(2, 6, 5, i), V: pair(1, 4, 7, i)}, lora_alpha=3 + i) for i in range(3)]
    said: list[str] = []
    exact = merged(tmp_path, paths, rank=6, say=said.append)
    assert said == ["rank 6 keeps 100.00 % of the mean update's squared norm"]
    assert {module: pair.rank for module, pair in exact.pairs.items()} == {Q: 5, V: 3}  # 5 outputs; 1 + 1 + 1
    for module in (Q, V):
        torch.testing.assert_close(exact.update(module).double(), mean_update(paths, module), rtol=1e-4, atol=1e-4)
    low = merged(tmp_path / "0", paths, rank=2)
    for module in (Q, V):
        dense = mean_update(paths, module)
        bound = torch.linalg.svdvals(dense)[2:].square().sum().sqrt()
        torch.testing.assert_close(torch.linalg.norm(low.update(module).double() - dense), bound, rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="it must be 1 or more"):
        merged(tmp_path / "1", paths, rank=0)


@pytest.mark.parametrize("labels", [None, 3])
def test_peft_reads_the_merged_adapter_as_the_mean(tmp_path: Path, labels: int | None) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    base = write_base(tmp_path / "base", tokenizer=False)
    kinds = [{"rank": 4, "alpha": 8}, {"rank": 2, "alpha": 3}, {"rank": 4, "alpha": 8, "layers": ["q_proj", "up_proj"]}]
    paths = [
        write_adapter(tmp_path / str(i), base, seed=i, labels=labels, **kind)  # type: ignore[arg-type]
        for i, kind in enumerate(kinds)
    ]

    def whole(adapter: Path) -> dict[str, torch.Tensor]:
        if labels is None:
            network = AutoModelForCausalLM.from_pretrained(base)
        else:
            network = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
        return dict(PeftModel.from_pretrained(network, str(adapter)).merge_and_unload().state_dict())

    every = [whole(path) for path in paths]
    merged(tmp_path, paths)
    found = whole(tmp_path / "merged")
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, torch.stack([one[name] for one in every]).mean(0), rtol=1e-4, atol=1e-5)
    assert ("score.weight" in found) == (labels is not None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model_name_or_path": "someone/other"}, "its base is someone/other, not someone/base.*--base"),
        ({"task_type": "SEQ_CLS"}, "its task is SEQ_CLS, not CAUSAL_LM"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True, not False"),
    ],
)
def test_adapters_that_are_no_siblings_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    paths = [lora(tmp_path / "one", {Q: pair(1, 6, 5)}), lora(tmp_path / "two", {Q: pair(1, 6, 5)}, **change)]
    with pytest.raises(InputError, match=f"two differs from .*one: {message}"):
        merged(tmp_path, paths)


def test_every_difference_is_told(tmp_path: Path) -> None:
    one = lora(tmp_path / "one", {Q: pair(1, 6, 5)}, saved={"score.weight": torch.ones(2, 2)})
    two = lora(tmp_path / "two", {Q: pair(1, 6, 4)}, base_model_name_or_path="else")
    three = lora(tmp_path / "three", {Q: pair(1, 6, 5)}, saved={"score.weight": torch.ones(3, 2)})
    with pytest.raises(InputError) as caught:
        merged(tmp_path, [one, two, three])
    faults = str(caught.value).split("\n")
    assert len(faults) == 4
    assert "trained in full on score.weight" in faults[1]
    assert f"{two} differs from {one}: {Q} is of shape (4, 6), not (5, 6)" in faults[2]
    assert f"{three} differs from {one}: score.weight is of shape (3, 2), not (2, 2)" in faults[3]


def test_a_given_base_stands_for_those_that_the_adapters_name(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", tokenizer=False)
    paths = [
        lora(tmp_path / name, {Q: pair(2, 32, 32)}, base_model_name_or_path=name) for name in ("one", "someone/two")
    ]
    result = merged(tmp_path, paths, base=base)
    assert result.config.base == str(base.resolve())
    misfit = lora(tmp_path / "misfit", {Q: pair(2, 31, 32)}, base_model_name_or_path="one")
    with pytest.raises(InputError, match="misfit: does not fit the base"):
        merged(tmp_path / "one", [paths[0], misfit], base=base)


def full(folder: Path, config: str = '{"model_type": "llama"}', **tensors: torch.Tensor) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(config)
    return folder


def test_full_models_are_averaged_tensor_by_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_files, "PIECE_ELEMENTS", 3)
    steps = torch.arange(4)
    one = full(tmp_path / "0", a=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), b=torch.ones(2).bfloat16(), n=steps)
    two = full(tmp_path / "1", a=torch.tensor([[3.0, 2.0], [1.0, 0.0]]), b=torch.zeros(2).half(), n=steps)
    (tmp_path / "out").mkdir()
    write_mean_of_weights([one, two], tmp_path / "out")
    found = tensors_of(tmp_path / "out" / "model.safetensors")
    assert found["a"].tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert found["b"].tolist() == [0.5, 0.5]
    assert found["b"].dtype == torch.float32
    assert torch.equal(found["n"], steps)


@given(st.integers(2, 6), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]), st.integers(0, 1000))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_copies_of_one_full_model_are_that_model_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, count: int, dtype: torch.dtype, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("full")
    weight = torch.randn(7, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)
    model = full(folder / "m", w=weight)
    (folder / "out").mkdir()
    write_mean_of_weights([model] * count, folder / "out")
    assert torch.equal(tensors_of(folder / "out" / "model.safetensors")["w"], weight)


def test_a_sharded_model_stays_sharded_whatever_the_others_are(tmp_path: Path) -> None:
    one = write_base(tmp_path / "0", shards=True, seed=1)
    two = write_base(tmp_path / "1", seed=2)
    (tmp_path / "out").mkdir()
    write_mean_of_weights([one, two], tmp_path / "out")
    shards = Weights.open(tmp_path / "out")
    assert [file.path.name for file in shards.shards] == [file.path.name for file in Weights.open(one).shards]
    other = tensors_of(two / "model.safetensors")
    for name, file in Weights.open(one).places.items():
        torch.testing.assert_close(shards.places[name].read(name), (file.read(name) + other[name]) / 2)
    assert (tmp_path / "out" / "tokenizer.json").exists()


def test_full_models_that_differ_are_refused(tmp_path: Path) -> None:
    one = full(tmp_path / "0", a=torch.ones(2), n=torch.arange(2), x=torch.ones(1))
    two = full(tmp_path / "1", '{"model_type": "qwen2"}', a=torch.ones(3), n=torch.arange(2) + 1, y=torch.ones(1))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as caught:
        write_mean_of_weights([one, two], tmp_path / "out")
    faults = [fault.removeprefix(f"{two} differs from {one}: ") for fault in str(caught.value).split("\n")]
    assert faults == [
        "model_type is qwen2, not llama",
        "only one of them has the tensor x",
        "only one of them has the tensor y",
        "a is of shape (3,), not (2,)",
        "n holds whole numbers, and others",
    ]
    bad = full(tmp_path / "2", w=torch.tensor([float("nan")]))
    with pytest.raises(InputError, match="not finite"):
        write_mean_of_weights([bad, bad], tmp_path / "out")


def test_the_mitigation_takes_models_of_one_kind(tmp_path: Path) -> None:
    adapter, model = lora(tmp_path / "a", {Q: pair(1, 6, 5)}), full(tmp_path / "m", w=torch.ones(2))
    workspace = tmp_path / "work"
    workspace.mkdir()
    with pytest.raises(InputError, match="models of one kind"):
        MeanMerge().restore(Context((adapter, model), workspace))
    with pytest.raises(InputError, match="a rank is for adapters"):
        MeanMerge(rank=2).restore(Context((model, model), tmp_path))
    product = MeanMerge(rank=1).restore(Context((adapter, adapter), workspace))
    assert product.parent == workspace
    assert Adapter.open(product).ranks == (1,)
