import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError, PalladionError
from palladion.models.classification import encode_sentences
from palladion.models.generation import encode_prompts, generate
from palladion.models.key_value_cache import GrowingCache
from palladion.models.language_model import LanguageModel, describe, open_language_model
from palladion.models.prediction import PredictionJournal, Settings, default_batch_tokens, fingerprint, predict
from tests.models.tiny_llama import SENTENCES, VOCABULARY, write_adapter, write_base, write_tokenizer

WORDS = " ".join(SENTENCES).split()


def sentences(count: int, *, seed: int = 0, longest: int = 30) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(1, longest))) for _ in range(count)]


def prompts(count: int, **options: int) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": sentence}] for sentence in sentences(count, **options)]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zoo")
    base = write_base(root / "base")
    write_adapter(root / "texts", base, tokenizer=True)
    write_adapter(root / "labels", base, labels=4)
    return root


@pytest.fixture(scope="module")
def writer(zoo: Path) -> LanguageModel:
    return open_language_model(describe(zoo / "texts"), device="cpu")


@pytest.fixture(scope="module")
def classifier(zoo: Path) -> LanguageModel:
    return open_language_model(describe(zoo / "labels"), device="cpu")


def answers(model: LanguageModel, rows: Sequence[Any], **settings: Any) -> list[str | int]:
    found = list(predict(model, rows, Settings(**settings)))
    assert sorted(answer.row for answer in found) == list(range(len(rows)))
    return [answer.value for answer in sorted(found, key=lambda answer: answer.row)]


def one_at_a_time(model: LanguageModel, rows: Sequence[Any], new_tokens: int) -> list[str]:
    """What transformers itself generates for each row alone."""
    texts = []
    for tokens in encode_prompts(model, rows):
        with torch.inference_mode():
            written = model.network.generate(
                input_ids=torch.tensor([tokens]),
                attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=model.tokenizer.eos_token_id,
                pad_token_id=model.pad,
            )
        texts.append(model.tokenizer.decode(written[0, len(tokens) :], skip_special_tokens=True).strip())
    return texts


# Texts


def test_batches_answer_as_one_row_at_a_time(writer: LanguageModel) -> None:
    rows = prompts(24)
    wanted = one_at_a_time(writer, rows, 16)
    assert len(set(wanted)) > 12
    # One row, a few that others join, and all at once.
    for batch_tokens in (1, 200, 500, 2000, 100_000):
        assert answers(writer, rows, max_new_tokens=16, batch_tokens=batch_tokens) == wanted


def make(kind: str, directory: Path) -> Path:
    size: dict[str, Any] = {"vocab_size": VOCABULARY, "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": 1}
    llama = size | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    configs = {
        # A window that is shorter than the prompts.
        "mistral": lambda: transformers.MistralConfig(**llama, num_key_value_heads=2, sliding_window=14),
        "qwen2": lambda: transformers.Qwen2Config(
            **llama, num_key_value_heads=2, use_sliding_window=True, sliding_window=5, max_window_layers=1
        ),
        "gpt2": lambda: transformers.GPT2Config(**size, n_positions=256, n_embd=32, n_layer=2, n_head=2),
        "bloom": lambda: transformers.BloomConfig(**size, hidden_size=32, n_layer=2, n_head=4),
    }
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(configs[kind]())
    network.save_pretrained(directory)
    return write_tokenizer(directory)


@pytest.mark.parametrize("kind", ["mistral", "qwen2", "gpt2", "bloom"])
def test_other_kinds_of_attention_and_positions_are_batched_too(kind: str, tmp_path: Path) -> None:
    model = open_language_model(describe(make(kind, tmp_path / kind)), device="cpu")
    rows = prompts(9)
    wanted = one_at_a_time(model, rows, 8)
    assert len(set(wanted)) > 4
    for batch_tokens in (150, 100_000):
        assert answers(model, rows, max_new_tokens=8, batch_tokens=batch_tokens) == wanted


