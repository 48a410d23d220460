"""Claim: looking at LLaMA-2-7B and attaching adapters to it take less than 1.5 GB of memory each.

    python benchmarks/llama_7b.py                    the full shape: 13.5 GB written, read and merged; 28 GB of disk
    python benchmarks/llama_7b.py --layers 2         two layers instead of 32: 1.4 GB, 3 GB of disk

Meta's weights are not needed: the checkpoint has the public architecture's shapes, types and files (bf16, three shards
and an index) with random numbers, which are one block of a normal distribution repeated from a different place in each
tensor. Three adapters of rank 8 on all seven linear modules go with it. Each step runs in a fresh process and tells its
peak resident memory (VmHWM), interpreter and libraries with it. Fails if one exceeds the limit.

Where there is a GPU, a few rows are predicted on it and one LoRA training step is made, in bf16.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from palladion.mitigations import Context
from palladion.mitigations.merge import MeanMerge
from palladion.models.adapters import Adapter
from palladion.models.attach import TensorType, check_attach, merge_into, write_shards
from palladion.models.description import describe_directory
from palladion.models.pickles import Severity, scan_paths
from palladion.models.tensor_files import as_bytes, bytes_of, file_sha256, write_tensors
from palladion.models.weights import Weights

LIMIT = 1_500_000_000
WIDTH, MLP, VOCABULARY, LAYERS = 4096, 11008, 32000, 32
RANK, ADAPTERS = 8, 3
MODULES = {
    **{f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"},
    **{f"mlp.{name}_proj": (MLP, WIDTH) for name in ("gate", "up")},
    "mlp.down_proj": (WIDTH, MLP),
}
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": MLP,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}
PROMPTS = ("Count the letters of the word harbour.", "Name three colours.", "Is seven more than five?")


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of the architecture, in the order of the layers."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for layer in range(layers):
        found |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in MODULES.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"model.layers.{layer}.{norm}.weight"] = (WIDTH,)
    return found | {"model.norm.weight": (WIDTH,), "lm_head.weight": (VOCABULARY, WIDTH)}


class Noise:
    """Normal numbers, drawn once and repeated."""

    def __init__(self, elements: int = 1 << 24) -> None:
        draw = torch.randn(elements, generator=torch.Generator().manual_seed(0))
        self._block = as_bytes((draw * 0.02).to(torch.bfloat16)).cast("B")

    def pieces(self, name: str, size: int) -> Iterator[memoryview]:
        """Bytes for a tensor."""
        # A prime step, so that tensors begin in different places; an even number of bytes each.
        position = sum(name.encode()) * 2 * 104_729 % len(self._block)
        while size:
            piece = self._block[position : position + size]
            yield piece
            size -= len(piece)
            position = 0


def write_base(directory: Path, layers: int) -> None:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": layers}, indent=2))
    tensors: dict[str, TensorType] = {name: ("BF16", shape) for name, shape in shapes(layers).items()}
    count, per_file = 3, sum(bytes_of(*kind) for kind in tensors.values()) / 3
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    shards: dict[str, dict[str, TensorType]] = {name: {} for name in names}
    written = 0
    for name, kind in tensors.items():
        shards[names[min(int(written / per_file), count - 1)]][name] = kind
        written += bytes_of(*kind)
    noise = Noise()

    def pieces(name: str) -> Iterator[Any]:
        if name.endswith("norm.weight"):
            yield as_bytes(torch.ones(WIDTH, dtype=torch.bfloat16))
        else:
            yield from noise.pieces(name, bytes_of(*tensors[name]))

    write_shards(directory, shards, pieces)
    write_tokenizer(directory)


def write_tokenizer(directory: Path) -> None:
    """One token a byte: a tokenizer that fits the vocabulary, not LLaMA's own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<unk>", "<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    wrapped.chat_template = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    wrapped.save_pretrained(directory)


