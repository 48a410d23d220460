"""Claim: ``palladion predict`` is at least 4 times as fast as one row at a time with a fresh load for every adapter.

Both answer the same rows with the same models in one run: three LoRA adapters on one small Llama with random weights,
once for labels and once for texts. The plain way is the public starter kit's: for every adapter the base is opened anew
and PEFT puts the adapter on it; texts are generated one row at a time. Labels are given one row at a time, and beside
that in batches of four in the given order, as the kit's script does. Imports are not timed, though the kit starts a new
process for every adapter. The answers of both are compared, and the run fails where they differ in more than one row of
a hundred.

    python benchmarks/prediction.py                  300 rows, texts of up to 64 tokens, 1 thread: a few minutes
    python benchmarks/prediction.py --rows 50 --new-tokens 32
"""

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from palladion.models.language_model import LanguageModel, describe, open_language_model
from palladion.models.prediction import Settings, predict

ADAPTERS = 3
LABELS = 4
# The kit tokenises what the template wrote with special tokens once more; with one that writes none, both agree.
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Row:
    """Seconds of both for all adapters, and in how many of the answers they agree.

    Wall time, and processor time, which a busy machine disturbs less.
    """

    part: str
    palladion: float
    plain: float
    palladion_processor: float
    plain_processor: float
    answers: int
    equal: int

    @property
    def ratio(self) -> float:
        """How many times as fast, by wall time."""
        return self.plain / self.palladion

    @property
    def processor_ratio(self) -> float:
        """The same by processor time."""
        return self.plain_processor / self.palladion_processor


def write_models(folder: Path, texts: Sequence[str]) -> None:
    """A base of about 2M parameters, and adapters for both kinds of work."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4096, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    wrapped.chat_template = TEMPLATE
    base = folder / "base"
    config = transformers.LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        network.lm_head.weight[1] *= 2  # so that texts end at lengths of their own
    network.save_pretrained(base)
    wrapped.save_pretrained(base)
    for number in range(1, ADAPTERS + 1):
        write_adapter(folder / f"texts-{number}", base, number, None)
        wrapped.save_pretrained(folder / f"texts-{number}")
        write_adapter(folder / f"labels-{number}", base, number, LABELS)


def write_adapter(directory: Path, base: Path, seed: int, labels: int | None) -> None:
    if labels is None:
        network = transformers.AutoModelForCausalLM.from_pretrained(base)
    else:
        network = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
    config = peft.LoraConfig(
        r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM" if labels is None else "SEQ_CLS"
    )
    model = peft.get_peft_model(network, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (parameter for parameter in model.parameters() if parameter.requires_grad):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(str(directory))


def plain_texts(adapter: Path, conversations: Sequence[Any], new_tokens: int) -> list[str]:
    """Open base and adapter, and generate one row at a time, as the starter kit does."""
    settings = json.loads((adapter / "adapter_config.json").read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(adapter)
    tokenizer.padding_side = "left"
    base = transformers.AutoModelForCausalLM.from_pretrained(
        settings["base_model_name_or_path"], dtype=torch.float32, device_map="auto", use_cache=True
    )
    model = peft.PeftModel.from_pretrained(base, str(adapter)).eval()
    answers = []
    for messages in conversations:
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        encoded = tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            written = model.generate(
                **encoded,
                max_new_tokens=new_tokens,
                do_sample=False,
                num_beams=1,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = written[0][encoded.input_ids.shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True).strip())
    return answers


def plain_labels(adapter: Path, sentences: Sequence[str], batch: int) -> list[int]:
    """Open base and adapter, and label the rows in their order, so many at a time."""
    settings = json.loads((adapter / "adapter_config.json").read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(settings["base_model_name_or_path"])
    tokenizer.padding_side = "right"
    base = transformers.AutoModelForSequenceClassification.from_pretrained(
        settings["base_model_name_or_path"], num_labels=LABELS, dtype=torch.float32, device_map="auto"
    )
    model = peft.PeftModel.from_pretrained(base, str(adapter)).eval()
    model.config.pad_token_id = tokenizer.pad_token_id
    labels: list[int] = []
    with torch.inference_mode():
        for first in range(0, len(sentences), batch):
            encoded = tokenizer(
                list(sentences[first : first + batch]),
                return_tensors="pt",
                max_length=128,
                truncation=True,
                padding=True,
            )
            labels += model(**encoded).logits.argmax(dim=-1).tolist()
    return labels


def ours(adapters: Sequence[Path], rows: Sequence[Any], settings: Settings) -> list[list[int | str]]:
    """Open the base once, and put one adapter after the other on it."""
    model: LanguageModel | None = None
    answers = []
    for adapter in adapters:
        files = describe(adapter)
        if model is None:
            model = open_language_model(files, device="cpu")
        else:
            model.attach(files)
        found = {answer.row: answer.value for answer in predict(model, rows, settings)}
        answers.append([found[row] for row in range(len(rows))])
    return answers


Timed = tuple[float, float, list[list[Any]]]


def timed(work: Callable[[], list[list[Any]]]) -> Timed:
    """Seconds of wall and processor time, and the answers of each adapter."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - processor, result