def test_layers_that_cannot_be_batched_are_refused(writer: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer.network.config, "layer_types", ["full_attention", "linear_attention"], raising=False)
    with pytest.raises(InputError, match="layers of the kind linear_attention"):
        answers(writer, prompts(1))


def test_the_repetition_penalty_of_the_model_holds(zoo: Path, tmp_path: Path) -> None:
    """The starter kit generates with what stands in generation_config.json."""
    base = write_base(tmp_path / "base", seed=3)
    settings = base / "generation_config.json"
    rows = prompts(6)
    plain = answers(open_language_model(describe(base)), rows, max_new_tokens=16)
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"repetition_penalty": 1.7}))
    model = open_language_model(describe(base))
    penalised = answers(model, rows, max_new_tokens=16, batch_tokens=200)
    assert penalised == one_at_a_time(model, rows, 16)
    assert penalised != plain


def test_answers_end_at_the_end_of_text_or_the_limit(writer: LanguageModel) -> None:
    encoded = encode_prompts(writer, prompts(40))
    found = list(generate(writer, dict(enumerate(encoded)), max_new_tokens=10, batch_tokens=5000))
    lengths = [answer.tokens for answer in found]
    assert max(lengths) == 10
    assert min(lengths) < 10
    assert all("</s>" not in str(answer.value) for answer in found)
    # Greedy: a shorter limit cuts the same answers off.
    by_row = {answer.row: answer for answer in found}
    for answer in generate(writer, dict(enumerate(encoded)), max_new_tokens=4, batch_tokens=5000):
        assert answer.tokens == min(4, by_row[answer.row].tokens)


def test_rows_are_answered_before_the_longest_is_through(writer: LanguageModel) -> None:
    encoded = encode_prompts(writer, prompts(40))
    found = [a.tokens for a in generate(writer, dict(enumerate(encoded)), max_new_tokens=60, batch_tokens=10**6)]
    assert found == sorted(found)


@pytest.mark.parametrize("batch_tokens", [1, 150, 400, 3000])
def test_no_more_tokens_are_in_memory_than_allowed(
    writer: LanguageModel, classifier: LanguageModel, batch_tokens: int
) -> None:
    sizes = []

    def note(_: Any, __: Any, arguments: dict[str, Any]) -> None:
        sizes.append(tuple(arguments["attention_mask"].shape))

    for model, rows in ((writer, prompts(30)), (classifier, sentences(30))):
        sizes.clear()
        hook = model.network.register_forward_pre_hook(note, with_kwargs=True)
        answers(model, rows, max_new_tokens=20, batch_tokens=batch_tokens)
        hook.remove()
        assert all(count == 1 or count * width <= batch_tokens for count, width in sizes)
        assert (max(count for count, _ in sizes) > 1) is (batch_tokens > 1)


def test_rows_that_are_there_are_skipped(writer: LanguageModel, classifier: LanguageModel) -> None:
    every = {answer.row: answer.value for answer in predict(writer, prompts(9), Settings(max_new_tokens=5))}
    left = {answer.row: answer.value for answer in predict(writer, prompts(9), Settings(max_new_tokens=5), {0, 3, 8})}
    assert left == {row: value for row, value in every.items() if row not in {0, 3, 8}}
    assert [answer.row for answer in predict(classifier, sentences(4), Settings(), {0, 1, 3})] == [2]
    assert list(predict(classifier, sentences(2), Settings(), {0, 1})) == []


# What is read


def test_the_beginning_of_a_text_is_never_doubled(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    row = [{"role": "user", "content": "the harbour"}]
    tail = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}:{% endif %}"
    found = []
    for template in ("{{ bos_token }}" + tail, tail, None):
        write_tokenizer(base, chat_template=template)
        if template is None:
            (base / "chat_template.jinja").unlink()
        model = open_language_model(describe(base))
        (tokens,) = encode_prompts(model, [row])
        assert tokens.count(0) == 1
        assert tokens[0] == 0
        found.append(model.tokenizer.decode(tokens))
    assert found == ["<s>the harbour:", "<s>the harbour:", "<s>the harbour"]


