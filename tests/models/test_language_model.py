import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

from palladion.errors import InputError
from palladion.models.language_model import (
    LanguageModel,
    Task,
    describe,
    identity,
    open_language_model,
    resolve_base,
)
from palladion.models.prediction import Settings, predict
from tests.models.tiny_llama import SENTENCES, VOCABULARY, write_adapter, write_base, write_tokenizer

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with adapters for both tasks. Tests that change something copy it first."""
    root = tmp_path_factory.mktemp("zoo")
    base = write_base(root / "base")
    write_base(root / "sharded", shards=True)
    write_base(root / "classifier", labels=3)
    for number in (1, 2):
        write_adapter(root / f"texts-{number}", base, seed=number, tokenizer=True)
        write_adapter(root / f"labels-{number}", base, seed=number, labels=4)
    return root


@pytest.fixture
def copied(zoo: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a model that may be changed."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(zoo / name, tmp_path / name, symlinks=True))

    return copy


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def logits(model: LanguageModel | Any, text: str = SENTENCES[0]) -> torch.Tensor:
    network = model.network if isinstance(model, LanguageModel) else model
    ids = torch.tensor([[0, *map(ord, text[:20])]])
    with torch.inference_mode():
        found: torch.Tensor = network(input_ids=ids).logits
    return found


# Descriptions


def test_a_full_model_is_described_from_its_headers(zoo: Path) -> None:
    files = describe(zoo / "base")
    assert (files.kind, files.task, files.architecture) == ("full", Task.CAUSAL, "LlamaForCausalLM")
    assert (files.model_type, files.labels, files.base, files.tokenizer) == ("llama", None, None, True)
    network = transformers.AutoModelForCausalLM.from_pretrained(zoo / "base")
    assert files.parameters == sum(parameter.numel() for parameter in network.parameters())
    sharded = describe(zoo / "sharded")
    assert sharded.weights is not None
    assert len(sharded.weights.shards) > 2
    assert sharded.parameters == files.parameters


def test_labels_are_counted_in_the_head(zoo: Path, copied: Callable[[str], Path]) -> None:
    assert (describe(zoo / "classifier").task, describe(zoo / "classifier").labels) == (Task.CLASSIFIER, 3)
    files = describe(zoo / "labels-1")
    assert (files.kind, files.task, files.labels, files.base) == ("adapter", "classifier", 4, str(zoo / "base"))
    assert (describe(zoo / "texts-1").task, describe(zoo / "texts-1").labels) == (Task.CAUSAL, None)
    # What the settings say of labels does not count, nor a task that they leave out.
    classifier, adapter = copied("classifier"), copied("labels-1")
    change(classifier / "config.json", architectures=None, id2label={"0": "a"})
    change(adapter / "adapter_config.json", task_type=None)
    assert (describe(classifier).task, describe(classifier).labels) == (Task.CLASSIFIER, 3)
    assert describe(adapter).labels == 4


def test_describing_loads_neither_torch_nor_transformers(zoo: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from palladion.models.language_model import *\n"
        f"for name in ('base', 'labels-1'): describe(Path({str(zoo)!r}) / name)\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SOURCE)
    assert "palladion.models.language_model" in done.stdout.split()
    assert not {"torch", "transformers", "numpy", "peft"} & set(done.stdout.split())


def test_identities_tell_contents(zoo: Path, copied: Callable[[str], Path]) -> None:
    copy = copied("base")
    assert identity(copy) == identity(zoo / "base")
    assert identity(zoo / "texts-1") != identity(zoo / "texts-2")
    change(copy / "config.json", rms_norm_eps=1e-4)
    assert identity(copy) != identity(zoo / "base")


# Bases of adapters


def test_a_base_is_found_from_the_adapters_folder(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = tmp_path / "round" / "phases" / "development" / "models" / "task1" / "model1"
    shutil.copytree(zoo / "texts-1", adapter)
    (tmp_path / "round" / "base").symlink_to(zoo / "base")
    change(adapter / "adapter_config.json", base_model_name_or_path="../../../../../base")
    monkeypatch.chdir(tmp_path)
    for path in (adapter, adapter.relative_to(tmp_path)):
        assert resolve_base(describe(path)).samefile(zoo / "base")
    assert resolve_base(describe(zoo / "texts-1")).samefile(zoo / "base")
    assert resolve_base(describe(adapter), zoo / "sharded") == zoo / "sharded"


@pytest.mark.parametrize("named", ["meta-llama/Llama-2-7b-hf", "../gone", "https://example.org/x", "a\0b", "x" * 900])
def test_a_base_that_is_not_here_is_named_and_not_fetched(copied: Callable[[str], Path], named: str) -> None:
    adapter = copied("texts-1")
    change(adapter / "adapter_config.json", base_model_name_or_path=named)
    with pytest.raises(InputError, match=r"no directory here .* --base") as error:
        resolve_base(describe(adapter))
    assert named[:20].replace("\0", "\\x00") in str(error.value)


def test_an_adapter_without_a_named_base_asks_for_one(copied: Callable[[str], Path], tmp_path: Path) -> None:
    adapter = copied("texts-1")
    change(adapter / "adapter_config.json", base_model_name_or_path=None)
    with pytest.raises(InputError, match="does not say what its base is; give it with --base"):
        resolve_base(describe(adapter))
    with pytest.raises(InputError, match="there is no such directory; --base"):
        resolve_base(describe(adapter), tmp_path / "gone")


# Hostile directories


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("config.json", {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}, r"code of its own \(auto_map\)"),
        ("config.json", {"text_config": {"auto_map": {}}}, r"code of its own \(auto_map\)"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, r"\(auto_map\)"),
        ("tokenizer_config.json", {"x": [{"auto_map": 1}]}, r"\(auto_map\)"),
        ("generation_config.json", {"auto_map": "evil--evil.Evil"}, r"\(auto_map\)"),
        ("config.json", {"_attn_implementation": "evil/kernel"}, "asks for _attn_implementation evil/kernel"),
        ("config.json", {"attn_implementation": {"": "evil/kernel:x"}}, "asks for attn_implementation"),
        ("config.json", {"experts_implementation": "evil/kernel"}, "asks for experts_implementation"),
        ("config.json", {"transformers_weights": "pytorch_model.bin"}, "transformers_weights, which is not known"),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}, "quantised before they were saved"),
        ("config.json", {"is_encoder_decoder": True}, "an encoder with a decoder"),
        ("config.json", {"model_type": "../../x"}, "names no model_type"),
        ("config.json", {"model_type": None}, "names no model_type"),
        ("config.json", {"architectures": ["LlamaModel\x1b[2J"]}, r"the architecture LlamaModel\\x1b\[2J;"),
        ("config.json", {"architectures": [7]}, "architectures must be a list of names"),
        ("config.json", {"architectures": ["LlamaForSequenceClassification"]}, "without the weights of its head"),
        ("config.json", {"num_hidden_layers": 10**8}, "num_hidden_layers is 100000000; at most 10000"),
        ("config.json", {"num_labels": 10**12}, "num_labels is 1000000000000"),
        ("config.json", {"hidden_size": 10**16}, "hidden_size is 10000000000000000"),
        ("config.json", {"rope_theta": float("nan")}, "NaN is not allowed"),
        ("config.json", {"note": "x" * (1 << 20)}, "larger than 1 MiB"),
    ],
)
def test_settings_that_would_run_or_fetch_or_never_end_are_refused(
    copied: Callable[[str], Path], file: str, values: dict[str, Any], words: str
) -> None:
    base = copied("base")
    change(base / file, **values)
    with pytest.raises(InputError, match=words):
        describe(base)


def test_nesting_without_end_is_refused(copied: Callable[[str], Path]) -> None:
    base = copied("base")
    for depth in (40, 100_000):
        (base / "config.json").write_text('{"model_type": "llama", "a": ' + "[" * depth + "]" * depth + "}")
        with pytest.raises(InputError, match=r"more than 32 deep|is not JSON"):
            describe(base)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "README.md", "chat_template.jinja"]
)
def test_links_that_lead_out_are_refused(copied: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    base = copied("base")
    outside = tmp_path / "outside"
    outside.write_text("{}")
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to(outside)
    with pytest.raises(InputError, match="a link that leads out"):
        describe(base)


def test_templates_may_not_be_links_either(copied: Callable[[str], Path], tmp_path: Path) -> None:
    base = copied("base")
    folder = base / "additional_chat_templates"
    folder.mkdir()
    (folder / "tool.jinja").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="a link that leads out"):
        describe(base)
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path)
    with pytest.raises(InputError, match="must be a folder"):
        describe(base)


def test_a_pipe_is_not_waited_for(copied: Callable[[str], Path]) -> None:
    base = copied("base")
    (base / "config.json").unlink()
    os.mkfifo(base / "config.json")
    with pytest.raises(InputError, match="is no plain file"):
        describe(base)


def test_links_of_the_hub_cache_are_read(zoo: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "abc", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(zoo / "base", blobs)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    assert describe(snapshot).parameters == describe(zoo / "base").parameters


@pytest.mark.parametrize(("model", "weights"), [("base", "model"), ("texts-1", "adapter_model")])
def test_pickled_weights_are_refused_with_what_to_do(copied: Callable[[str], Path], model: str, weights: str) -> None:
    directory = copied(model)
    pickled = "pytorch_model.bin" if model == "base" else "adapter_model.bin"
    (directory / f"{weights}.safetensors").rename(directory / pickled)
    with pytest.raises(InputError, match=f"{pickled}.* is not opened.* safetensors"):
        describe(directory)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"task_type": "TOKEN_CLS"}, "an adapter for TOKEN_CLS"),
        ({"peft_type": "PROMPT_TUNING"}, "only LORA adapters"),
        ({"use_dora": True}, "uses DoRA"),
        ({"init_lora_weights": "pissa"}, "pissa, which changes the base"),
        ({"layer_replication": [[0, 2]]}, "replicated layers"),
        ({"rank_pattern": {"(a+)+$": 4}}, "no other regular expressions"),
        ({"r": 8}, "of rank 4; adapter_config.json says 8"),
        ({"lora_alpha": float("inf")}, "Infinity is not allowed"),
    ],
)
def test_adapters_that_are_no_plain_lora_are_refused(
    copied: Callable[[str], Path], values: dict[str, Any], words: str
) -> None:
    adapter = copied("texts-1")
    change(adapter / "adapter_config.json", **values)
    with pytest.raises(InputError, match=words):
        describe(adapter)


def test_settings_that_peft_would_import_from_are_not_followed(copied: Callable[[str], Path], zoo: Path) -> None:
    adapter = copied("texts-1")
    where = {"base_model_class": "Evil", "parent_library": "evil_library"}
    change(adapter / "adapter_config.json", auto_mapping=where, megatron_core="evil_library", revision="evil")
    model = open_language_model(describe(adapter), base=zoo / "base")
    assert "evil_library" not in sys.modules
    assert torch.equal(logits(model), logits(open_language_model(describe(zoo / "texts-1"))))


def test_a_classifying_adapter_without_one_head_is_refused(copied: Callable[[str], Path]) -> None:
    adapter = copied("labels-1")
    tensors = load_file(adapter / "adapter_model.safetensors")
    head = tensors.pop("base_model.model.score.weight")
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(InputError, match="without the weights of its head"):
        describe(adapter)
    both = {"base_model.model.score.weight": head, "base_model.model.classifier.weight": head[:2].clone()}
    save_file(tensors | both, adapter / "adapter_model.safetensors")
    with pytest.raises(InputError, match="the number of labels cannot be told"):
        describe(adapter)


def test_code_beside_a_model_is_not_run(copied: Callable[[str], Path], tmp_path: Path) -> None:
    base = copied("base")
    for name in ("modeling_evil.py", "tokenization_evil.py", "configuration_evil.py", "sitecustomize.py"):
        (base / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    change(base / "tokenizer_config.json", tokenizer_class="EvilTokenizer")
    (base / "adapter_model.bin").write_bytes(b"\x80\x04cbuiltins\nexec\n")
    open_language_model(describe(base))
    assert not (tmp_path / "ran").exists()


def test_nothing_is_fetched(zoo: Path, copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("localhost", 1))
    asked.clear()
    adapter = copied("texts-1")
    change(adapter / "adapter_config.json", base_model_name_or_path="meta-llama/Llama-2-7b-hf", revision="main")
    (adapter / "generation_config.json").write_text("{}")
    model = open_language_model(describe(adapter), base=zoo / "base")
    assert list(predict(model, [[{"role": "user", "content": "the harbour"}]], Settings(max_new_tokens=2)))
    assert asked == []


def test_a_folder_that_is_none_of_both_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such directory"):
        describe(tmp_path / "gone")
    with pytest.raises(InputError, match=r"holds neither config\.json nor adapter_config\.json"):
        describe(tmp_path)


# Opening


def test_a_network_larger_than_its_weights_is_refused_before_memory_is_taken(copied: Callable[[str], Path]) -> None:
    base = copied("base")
    # 40 GB where it were made in memory.
    change(base / "config.json", intermediate_size=50_000_000)
    with pytest.raises(InputError, match=r"describes a network of 9,600,\d+,\d+ numbers, the weights hold 39,072"):
        open_language_model(describe(base))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"num_hidden_layers": 3}, "lacks 9 tensors of its network: model.layers.2"),
        ({"vocab_size": 999}, "cannot be opened as a causal model"),
        ({"model_type": "no-such-type"}, "cannot be opened as a causal model"),
        ({"hidden_act": "__import__('os')"}, "cannot be opened as a causal model"),
        ({"num_attention_heads": 0}, "cannot be opened as a causal model"),
    ],
)
def test_weights_and_settings_that_differ_are_refused(
    copied: Callable[[str], Path], values: dict[str, Any], words: str
) -> None:
    base = copied("base")
    change(base / "config.json", **values)
    with pytest.raises(InputError, match=words):
        open_language_model(describe(base))


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", tokenizer=False)
    with pytest.raises(InputError, match="holds no tokenizer"):
        open_language_model(describe(base))
    (base / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(InputError, match="its tokenizer cannot be opened"):
        open_language_model(describe(base))


def test_an_adapter_is_no_base(zoo: Path) -> None:
    with pytest.raises(InputError, match="is an adapter itself"):
        open_language_model(describe(zoo / "texts-1"), base=zoo / "texts-2")
    with pytest.raises(InputError, match="is a classifier; the adapter needs a base that writes text"):
        open_language_model(describe(zoo / "texts-1"), base=zoo / "classifier")


def test_devices_types_and_bits_are_checked(zoo: Path) -> None:
    files = describe(zoo / "base")
    for wrong, words in (
        ({"device": "tpu"}, "there is no device 'tpu'"),
        ({"device": "cpu:1"}, "there is no device"),
        ({"dtype": "int8"}, "there is no type 'int8'"),
        ({"bits": 3}, "there are 4 and 8"),
        ({"bits": 4, "device": "cpu"}, "bitsandbytes|needs a GPU"),
    ):
        with pytest.raises(InputError, match=words):
            open_language_model(files, **wrong)
    assert open_language_model(files, device="cpu").dtype == torch.float32
    half = open_language_model(files, device="cpu", dtype="bfloat16")
    assert {parameter.dtype for parameter in half.network.parameters()} == {torch.bfloat16}


# Adapters on a base


def reference(base: Path, adapter: Path, labels: int | None = None, dtype: torch.dtype = torch.float32) -> Any:
    if labels is None:
        network = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    else:
        network = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels, dtype=dtype)
    return PeftModel.from_pretrained(network, str(adapter)).eval()


def test_adapters_answer_as_with_peft(zoo: Path) -> None:
    texts = open_language_model(describe(zoo / "texts-1"))
    labels = open_language_model(describe(zoo / "labels-1"))
    for number in (1, 2, 1):
        texts.attach(describe(zoo / f"texts-{number}"))
        labels.attach(describe(zoo / f"labels-{number}"))
        for model, name, classes in ((texts, "texts", None), (labels, "labels", 4)):
            wanted = logits(reference(zoo / "base", zoo / f"{name}-{number}", classes))
            assert wanted.abs().max() > 1
            torch.testing.assert_close(logits(model), wanted, rtol=1e-4, atol=1e-4)


def test_factors_beside_the_weights_answer_as_with_peft(zoo: Path) -> None:
    for name, labels in (("texts-1", None), ("labels-1", 4)):
        model = open_language_model(describe(zoo / name), device="cpu", dtype="bfloat16")
        wanted = logits(reference(zoo / "base", zoo / name, labels, torch.bfloat16))
        # Both compute the update in float32; the rest is the same arithmetic in bfloat16.
        torch.testing.assert_close(logits(model), wanted, rtol=0.02, atol=0.02)


def test_what_comes_off_leaves_the_base_bit_for_bit(zoo: Path) -> None:
    model = open_language_model(describe(zoo / "base"))
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    answer = logits(model)
    for _ in range(3):
        for number in (1, 2):
            model.attach(describe(zoo / f"texts-{number}"))
            assert not torch.equal(logits(model), answer)
    model.detach()
    after = model.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    model.attach(describe(zoo / "base"))
    assert torch.equal(logits(model), answer)


def test_adapters_of_one_base_may_have_heads_of_different_sizes(zoo: Path, tmp_path: Path) -> None:
    two = write_adapter(tmp_path / "two", zoo / "base", labels=2)
    model = open_language_model(describe(zoo / "labels-1"))
    for adapter, labels in ((two, 2), (zoo / "labels-1", 4), (two, 2)):
        model.attach(describe(adapter))
        assert model.labels == labels
        torch.testing.assert_close(
            logits(model), logits(reference(zoo / "base", adapter, labels)), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_embeddings_heads_and_new_tokens_come_with_an_adapter(zoo: Path, tmp_path: Path, dtype: str) -> None:
    """A vocabulary that was enlarged before training, factors on embeddings and head, rsLoRA and ranks of their own."""
    adapter = tmp_path / "adapter"
    network = transformers.AutoModelForCausalLM.from_pretrained(zoo / "base")
    network.resize_token_embeddings(VOCABULARY + 2, mean_resizing=False)
    config = LoraConfig(
        r=3,
        lora_alpha=5,
        use_rslora=True,
        target_modules=["embed_tokens", "q_proj", "layers.1.mlp.down_proj", "v_proj"],
        modules_to_save=["lm_head"],
        rank_pattern={"layers.0.self_attn.v_proj": 6, "q_proj": 2},
        alpha_pattern={"v_proj": 9},
        task_type="CAUSAL_LM",
    )
    trained = peft.get_peft_model(network, config)
    generator = torch.Generator().manual_seed(0)
    for parameter in (parameter for parameter in trained.parameters() if parameter.requires_grad):
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    trained.save_pretrained(str(adapter))
    write_tokenizer(adapter, extra=["<|new|>", "<|newer|>"])
    model = open_language_model(describe(adapter), base=zoo / "base", dtype=dtype)
    assert model.vocabulary == VOCABULARY + 2
    ids = torch.tensor([[0, VOCABULARY, 70, 80, VOCABULARY + 1, 90]])
    with torch.inference_mode():
        # Fresh, since PEFT's own copy must not share what was trained.
        base = transformers.AutoModelForCausalLM.from_pretrained(zoo / "base", dtype=getattr(torch, dtype))
        base.resize_token_embeddings(VOCABULARY + 2, mean_resizing=False)
        wanted = PeftModel.from_pretrained(base, str(adapter)).eval()(input_ids=ids).logits
        found = model.network(input_ids=ids).logits
    tolerance = 1e-4 if dtype == "float32" else 0.05
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    model.attach(describe(zoo / "texts-1"))
    torch.testing.assert_close(
        logits(model), logits(open_language_model(describe(zoo / "texts-1"), dtype=dtype)), rtol=0, atol=0
    )


@pytest.mark.parametrize(("trained", "once"), [(True, False), (False, False), (False, True)])
def test_embeddings_that_are_the_head_too_come_with_an_adapter(tmp_path: Path, trained: bool, once: bool) -> None:
    """Trained in full they are the embedding alone; enlarged, and saved twice or once, they are both."""
    base = write_base(tmp_path / "base", tied=True)
    adapter = tmp_path / "adapter"
    network = transformers.AutoModelForCausalLM.from_pretrained(base)
    if not trained:
        network.resize_token_embeddings(VOCABULARY + 1, mean_resizing=False)
    saved = ["embed_tokens"] if trained else None
    model = peft.get_peft_model(
        network, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=saved, task_type="CAUSAL_LM")
    )
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or "embed_tokens" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    network.tie_weights()
    model.save_pretrained(str(adapter))
    if once:
        tensors = load_file(adapter / "adapter_model.safetensors")
        del tensors["base_model.model.lm_head.weight"]
        save_file(tensors, adapter / "adapter_model.safetensors")
    write_tokenizer(adapter, extra=[] if trained else ["<|new|>"])
    fresh = transformers.AutoModelForCausalLM.from_pretrained(base)
    if not trained:
        fresh.resize_token_embeddings(VOCABULARY + 1, mean_resizing=False)
    wanted = logits(PeftModel.from_pretrained(fresh, str(adapter)).eval())
    opened = open_language_model(describe(adapter), base=base)
    torch.testing.assert_close(logits(opened), wanted, rtol=1e-4, atol=1e-4)
    opened.attach(describe(base))
    torch.testing.assert_close(
        logits(opened), logits(transformers.AutoModelForCausalLM.from_pretrained(base)), rtol=0, atol=0
    )


def test_gpt_2_is_adapted_too(tmp_path: Path) -> None:
    """Its weights lie with inputs first."""
    base = tmp_path / "base"
    config = transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(base)
    write_tokenizer(base)
    adapter = write_adapter(tmp_path / "adapter", base, layers=["c_attn", "c_proj", "c_fc"])
    for dtype in ("float32", "bfloat16"):
        model = open_language_model(describe(adapter), dtype=dtype)
        wanted = logits(reference(base, adapter, None, getattr(torch, dtype)))
        tolerance = 1e-4 if dtype == "float32" else 0.05
        torch.testing.assert_close(logits(model), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("width", "layers"), [(64, 2), (32, 1)])
def test_an_adapter_of_another_base_is_refused_and_leaves_no_trace(
    zoo: Path, tmp_path: Path, width: int, layers: int
) -> None:
    base = write_base(tmp_path / "other", width=width, layers=layers)
    model = open_language_model(describe(base))
    answer = logits(model)
    with pytest.raises(InputError, match=r"does not fit the base: .* trained on another\?") as error:
        model.attach(describe(zoo / "texts-1"))
    assert str(zoo / "texts-1") in str(error.value)
    model.attach(describe(base))
    assert torch.equal(logits(model), answer)


def test_a_model_for_the_other_task_is_not_attached(zoo: Path) -> None:
    model = open_language_model(describe(zoo / "texts-1"))
    with pytest.raises(InputError, match="is a classifier model; opened is one for causal"):
        model.attach(describe(zoo / "labels-1"))


def test_factors_that_are_not_finite_are_refused(copied: Callable[[str], Path]) -> None:
    adapter = copied("texts-1")
    tensors = load_file(adapter / "adapter_model.safetensors")
    next(iter(tensors.values()))[0, 0] = torch.nan
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(InputError, match="not finite"):
        open_language_model(describe(adapter))


# Tokenizers


def test_tokens_without_a_row_get_the_mean(tmp_path: Path) -> None:
    for tied in (False, True):
        base = write_base(tmp_path / f"base-{tied}", tied=tied)
        write_tokenizer(base, extra=["<|new|>"])
        model = open_language_model(describe(base))
        rows = model.network.get_input_embeddings().weight
        assert rows.shape[0] == model.vocabulary == VOCABULARY + 1
        torch.testing.assert_close(rows[-1], rows[:-1].mean(dim=0))
        assert (model.network.get_output_embeddings().weight is rows) is tied
        answers = list(predict(model, [[{"role": "user", "content": "a <|new|> b"}]], Settings(max_new_tokens=3)))
        assert len(answers) == 1
        model.detach()
        assert model.network.get_input_embeddings().weight.shape[0] == VOCABULARY


def test_a_tokenizer_with_far_more_tokens_than_the_model_is_refused(copied: Callable[[str], Path]) -> None:
    base = copied("base")
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zzz"] = 2 * 10**9
    (base / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match="its tokenizer has 1,999,999,681 tokens more than the model"):
        open_language_model(describe(base))


@pytest.mark.parametrize("labels", [None, 3])
def test_a_tokenizer_without_padding_pads_with_the_end_of_text_or_a_new_token(
    tmp_path: Path, labels: int | None
) -> None:
    base = write_base(tmp_path / "base", labels=labels)
    write_tokenizer(base, pad=False)
    assert open_language_model(describe(base)).pad == 1
    change(base / "tokenizer_config.json", eos_token=None)
    model = open_language_model(describe(base))
    assert (model.pad, model.vocabulary) == (VOCABULARY, VOCABULARY + 1)


def test_texts_are_read_with_the_adapters_own_tokenizer_and_labels_with_the_bases(zoo: Path, tmp_path: Path) -> None:
    for name, vocabulary in (("texts-1", VOCABULARY + 1), ("labels-1", VOCABULARY)):
        adapter = tmp_path / name
        shutil.copytree(zoo / name, adapter)
        write_tokenizer(adapter, extra=["<|own|>"])
        model = open_language_model(describe(adapter))
        assert model.vocabulary == vocabulary
    assert model.tokenizer.padding_side == "right"
