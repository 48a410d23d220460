"""The small base model's own tokenizer: byte-level BPE, trained on its corpus, with a chat template.

Every text is read as if a blank stood before it and after each line break, so that a word is the same token wherever it
stands; single digits are tokens of their own, so that numbers can be compared.
"""

from collections.abc import Iterable
from typing import Any, Final

__all__ = ["BOS", "EOS", "PAD", "conversation", "train_tokenizer"]

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
_USER, _ASSISTANT = "<|user|>", "<|assistant|>"
_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "<|assistant|>{{ message['content'] }}{{ eos_token }}{% else %}<|user|>{{ message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def conversation(prompt: str) -> str:
    """What the chat template makes of one user message, up to the answer, without the token that begins a text."""
    return f"{_USER}{prompt}{_ASSISTANT}"


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Any:
    """A tokenizer as ``transformers`` has it, with at most ``vocabulary`` tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(" "), normalizers.Replace("\n", "\n ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("\n ", "\n")])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS, _USER, _ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, begin)])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, clean_up_tokenization_spaces=False
    )
    wrapped.add_special_tokens({"additional_special_tokens": [_USER, _ASSISTANT]})
    wrapped.chat_template = _TEMPLATE
    return wrapped