def test_without_a_template_the_messages_are_the_prompt(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", tokenizer=False)
    write_tokenizer(base, chat_template=None, bos=False)
    model = open_language_model(describe(base))
    rows = [[{"role": "system", "content": "be brief"}, {"role": "user", "content": "a flag"}]]
    assert model.tokenizer.decode(encode_prompts(model, rows)[0]) == "be brief\n\na flag"
    # Nothing at all to read: the beginning of a text.
    assert encode_prompts(model, [[{"role": "user", "content": ""}]]) == [[0]]
    assert len(answers(model, [[{"role": "user", "content": ""}]], max_new_tokens=2)) == 1


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('only users here\x1b[2J') }}", "{% for", "{{ messages.pop() }}", "{{ 1 // 0 }}"],
)
def test_a_template_that_fails_is_told_with_the_row(tmp_path: Path, template: str) -> None:
    base = write_base(tmp_path / "base", tokenizer=False)
    write_tokenizer(base, chat_template=template)
    model = open_language_model(describe(base))
    with pytest.raises(InputError, match="row 1: the chat template of the model does not take it") as error:
        answers(model, prompts(2))
    assert "\x1b" not in str(error.value)


def test_a_prompt_longer_than_the_model_reads_is_told_before_any_is_answered(writer: LanguageModel) -> None:
    long = [{"role": "user", "content": "harbour " * 1100}]
    with pytest.raises(InputError, match=r"row 3: the prompt has \d+ tokens; the model reads 1024"):
        predict(writer, [*prompts(2), long], Settings())


def test_sentences_are_cut_off(classifier: LanguageModel) -> None:
    long = "the harbour " * 500
    (cut,) = encode_sentences(classifier, [long], max_length=128)
    assert len(cut) == 128
    assert encode_sentences(classifier, [long], max_length=5) == [cut[:5]]
    assert answers(classifier, [long]) == answers(classifier, [long + "and what nobody reads"])
    assert answers(classifier, [long, *sentences(30)], max_length=4) != answers(classifier, [long, *sentences(30)])


# Labels


@pytest.mark.parametrize("pad", [True, False])
def test_labels_do_not_depend_on_the_batch(zoo: Path, tmp_path: Path, pad: bool) -> None:
    """The score is read off the last token that does not fill up; without a token for that, the end of text does."""
    base = write_base(tmp_path / "base")
    write_tokenizer(base, pad=pad)
    model = open_language_model(describe(zoo / "labels"), base=base)
    assert model.pad == (2 if pad else 1)
    rows = [*sentences(40), "", "the harbour</s></s>", "</s>"]
    alone = []
    for tokens in encode_sentences(model, rows, max_length=128):
        with torch.inference_mode():
            alone.append(int(model.network(input_ids=torch.tensor([tokens])).logits.argmax()))
    assert len(set(alone)) == 4
    for batch_tokens in (1, 100, 300, 100_000):
        assert answers(model, rows, batch_tokens=batch_tokens) == alone


def test_labels_come_with_the_probabilities_of_their_classes(classifier: LanguageModel, writer: LanguageModel) -> None:
    rows = sentences(20)
    found = {answer.row: answer for answer in predict(classifier, rows, Settings(batch_tokens=100))}
    for number, tokens in enumerate(encode_sentences(classifier, rows, max_length=128)):
        with torch.inference_mode():
            scores = classifier.network(input_ids=torch.tensor([tokens])).logits[0].double()
        shares = found[number].probabilities
        assert shares is not None
        assert shares == pytest.approx((scores.exp() / scores.exp().sum()).tolist(), abs=1e-5)
        assert shares.index(max(shares)) == found[number].value
    (text,) = predict(writer, prompts(1), Settings(max_new_tokens=2))
    assert text.probabilities is None


def test_an_encoder_is_batched_with_its_mask(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=3,
        initializer_range=1.0,
    )
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    model = open_language_model(describe(write_tokenizer(tmp_path / "bert")))
    # Short rows, most of which is filled up to the length of one long row.
    rows = [*sentences(30, longest=3), "harbour " * 60]
    alone = [answers(model, [row])[0] for row in rows]
    assert len(set(alone)) == 3
    assert answers(model, rows, batch_tokens=100_000) == alone


@pytest.mark.parametrize("model_name", ["writer", "classifier"])
def test_numbers_that_are_none_are_told(
    model_name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: LanguageModel = request.getfixturevalue(model_name)
    norm = model.network.model.norm
    broken = torch.nn.Parameter(torch.full_like(norm.weight, torch.nan), requires_grad=False)
    monkeypatch.setattr(norm, "weight", broken)
    with pytest.raises(InputError, match=r"\(NaN\).* --dtype bfloat16 or float32"):
        answers(model, prompts(2) if model_name == "writer" else sentences(2))


def test_the_tokens_in_memory_suit_the_model(
    writer: LanguageModel, classifier: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_batch_tokens(classifier) == 1024
    # Keys and values of a token of this model are 2 · 2 layers · 2 heads · 8 numbers: of 256 bytes a GiB holds plenty.
    assert default_batch_tokens(writer) == 65_536
    # Those of LLaMA 2 7B in float32 are a megabyte, so that a GiB holds 1024.
    for name, value in (("num_hidden_layers", 32), ("num_key_value_heads", 32), ("head_dim", 128)):
        monkeypatch.setattr(writer.network.config, name, value)
    assert default_batch_tokens(writer) == 1024


# Keys and values


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    steps=st.integers(0, 70),
    kept=st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
    trimmed=st.integers(1, 9),
    joined=st.integers(1, 12),
)
def test_the_cache_holds_what_plain_concatenation_would(
    lengths: list[int], steps: int, kept: list[int], trimmed: int, joined: int
) -> None:
    rows, width = 4, 3
    generator = torch.Generator().manual_seed(steps)
    cache, plain = GrowingCache(), torch.empty(rows, 2, 0, width)
    for length in [*lengths, *[1] * steps]:
        states = torch.randn(rows, 2, length, width, generator=generator)
        plain = torch.cat([plain, states], dim=-2)
        keys, values = cache.update(states, -states, 0)
        assert torch.equal(keys, plain)
        assert torch.equal(values, -plain)
        assert cache.get_seq_length() == plain.shape[-2]
    trimmed = min(trimmed, plain.shape[-2])
    cache.keep(torch.tensor(kept), trimmed)
    plain = plain[kept][:, :, -trimmed:]
    other, states = GrowingCache(), torch.randn(2, 2, joined, width, generator=generator)
    other.update(states, -states, 0)
    cache.join([other])
    length = max(trimmed, joined)
    parts = [torch.nn.functional.pad(part, (0, 0, length - part.shape[-2], 0)) for part in (plain, states)]
    more = torch.randn(len(kept) + 2, 2, 1, width, generator=generator)
    keys, values = cache.update(more, -more, 0)
    assert torch.equal(keys, torch.cat([torch.cat(parts), more], dim=-2))
    assert torch.equal(values, -keys)


# What is kept on the way


def test_kept_answers_are_found_again(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    journal = PredictionJournal(out, "name", 3, str)
    assert not journal.complete
    journal.add(2, "third\n\u2028 ☃")
    journal.add(0, "")
    journal.close()
    again = PredictionJournal(out, "name", 3, str)
    assert again.answers == {0: "", 2: "third\n\u2028 ☃"}
    assert not again.dropped
    again.add(1, "second")
    assert again.complete
    assert again.in_order() == ["", "second", "third\n\u2028 ☃"]
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_probabilities_are_kept_with_their_labels(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    journal = PredictionJournal(out, "name", 3, int)
    journal.add(2, 1, (0.25, 0.75))
    journal.add(0, 0, (1.0, 0.0))
    journal.close()
    again = PredictionJournal(out, "name", 3, int)
    assert again.answers == {0: 0, 2: 1}
    again.add(1, 1, (1e-30, 1 / 3))
    assert again.probabilities() == [(1.0, 0.0), (1e-30, 1 / 3), (0.25, 0.75)]
    # Of one row without them, or of other classes, nothing can be made.
    again.add(1, 1)
    assert again.probabilities() is None
    again.add(1, 1, (0.1, 0.2, 0.7))
    assert again.probabilities() is None
    assert again.in_order() == [0, 1, 1]


def test_half_a_line_costs_one_answer(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    journal = PredictionJournal(out, "name", 4, int)
    for row in range(3):
        journal.add(row, row)
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes()[:-5])
    again = PredictionJournal(out, "name", 4, int)
    assert again.answers == {0: 0, 1: 1}
    again.add(3, 7)
    again.close()
    assert PredictionJournal(out, "name", 4, int).answers == {0: 0, 1: 1, 3: 7}


def test_answers_of_something_else_are_dropped(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    first = PredictionJournal(out, "name", 4, int)
    first.add(0, 1)
    first.close()
    other = PredictionJournal(out, "other", 4, int)
    assert (other.answers, other.dropped) == ({}, True)
    other.close()
    # Nothing is in it: nothing stays behind.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        '{"row": 9, "answer": 1}',
        '{"row": -1, "answer": 1}',
        '{"row": true, "answer": 1}',
        '{"row": 1, "answer": "x"}',
        '{"row": 1, "answer": true}',
        '{"row": 1}',
        '{"row": 1, "answer": 1, "probabilities": [0.5, NaN]}',
        '{"row": 1, "answer": 1, "probabilities": [0.5, 1.5]}',
        '{"row": 1, "answer": 1, "probabilities": []}',
        '{"row": 1, "answer": 1, "probabilities": [0.5, "x"]}',
        "[1, 1]",
        "null",
        "\ud800\x00",
        "[" * 100_000,
    ],
)
def test_lines_that_are_no_answers_are_passed_over(tmp_path: Path, line: str) -> None:
    out = tmp_path / "out.csv"
    journal = PredictionJournal(out, "name", 4, int)
    journal.add(0, 1)
    journal.close()
    with journal.path.open("ab") as file:
        file.write(line.encode(errors="surrogatepass") + b'\n{"row": 2, "answer": 3}\n')
    assert PredictionJournal(out, "name", 4, int).answers == {0: 1, 2: 3}


def test_one_process_at_a_time_predicts_for_a_file(tmp_path: Path) -> None:
    journal = PredictionJournal(tmp_path / "out.csv", "name", 4, int)
    with pytest.raises(PalladionError, match=r"out\.csv: another process is predicting into it"):
        PredictionJournal(tmp_path / "out.csv", "name", 4, int)
    journal.close()
    PredictionJournal(tmp_path / "out.csv", "name", 4, int).close()


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".out.csv.partial").symlink_to(victim)
    with pytest.raises(PalladionError, match="cannot be written"):
        PredictionJournal(tmp_path / "out.csv", "name", 4, int)
    assert victim.read_text() == "precious"


def test_fingerprints_change_with_all_that_answers_depend_on(tmp_path: Path) -> None:
    inputs = tmp_path / "in.json"
    inputs.write_text("[]")
    names = {
        fingerprint(["a"], inputs, Settings(), dtype="float32"),
        fingerprint(["b"], inputs, Settings(), dtype="float32"),
        fingerprint(["a", "b"], inputs, Settings(), dtype="float32"),
        fingerprint(["a"], inputs, Settings(max_new_tokens=7), dtype="float32"),
        fingerprint(["a"], inputs, Settings(max_length=7), dtype="float32"),
        fingerprint(["a"], inputs, Settings(), dtype="bfloat16"),
    }
    assert fingerprint(["a"], inputs, Settings(batch_tokens=7), dtype="float32") in names
    inputs.write_text("[ ]")
    names.add(fingerprint(["a"], inputs, Settings(), dtype="float32"))
    assert len(names) == 7
