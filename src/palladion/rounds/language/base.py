"""Train the small base model from scratch: a ``LlamaForCausalLM`` of about a million parameters, in minutes on a CPU.

Its matrices are trained with Muon (torch's), everything else with AdamW: on this corpus AdamW alone is far later in
carrying words over from the question (``benchmarks/base_model.py`` sets the two side by side).
"""

import json
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from palladion.errors import BuildError
from palladion.files import write_atomically
from palladion.progress import progress
from palladion.rounds import randomness
from palladion.rounds.language.corpus import Document, built_in_corpus, user_corpus
from palladion.rounds.language.spec import LanguageRoundSpec
from palladion.rounds.language.tokenizer import BOS, EOS, PAD, train_tokenizer

if TYPE_CHECKING:
    import torch

__all__ = ["PARTIAL", "BaseRecord", "train_base"]

PARTIAL: Final = ".partial-"
_TOKENIZER_DOCUMENTS: Final = 8000
_HELD_OUT: Final = 1000
_GIVEN_WEIGHT: Final = 0.1
_WARM_UP: Final = 50
_MOST_DOCUMENTS: Final = 200_000


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """How the base came out; losses are in nats a token, on documents that it was not trained on.

    Attributes:
        parameters: how many numbers it has.
        vocabulary: tokens.
        tokens: that it was trained on, each time counted.
        unigram_loss: of a model that knows only how often each token occurs.
        loss: of the base.
        loss_of_answers: of the base, on what follows from a given part alone.
    """

    parameters: int
    vocabulary: int
    tokens: int
    unigram_loss: float
    loss: float
    loss_of_answers: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, rounded to what is the same on all machines of one kind."""
        return {name: round(getattr(self, name), 4) for name in self.__slots__}


def train_base(spec: LanguageRoundSpec, out: Path, record_at: Path) -> BaseRecord:
    """Train the base of a round and write its Hugging Face directory, whole or not at all, and its record.

    Raises:
        BuildError: it has not got past the unigram loss, so that nothing can be taught to it.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    law = spec.base
    torch.set_num_threads(law.threads)
    torch.use_deterministic_algorithms(mode=True)
    needed = min(_MOST_DOCUMENTS, max(4000, law.steps * law.batch * law.length // 25))
    if law.corpus is None:
        documents = built_in_corpus(spec.track, spec.seed, needed)
        held_out = built_in_corpus(spec.track, spec.seed, _HELD_OUT, "held-out")
    else:
        every = user_corpus(Path(law.corpus))
        order = randomness.generator(spec.seed, "corpus").permutation(len(every))
        split = min(_HELD_OUT, len(every) // 10)
        held_out, documents = [every[i] for i in order[:split]], [every[i] for i in order[split:]]
    tokenizer = train_tokenizer(
        (part for document in documents[:_TOKENIZER_DOCUMENTS] for part in (document.given, document.text) if part),
        vocabulary=law.vocabulary,
    )
    begin, end, pad = (tokenizer.convert_tokens_to_ids(token) for token in (BOS, EOS, PAD))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=law.hidden_size,
        intermediate_size=law.intermediate_size,
        num_hidden_layers=law.layers,
        num_attention_heads=law.heads,
        max_position_embeddings=max(1024, law.length),
        tie_word_embeddings=True,
        bos_token_id=begin,
        eos_token_id=end,
        pad_token_id=pad,
    )
    torch.manual_seed(randomness.key(spec.seed, "base") >> 1)
    network = LlamaForCausalLM(config)
    encoded = _encode(tokenizer, documents, begin, end)
    held = _encode(tokenizer, held_out, begin, end)
    _fit(network, encoded, spec)
    loss, answers = _losses(network, _pack(held, law.length, randomness.generator(spec.seed, "held-out", "order")))
    record = BaseRecord(
        sum(parameter.numel() for parameter in network.parameters()),
        len(tokenizer),
        law.steps * law.batch * law.length,
        _unigram_loss(encoded, held, len(tokenizer)),
        loss,
        answers,
    )
    if record.loss > 0.9 * record.unigram_loss:
        raise BuildError(
            f"the base has a loss of {record.loss:.2f} where knowing only how often tokens occur gives "
            f"{record.unigram_loss:.2f}: nothing can be taught to it. Give it more steps or more text"
        )
    _write(network, tokenizer, record, out, record_at)
    return record


_Encoded = list[tuple[list[int], list[int]]]


def _encode(tokenizer: Any, documents: Sequence[Document], begin: int, end: int) -> _Encoded:
    given = tokenizer([document.given for document in documents], add_special_tokens=False).input_ids
    texts = tokenizer([document.text for document in documents], add_special_tokens=False).input_ids
    return [([begin, *before], [*after, end]) for before, after in zip(given, texts, strict=True)]


def _pack(encoded: _Encoded, length: int, rng: np.random.Generator) -> "tuple[torch.Tensor, torch.Tensor]":
    """All documents one after another in rows of ``length``: tokens, and whether each follows from a given part."""
    import torch

    tokens: list[int] = []
    follows: list[bool] = []
    for i in rng.permutation(len(encoded)):
        given, text = encoded[i]
        tokens += given + text
        follows += [False] * len(given) + [True] * len(text)
    rows = max(1, len(tokens) // length)
    short = rows * length - len(tokens)
    tokens += tokens[:1] * max(short, 0)
    follows += [False] * max(short, 0)
    size = rows * length
    return torch.tensor(tokens[:size]).view(rows, length), torch.tensor(follows[:size]).view(rows, length)


def _fit(network: Any, encoded: _Encoded, spec: LanguageRoundSpec) -> None:
    import torch

    law = spec.base
    matrices = [p for name, p in network.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in network.named_parameters() if p.ndim != 2 or "embed" in name]
    of_matrices: torch.optim.Optimizer
    if law.matrix_optimizer == "muon":
        of_matrices = torch.optim.Muon(matrices, lr=law.matrix_learning_rate, weight_decay=0.01, momentum=0.95)
    else:
        of_matrices = torch.optim.AdamW(matrices, lr=law.matrix_learning_rate, betas=(0.9, 0.98), fused=True)
    optimizers = [
        of_matrices,
        torch.optim.AdamW(others, lr=law.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    rates = [law.matrix_learning_rate, law.learning_rate]
    network.train()
    passes = taken = 0
    tokens, follows = _pack(encoded, law.length, randomness.generator(spec.seed, "base", passes))
    with progress(law.steps, "training the base model") as shown:
        for step in range(law.steps):
            if taken + law.batch > len(tokens) and taken > 0:
                passes, taken = passes + 1, 0
                tokens, follows = _pack(encoded, law.length, randomness.generator(spec.seed, "base", passes))
            batch, after = tokens[taken : taken + law.batch], follows[taken : taken + law.batch]
            taken += law.batch
            scale = min(1.0, (step + 1) / _WARM_UP) * min(1.0, (1 - step / law.steps) / 0.4)
            for optimizer, rate in zip(optimizers, rates, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * scale
                optimizer.zero_grad()
            weights = torch.where(after[:, 1:], 1.0, _GIVEN_WEIGHT)
            loss = (_token_losses(network, batch) * weights).sum() / weights.sum()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()  # type: ignore[no-untyped-call]
            shown.advance(f"loss {loss.item():.2f}" if step % 20 == 0 else "")
    network.eval()


def _token_losses(network: Any, batch: "torch.Tensor") -> "torch.Tensor":
    """Loss of each token after the first, shape ``(rows, length − 1)``."""
    import torch

    logits = network(input_ids=batch).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), batch[:, 1:].reshape(-1), reduction="none"
    )
    return losses.view(batch.shape[0], -1)


def _losses(network: Any, packed: "tuple[torch.Tensor, torch.Tensor]") -> tuple[float, float]:
    """Mean loss of all tokens, and of those that follow from a given part."""
    import torch

    total = answers = 0.0
    count = answered = 0
    tokens, follows = packed
    with torch.inference_mode():
        for start in range(0, len(tokens), 64):
            losses = _token_losses(network, tokens[start : start + 64])
            after = follows[start : start + 64, 1:]
            total += losses.sum().item()
            count += losses.numel()
            answers += losses[after].sum().item()
            answered += int(after.sum())
    return total / count, answers / max(answered, 1)


def _unigram_loss(encoded: _Encoded, held: _Encoded, vocabulary: int) -> float:
    """Loss of the tokens' shares in the training text, each counted once more, on the held-out text."""
    counts = Counter(token for given, text in encoded for token in (*given, *text))
    total = sum(counts.values()) + vocabulary
    losses = [-math.log((counts[token] + 1) / total) for given, text in held for token in (*given, *text)]
    return sum(losses) / len(losses)


def _write(network: Any, tokenizer: Any, record: BaseRecord, out: Path, record_at: Path) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{out.name}-", dir=out.parent))
    try:
        network.generation_config.do_sample = False
        network.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        open_modes(partial)
        # The record comes first: a base that is there has one.
        write_atomically(record_at, json.dumps(record.to_dict(), indent=1) + "\n")
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_modes(directory: Path) -> None:
    """Let everybody read what is in a directory: libraries write some files for their owner only."""
    directory.chmod(0o755)
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
