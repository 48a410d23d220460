"""Greedy generation for many prompts: rows that have ended leave the batch, and waiting ones take their place.

The texts are those that each prompt would get alone, but for rounding: where two tokens are equally likely up to the
last digits, a batch of another size may choose the other one. The settings are those of the public challenge's starter
kit: the most likely token each time, to the tokenizer's end of text or a number of new tokens.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from palladion.errors import InputError
from palladion.models.language_model import LanguageModel
from palladion.models.model_files import printable

if TYPE_CHECKING:
    import torch

    from palladion.models.key_value_cache import GrowingCache

__all__ = ["Answer", "arguments_of", "encode_prompts", "generate"]

_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
# Rows that have ended are carried along until they are this part of the batch: taking rows out copies the others.
_ENDED_SHARE = 8
# Rows wait until there is room for this part of a batch.
_JOINING_SHARE = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answers to one row.

    Attributes:
        row: position of its input, counted from 0.
        value: a text, or a label.
        tokens: how many were generated; of a label, how many were read.
        probabilities: of a label, one for each class, which add up to 1.
    """

    row: int
    value: str | int
    tokens: int
    probabilities: tuple[float, ...] | None = None


def encode_prompts(model: LanguageModel, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[list[int]]:
    """The tokens of each conversation as the model reads them, ready for its answer.

    With the tokenizer's chat template where it has one; a template that writes the token for the beginning of a text
    does not get a second one. Without a template, the messages' contents as they are, an empty line between them.

    Raises:
        InputError: the template does not take a conversation, or it is longer than the model can read.
    """
    tokenizer = model.tokenizer
    limit = getattr(model.network.config.get_text_config(), "max_position_embeddings", None)
    encoded = []
    for number, messages in enumerate(conversations, start=1):
        if tokenizer.chat_template:
            try:
                text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
            except Exception as error:  # templates are programs; theirs may be any
                raise InputError(
                    f"row {number}: the chat template of the model does not take it: {printable(str(error))}"
                ) from None
        else:
            text = "\n\n".join(message["content"] for message in messages)
        begun = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
        tokens = tokenizer(text, add_special_tokens=not begun).input_ids
        if limit is not None and len(tokens) > limit:
            raise InputError(f"row {number}: the prompt has {len(tokens)} tokens; the model reads {limit}")
        # A model needs something to begin with.
        encoded.append(list(tokens) or [model.pad if tokenizer.bos_token_id is None else tokenizer.bos_token_id])
    if max(map(max, encoded), default=0) >= model.vocabulary:
        raise InputError("the tokenizer gives tokens that its own vocabulary lacks", path=model.base)
    return encoded


@dataclass(slots=True)
class _Row:
    number: int
    prompt: list[int]
    answer: list[int] = field(default_factory=list)
    ended: bool = False


def generate(
    model: LanguageModel, prompts: Mapping[int, list[int]], *, max_new_tokens: int, batch_tokens: int
) -> Iterator[Answer]:
    """Answer each prompt, and yield the answers as they end.

    Args:
        model: what is attached answers.
        prompts: tokens (:func:`encode_prompts`) by the number of their row.
        max_new_tokens: after so many an answer ends.
        batch_tokens: how many tokens, read and to be written, are in memory at a time; one row is always.

    Raises:
        InputError: the model's numbers are none (NaN), or its kind of attention is not known here.
    """
    import torch

    kinds = set(getattr(model.network.config.get_text_config(), "layer_types", None) or ()) - _ATTENTION
    if kinds:
        kind = printable(min(kinds), 40)
        raise InputError(f"has layers of the kind {kind}, which cannot be batched", path=model.base)
    # The longest wait last in the list: they go first, so that memory is at its most at the beginning.
    waiting = sorted((_Row(number, prompt) for number, prompt in prompts.items()), key=lambda row: len(row.prompt))
    batch = _Batch(model, max_new_tokens)
    while waiting or batch.rows:
        joining = _joining(waiting, batch.rows, batch_tokens, max_new_tokens)
        with torch.inference_mode():
            ended = batch.read(joining) if joining else batch.step()
        for row in ended:
            text = model.tokenizer.decode(row.answer, skip_special_tokens=True).strip()
            yield Answer(row.number, text, len(row.answer))


def _joining(waiting: list[_Row], rows: Sequence[_Row], batch_tokens: int, max_new_tokens: int) -> list[_Row]:
    """Take the rows out of ``waiting`` that join the batch now."""
    if not waiting:
        return []
    width = max_new_tokens + max(len(row.prompt) for row in (*rows, waiting[-1]))
    capacity = max(1, batch_tokens // width)
    count = min(len(waiting), capacity - len(rows))
    # Reading prompts takes a step of its own, in which the others wait: not for a few of many.
    if count < len(waiting) and rows and count * _JOINING_SHARE < capacity:
        return []
    return [waiting.pop() for _ in range(count)]


class _Batch:
    """The rows that are answered at present."""

    rows: list[_Row]
    _cache: "GrowingCache"
    _mask: "torch.Tensor"
    _last: "torch.Tensor"
    _seen: "torch.Tensor | None"

    def __init__(self, model: LanguageModel, max_new_tokens: int) -> None:
        self.rows = []
        self._model, self._most = model, max_new_tokens
        self._ends = _ends(model)
        penalty = getattr(model.network.generation_config, "repetition_penalty", None)
        self._penalty = float(penalty) if penalty and penalty > 0 else 1.0
        self._accepted = arguments_of(model.network)

    def read(self, rows: list[_Row]) -> list[_Row]:
        """Let rows join: read their prompts and choose their first tokens. Returns those that have ended."""
        import torch

        from palladion.models.key_value_cache import GrowingCache

        device, width = self._model.device, max(len(row.prompt) for row in rows)
        fill = self._model.pad
        ids = torch.tensor([[fill] * (width - len(row.prompt)) + row.prompt for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows], device=device)
        seen = None
        if self._penalty != 1.0:
            seen = torch.zeros((len(rows), self._model.vocabulary), dtype=torch.bool, device=device)
            for i, row in enumerate(rows):
                seen[i, row.prompt] = True
        cache = GrowingCache()
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        last = self._choose(rows, self._forward(ids, mask, positions, cache), seen)
        if self.rows:
            self._cache.join([cache])
            length = max(width, self._mask.shape[1])
            filled = [torch.nn.functional.pad(part, (length - part.shape[1], 0)) for part in (self._mask, mask)]
            self._mask, self._last = torch.cat(filled), torch.cat([self._last, last])
            self._seen = None if seen is None or self._seen is None else torch.cat([self._seen, seen])
            self.rows += rows
        else:
            self.rows, self._cache, self._mask, self._last, self._seen = list(rows), cache, mask, last, seen
        return self._leave(rows)

    def step(self) -> list[_Row]:
        """Choose one more token for every row. Returns those that have ended."""
        import torch

        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        positions = self._mask.sum(dim=-1, keepdim=True) - 1
        logits = self._forward(self._last[:, None], self._mask, positions, self._cache)
        self._last = self._choose(self.rows, logits, self._seen)
        return self._leave(self.rows)

    def _forward(self, ids: Any, mask: Any, positions: Any, cache: "GrowingCache") -> Any:
        """Logits of the last token of each row, shape ``(rows, vocabulary)``."""
        more = {"position_ids": positions, "logits_to_keep": 1}
        output = self._model.network(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: value for name, value in more.items() if name in self._accepted},
        )
        return output.logits[:, -1, : self._model.vocabulary]

    def _choose(self, rows: Sequence[_Row], logits: Any, seen: Any) -> "torch.Tensor":
        import torch

        if seen is not None:
            logits = logits.float()
            penalised = torch.where(logits > 0, logits / self._penalty, logits * self._penalty)
            logits = torch.where(seen, penalised, logits)
        values, chosen = logits.max(dim=-1)
        if values.isnan().any():
            raise InputError(
                "answers with numbers that are none (NaN); in float16 they may have grown too large: try --dtype "
                "bfloat16 or float32",
                path=self._model.base,
            )
        if seen is not None:
            seen.scatter_(1, chosen[:, None], value=True)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if not row.ended:
                row.answer.append(token)
        last: torch.Tensor = chosen
        return last

    def _leave(self, changed: Sequence[_Row]) -> list[_Row]:
        """Mark rows that have ended, return those that just did, and take ended rows out where they are many."""
        import torch

        just_ended = []
        for row in changed:
            if not row.ended and (row.answer[-1] in self._ends or len(row.answer) >= self._most):
                row.ended = True
                just_ended.append(row)
        staying = [i for i, row in enumerate(self.rows) if not row.ended]
        if not staying:
            self.rows = []
        elif (len(self.rows) - len(staying)) * _ENDED_SHARE >= len(self.rows):
            kept = torch.tensor(staying, device=self._model.device)
            self.rows = [self.rows[i] for i in staying]
            length = int(self._mask[kept].sum(dim=-1).max())
            self._cache.keep(kept, length)
            self._mask, self._last = self._mask[kept, -length:], self._last[kept]
            self._seen = None if self._seen is None else self._seen[kept]
        return just_ended


def _ends(model: LanguageModel) -> set[int]:
    """Tokens that end an answer: the tokenizer's, or where it has none the model's."""
    end = model.tokenizer.eos_token_id
    if end is None:
        end = getattr(model.network.generation_config, "eos_token_id", None)
    return set(end) if isinstance(end, list) else set() if end is None else {int(end)}


def arguments_of(network: Any) -> set[str]:
    """Names of the arguments that a network takes."""
    return set(inspect.signature(network.forward).parameters)
