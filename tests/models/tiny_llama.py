"""Tiny random language models on disk, in the formats of Hugging Face and PEFT, for tests that need real ones.

The weights are wide enough that the best next token stands out: rounding does not decide between two of them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

SENTENCES = (
    "the harbour was quiet before the first ferry came in from the island",
    "a small engine hummed in the workshop while rain fell on the roof",
    "write three short sentences about the garden behind the old school",
    "how many apples are left when two of seven are given away",
    "her review called the film a slow but rewarding piece of work",
    "the market fell again as prices for grain and copper rose",
    "name the colour of the flag and the year in which it was made",
    "players ran onto the wet pitch although the match was delayed",
)
VOCABULARY = 320
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LORA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_tokenizer(
    directory: Path,
    *,
    chat_template: str | None = CHAT_TEMPLATE,
    pad: bool = True,
    bos: bool = True,
    extra: Sequence[str] = (),
) -> Path:
    """A byte-level BPE tokenizer, trained on :data:`SENTENCES`.

    Args:
        chat_template: None leaves it out.
        pad: whether there is a token for padding.
        bos: whether the tokenizer puts ``<s>`` before every text.
        extra: more special tokens, beyond the vocabulary of the models made here.

    The vocabulary has :data:`VOCABULARY` tokens: ``<s>`` 0, ``</s>`` 1, ``<pad>`` 2 (there also where ``pad`` is off).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {"bos_token": "<s>", "eos_token": "</s>"} | ({"pad_token": "<pad>"} if pad else {})
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    if extra:
        wrapped.add_special_tokens({"additional_special_tokens": list(extra)})
    wrapped.chat_template = chat_template
    wrapped.save_pretrained(directory)
    return directory


def write_base(
    directory: Path,
    *,
    seed: int = 0,
    width: int = 32,
    layers: int = 2,
    labels: int | None = None,
    tokenizer: bool = True,
    shards: bool = False,
    tied: bool = False,
    spread: float = 0.4,
) -> Path:
    """A ``LlamaForCausalLM``, or with ``labels`` a ``LlamaForSequenceClassification``, with its tokenizer.

    Args:
        seed: of the weights.
        labels: number of labels of a classifier; None makes a causal model.
        shards: write several files and an index.
        tied: one matrix for the embedding and the head.
        spread: standard deviation of the weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=tied,
        initializer_range=spread,
        **({} if labels is None else {"num_labels": labels}),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config) if labels is None else LlamaForSequenceClassification(config)
    if labels is None and not tied:
        with torch.no_grad():
            model.lm_head.weight[1] *= 2.5  # so that answers end, at lengths of their own
    model.save_pretrained(directory, **({"max_shard_size": "20KB"} if shards else {}))
    if tokenizer:
        write_tokenizer(directory)
    return directory


def write_adapter(
    directory: Path,
    base: Path,
    *,
    seed: int = 1,
    labels: int | None = None,
    rank: int = 4,
    alpha: int = 8,
    layers: Sequence[str] = LORA_LAYERS,
    named_base: str | None = None,
    tokenizer: bool = False,
    strength: float = 0.3,
) -> Path:
    """A LoRA adapter of ``base`` as PEFT saves it, with random factors; with ``labels``, one with a head for them.

    Args:
        named_base: what the adapter says its base is; by default the path of ``base``.
        tokenizer: whether the base's tokenizer lies beside the adapter too.
        strength: standard deviation of the factors.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    if labels is None:
        network = AutoModelForCausalLM.from_pretrained(base)
    else:
        network = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=list(layers),
        task_type=TaskType.CAUSAL_LM if labels is None else TaskType.SEQ_CLS,
        modules_to_save=None if labels is None else ["classifier", "score"],
    )
    model = get_peft_model(network, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * strength)
            elif "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(str(directory))
    settings = directory / "adapter_config.json"
    content = json.loads(settings.read_text())
    content["base_model_name_or_path"] = str(base) if named_base is None else named_base
    settings.write_text(json.dumps(content))
    if tokenizer:
        AutoTokenizer.from_pretrained(base).save_pretrained(directory)
    return directory