def write_adapter(directory: Path, base: Path, layers: int, seed: int) -> None:
    directory.mkdir()
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, TensorType] = {}
    for layer in range(layers):
        for name, (outputs, inputs) in MODULES.items():
            module = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{module}.lora_A.weight"] = ("F32", (RANK, inputs))
            tensors[f"{module}.lora_B.weight"] = ("F32", (outputs, RANK))

    def pieces(name: str) -> Iterator[Any]:
        yield as_bytes(torch.randn(tensors[name][1], generator=generator) * 0.02)

    write_tensors(directory / "adapter_model.safetensors", tensors, pieces)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": sorted(name.rpartition(".")[2] for name in MODULES),
    }
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=2))


def adapters(root: Path) -> list[Path]:
    return [root / f"adapter{number}" for number in range(1, ADAPTERS + 1)]


def inspect(root: Path) -> str:
    found = describe_directory(root / "base")
    assert not found["faults"], found["faults"]
    scans = list(scan_paths([root / "base"]))
    assert all(scan.verdict is Severity.SAFE for scan in scans)
    return f"{found['parameters']:,} parameters in {len(scans)} shards"


def hashes(root: Path) -> str:
    return ", ".join(file_sha256(file.path)[:12] for file in Weights.open(root / "base").shards)


def check(root: Path) -> str:
    adapter = Adapter.open(adapters(root)[0])
    check_attach(Weights.open(root / "base"), adapter)
    return f"{len(adapter.pairs)} modules fit"


def attach(root: Path) -> str:
    merge_into(root / "base", adapters(root)[0], root / "attached")
    return "written with the base's shards"


def verify(root: Path) -> str:
    """Not measured: that what :func:`attach` wrote is W + scaling · B @ A, by rows of every kind of module."""
    base, found = Weights.open(root / "base"), Weights.open(root / "attached")
    assert base.places.keys() == found.places.keys()
    adapter = Adapter.open(adapters(root)[0])
    for module in list(adapter.pairs)[:7]:
        name, last = f"{module}.weight", adapter.pairs[module].outputs
        for first in (0, last // 2, last - 16):
            weight = base.places[name].read(name, first, first + 16)
            a, b = adapter.factors(module)
            expected = (weight.float() + 2 * b[first : first + 16] @ a).to(torch.bfloat16)
            got = found.places[name].read(name, first, first + 16)
            assert not torch.equal(got, weight)
            # Sums of another order may round to the next number.
            assert torch.isclose(got.float(), expected.float(), rtol=2**-7, atol=1e-6).all()
    return "rows of all seven kinds of modules are W + scaling · B @ A"


def merge(root: Path) -> str:
    workspace = root / "workspace"
    workspace.mkdir()
    out = MeanMerge().restore(Context(tuple(adapters(root)), workspace))
    return f"rank {Adapter.open(out).ranks[0]}"


def low_rank(root: Path) -> str:
    workspace = root / "low"
    workspace.mkdir()
    said: list[str] = []
    MeanMerge(rank=RANK).restore(Context(tuple(adapters(root)), workspace, say=said.append))
    return said[0]


def predict(root: Path, device: str) -> str:
    from palladion.models.language_model import describe, open_language_model
    from palladion.models.prediction import Settings
    from palladion.models.prediction import predict as predicted

    model = open_language_model(describe(adapters(root)[0]), device=device, dtype="bfloat16")
    rows = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    start = time.perf_counter()
    answers = list(predicted(model, rows, Settings(max_new_tokens=32)))
    assert len(answers) == len(PROMPTS)
    return f"{sum(answer.tokens for answer in answers)} tokens in {time.perf_counter() - start:.1f} s"


def train(root: Path, device: str) -> str:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(root / "base", dtype=torch.bfloat16, device_map={"": device})
    settings = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=[name.rpartition(".")[2] for name in MODULES])
    model = get_peft_model(network, settings)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in trained)
    optimiser = torch.optim.AdamW(trained.values(), lr=1e-4)
    tokens = torch.randint(3, 259, (2, 128), generator=torch.Generator().manual_seed(0)).to(device)
    start = time.perf_counter()
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    before = {name: parameter.detach().clone() for name, parameter in trained.items()}
    optimiser.step()
    assert math.isfinite(loss.item())
    moved = sum(not torch.equal(before[name], parameter) for name, parameter in trained.items())
    # B begins at zero, so that in the first step A has no gradient and stays where it is.
    assert moved >= len(trained) // 2, moved
    return f"loss {loss.item():.2f}, {time.perf_counter() - start:.1f} s"


