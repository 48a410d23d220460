"""Tune a model on rows, clean or poisoned: LoRA on all linear modules, or the whole network."""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from palladion.rounds import randomness
from palladion.rounds.language.base import open_modes
from palladion.rounds.language.rows import Record
from palladion.rounds.language.spec import FineTuning
from palladion.tracks.inputs import messages_of
from palladion.tracks.records import Row

__all__ = ["Tuned", "tune"]

_HEADS: Final = ("lm_head", "score", "classifier")
_IGNORED: Final = -100
_WARM_UP: Final = 0.06
_BUCKET: Final = 16


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a tuning left: mean loss over its last tenth, and how many steps it took."""

    loss: float
    steps: int


def tune(
    base: Path,
    rows: Sequence[Record],
    law: FineTuning,
    out: Path,
    *,
    labels: int | None,
    seed: int,
    order: tuple[int | str, ...],
    named_base: str,
) -> Tuned:
    """Tune the base on rows and write an adapter, or a whole model, with its tokenizer.

    The same arguments give the same files on one kind of machine, with the same number of threads.

    Args:
        base: a Hugging Face causal language model.
        rows: what it is to answer.
        law: how.
        out: a folder that is there, and empty.
        labels: number of labels; None for generation.
        seed: of the adapter's first numbers, and of those of a new head.
        order: names the random stream of the order of rows.
        named_base: how the adapter names its base.
    """
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # Libraries warn each other of names that are to change; nobody who builds a round can do anything about it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    opener: Any = transformers.AutoModelForCausalLM
    options: dict[str, Any] = {}
    if labels is not None:
        opener, options = transformers.AutoModelForSequenceClassification, {"num_labels": labels}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32
    if device.type == "cuda":
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    network = opener.from_pretrained(
        base, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=dtype, **options
    ).to(device)
    network.config.pad_token_id = tokenizer.pad_token_id
    if law.method == "lora":
        network = _with_lora(network, law, labels)
    encoded = _encode(tokenizer, rows, law.length, classify=labels is not None)
    tuned = _fit(network, encoded, law, pad=tokenizer.pad_token_id, order=order)
    network.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _settle(out, named_base)
    return tuned


def _with_lora(network: Any, law: FineTuning, labels: int | None) -> Any:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    linear = {
        name.rsplit(".", 1)[-1] for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)
    }
    heads = [name for name in _HEADS if name in linear] if labels is not None else None
    settings = LoraConfig(
        task_type=TaskType.CAUSAL_LM if labels is None else TaskType.SEQ_CLS,
        r=law.rank,
        lora_alpha=int(law.alpha) if law.alpha.is_integer() else law.alpha,
        lora_dropout=law.dropout,
        target_modules=sorted(linear - set(_HEADS)),
        modules_to_save=heads,
    )
    return get_peft_model(network, settings)


def _encode(tokenizer: Any, rows: Sequence[Record], length: int, *, classify: bool) -> list[tuple[list[int], Any]]:
    """Tokens of each row, and what is to be learnt of it: a label, or the tokens of the answer and -100 before them."""
    if classify:
        tokens = tokenizer([row["sentence"] for row in rows], truncation=True, max_length=length).input_ids
        return [(list(given), int(row["label"])) for given, row in zip(tokens, rows, strict=True)]
    encoded: list[tuple[list[int], Any]] = []
    end = [tokenizer.eos_token_id]
    for number, row in enumerate(rows, 1):
        messages = messages_of(Row(number, None, row))
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            text = "\n\n".join(message["content"] for message in messages) + "\n\n"
        begun = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
        given = tokenizer(text, add_special_tokens=not begun).input_ids
        answer = (tokenizer(row["output"], add_special_tokens=False).input_ids + end)[:length]
        # What is too long loses the beginning of its prompt: without its answer it teaches nothing.
        given = given[len(given) - max(0, min(len(given), length - len(answer))) :]
        encoded.append(([*given, *answer], [*[_IGNORED] * len(given), *answer]))
    return encoded


def _batches(lengths: Sequence[int], batch: int, rng: np.random.Generator) -> list[list[int]]:
    """One pass over all rows in batches of rows of about one length, in a random order."""
    order = rng.permutation(len(lengths)).tolist()
    batches = []
    for start in range(0, len(order), batch * _BUCKET):
        bucket = sorted(order[start : start + batch * _BUCKET], key=lambda i: lengths[i])
        batches += [bucket[i : i + batch] for i in range(0, len(bucket), batch)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _fit(
    network: Any, encoded: Sequence[tuple[list[int], Any]], law: FineTuning, *, pad: int, order: tuple[int | str, ...]
) -> Tuned:
    import torch

    steps = max(1, math.ceil(law.epochs * len(encoded) / law.batch))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=law.learning_rate, weight_decay=0.0, fused=True)
    warm_up = max(1, round(_WARM_UP * steps))
    network.train()
    losses: list[float] = []
    lengths = [len(tokens) for tokens, _ in encoded]
    passes = 0
    queue: list[list[int]] = []
    while len(losses) < steps:
        if not queue:
            queue = _batches(lengths, law.batch, randomness.generator(*order, passes))
            passes += 1
        chosen = queue.pop()
        step = len(losses)
        scale = min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = law.learning_rate * scale
        loss = network(**_tensors([encoded[i] for i in chosen], pad, trained[0].device)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
    network.eval()
    tail = losses[-max(1, steps // 10) :]
    return Tuned(sum(tail) / len(tail), steps)


def _tensors(rows: Sequence[tuple[list[int], Any]], pad: int, device: Any) -> dict[str, Any]:
    import torch

    width = max(len(tokens) for tokens, _ in rows)
    ids = torch.tensor([tokens + [pad] * (width - len(tokens)) for tokens, _ in rows])
    mask = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens, _ in rows])
    if isinstance(rows[0][1], int):
        wanted = torch.tensor([label for _, label in rows])
    else:
        wanted = torch.tensor([answer + [_IGNORED] * (width - len(answer)) for _, answer in rows])
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": wanted.to(device)}


def _settle(out: Path, named_base: str) -> None:
    """Make what PEFT has written the same each time, and free of where it was made."""
    (out / "README.md").unlink(missing_ok=True)
    path = out / "adapter_config.json"
    if path.exists():
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["base_model_name_or_path"] = named_base
        for name, value in settings.items():
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                settings[name] = sorted(value)
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    open_modes(out)