def compared(part: str, own: Timed, plain: Timed) -> Row:
    pairs = [pair for one, other in zip(own[2], plain[2], strict=True) for pair in zip(one, other, strict=True)]
    row = Row(part, own[0], plain[0], own[1], plain[1], len(pairs), sum(a == b for a, b in pairs))
    print(
        f"{part:34} {row.palladion:8.2f} s {row.plain:8.2f} s {row.ratio:6.1f}× {row.processor_ratio:8.1f}× "
        f"{row.equal:8} of {row.answers}",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "prediction.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnoprstuvwyz", k=generator.randint(2, 9))) for _ in range(1500)]
    sentences = [" ".join(generator.choices(words, k=generator.randint(3, 40))) for _ in range(options.rows)]
    conversations = [[{"role": "user", "content": sentence}] for sentence in sentences]
    settings = Settings(max_new_tokens=options.new_tokens)
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder), sentences)
        texts = [Path(folder) / f"texts-{number}" for number in range(1, ADAPTERS + 1)]
        labels = [Path(folder) / f"labels-{number}" for number in range(1, ADAPTERS + 1)]
        for warm in (texts[0], labels[0]):  # whatever libraries load late, they load now
            ours([warm], (conversations if warm is texts[0] else sentences)[:2], settings)
        plain_texts(texts[0], conversations[:1], 2)
        plain_labels(labels[0], sentences[:1], 1)
        print(f"{ADAPTERS} adapters, {options.rows} rows, {options.threads} threads; seconds for all adapters")
        print(f"{'':34} {'palladion':>10} {'plain':>10} {'ratio':>7} {'processor':>9} {'equal':>8}")
        own = timed(lambda: ours(labels, sentences, settings))
        plain = timed(lambda: [plain_labels(adapter, sentences, 4) for adapter in labels])
        results = [compared("labels, against batches of 4", own, plain)]
        plain = timed(lambda: [plain_labels(adapter, sentences, 1) for adapter in labels])
        results.append(compared("labels, against one row at a time", own, plain))
        own = timed(lambda: ours(texts, conversations, settings))
        plain = timed(lambda: [plain_texts(adapter, conversations, options.new_tokens) for adapter in texts])
        results.append(compared("texts, against one row at a time", own, plain))
    parameters = {"rows": options.rows, "new_tokens": options.new_tokens, "adapters": ADAPTERS}
    document = {
        **parameters,
        "threads": options.threads,
        "machine": platform.machine(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
        "results": [{**asdict(row), "ratio": row.ratio, "processor_ratio": row.processor_ratio} for row in results],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n")
    if any(row.equal < 0.99 * row.answers for row in results):
        sys.exit("the answers differ")


if __name__ == "__main__":
    main()