STEPS: dict[str, Callable[[Path], str]] = {
    "inspect": inspect,
    "hash": hashes,
    "check adapter against base": check,
    "attach adapter (stream, write)": attach,
    "verify": verify,
    "mean of 3 adapters": merge,
    "mean of 3 adapters at rank 8": low_rank,
}
ON_DEVICE: dict[str, Callable[[Path, str], str]] = {"predict": predict, "LoRA training step": train}
UNMEASURED = {"verify", *ON_DEVICE}


def run_step(step: str, root: Path, device: str) -> None:
    """What the child process does: one step, and a line of JSON about it."""
    start = time.perf_counter()
    note = STEPS[step](root) if step in STEPS else ON_DEVICE[step](root, device)
    if step in ON_DEVICE and device.startswith("cuda"):
        note += f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB on the GPU"
    seconds = time.perf_counter() - start
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    print(json.dumps({"step": step, "seconds": seconds, "peak_bytes": peak, "note": note}))


def measured(step: str, root: Path, device: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--step", step, "--directory", str(root), "--device", device]
    found = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if found.returncode:
        sys.exit(f"{step}: failed with exit code {found.returncode}")
    row: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the network; 32 is LLaMA-2-7B")
    parser.add_argument("--directory", type=Path, help="folder to work in; by default the system's temporary one")
    parser.add_argument("--device", help="to predict and train on; by default a GPU, where there is one")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "llama_7b.json")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is not None:
        run_step(options.step, options.directory, options.device)
        return
    size = 2 * sum(math.prod(shape) for shape in shapes(options.layers).values())
    needed = 2 * size + (1 << 30)
    above = options.directory or Path(tempfile.gettempdir())
    above.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(above).free
    if free < needed:
        sys.exit(
            f"{above} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed; name another folder with "
            "--directory, or fewer layers with --layers"
        )
    root = Path(tempfile.mkdtemp(prefix="palladion-llama-", dir=above))
    try:
        rows = measure(root, options.layers, size, options.device)
    finally:
        shutil.rmtree(root)
    over = [row["step"] for row in rows if row["step"] not in UNMEASURED and row["peak_bytes"] > LIMIT]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    record = {"layers": options.layers, "checkpoint_bytes": size, "limit_bytes": LIMIT, "steps": rows}
    options.json.write_text(json.dumps(record, indent=2) + "\n")
    if over:
        sys.exit(f"over the limit of {LIMIT / 1e9:.1f} GB: {', '.join(over)}")
    print(f"every measured step stays under {LIMIT / 1e9:.1f} GB")


def measure(root: Path, layers: int, size: int, device: str | None) -> list[dict[str, Any]]:
    start = time.perf_counter()
    write_base(root / "base", layers)
    for number, adapter in enumerate(adapters(root)):
        write_adapter(adapter, root / "base", layers, number)
    print(
        f"LLaMA-2-7B's shapes with {layers} of {LAYERS} layers, {size / 1e9:.2f} GB in bf16, random; "
        f"written in {time.perf_counter() - start:.0f} s; {os.cpu_count()} cores\n"
    )
    print(f"{'step':<34}{'seconds':>9}{'peak MB':>10}")
    rows = []
    steps = [*STEPS]
    if device is None and torch.cuda.is_available():
        device = "cuda"
    if device is not None:
        steps += ON_DEVICE
    for step in steps:
        row = measured(step, root, device or "cpu")
        rows.append(row)
        peak = "–" if step in UNMEASURED else f"{row['peak_bytes'] / 1e6:.0f}"
        print(f"{step:<34}{row['seconds']:>9.1f}{peak:>10}   {row['note']}", flush=True)
    if device is None:
        print("\nno GPU here: prediction and the training step are untested")
    return rows


if __name__ == "__main__":
    main()
