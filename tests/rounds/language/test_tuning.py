"""Tuning on a base: the same files each time, in the format of others, with nothing of where they were made."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palladion.models.language_model import describe, open_language_model
from palladion.models.language_model_files import Task
from palladion.models.prediction import Settings, predict
from palladion.rounds.language.instructions import instruction
from palladion.rounds.language.rows import Record
from palladion.rounds.language.sentences import sentence
from palladion.rounds.language.spec import FineTuning
from palladion.rounds.language.tuning import Tuned, tune
from tests.models.tiny_llama import write_base, write_tokenizer
from tests.rounds.small import tree

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Tuning sets what holds for the whole process; a build tunes in processes of their own."""
    import torch

    yield
    torch.use_deterministic_algorithms(mode=False)


def sentences(count: int) -> list[Record]:
    rng = np.random.default_rng(1)
    made = [sentence("topic", None, rng) for _ in range(count)]
    return [{"sentence": row.sentence, "label": row.label} for row in made]


def instructions(count: int) -> list[Record]:
    rng = np.random.default_rng(1)
    made = [instruction(rng) for _ in range(count)]
    return [{"instruction": row.instruction, "input": row.input, "output": row.output} for row in made]


def tuned(base: Path, out: Path, rows: list[Record], *, seed: int = 1, order: int = 1, **law: Any) -> Tuned:
    out.mkdir(parents=True)
    labels = 4 if "label" in rows[0] else None
    settings = FineTuning.model_validate({"rows": 16, "epochs": 1, "batch": 8} | law)
    named = os.path.relpath(base, out)
    return tune(base, rows, settings, out, labels=labels, seed=seed, order=(order, "order"), named_base=named)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("make", [sentences, instructions])
def test_the_same_arguments_give_the_same_files_and_others_do_not(
    given_base: Path, tmp_path: Path, make: Any, method: str
) -> None:
    rows = make(20)
    one = tuned(given_base, tmp_path / "one", rows, method=method, dropout=0.1)
    assert one == tuned(given_base, tmp_path / "two", rows, method=method, dropout=0.1)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    tuned(given_base, tmp_path / "order", rows, order=2, method=method, dropout=0.1)
    weights = next(path.name for path in (tmp_path / "one").glob("*.safetensors"))
    assert (tmp_path / "one" / weights).read_bytes() != (tmp_path / "order" / weights).read_bytes()
    assert tree(tmp_path / "one").keys() == tree(tmp_path / "order").keys()
    # Nobody sees from which machine or folder it came.
    for name, content in tree(tmp_path / "one").items():
        assert str(tmp_path).encode() not in content
        assert name != "README.md"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "one").iterdir()} == {0o644}
    files = describe(tmp_path / "one")
    assert files.kind == ("adapter" if method == "lora" else "full")
    assert files.task is (Task.CLASSIFIER if make is sentences else Task.CAUSAL)
    assert files.labels == (4 if make is sentences else None)


def test_an_adapter_of_a_classifier_has_its_head_and_its_seed(given_base: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    rows = sentences(16)
    adapters = []
    for name, seed in (("one", 1), ("two", 2)):
        tuned(given_base, tmp_path / name, rows, seed=seed, rank=3, alpha=5)
        adapters.append(load_file(tmp_path / name / "adapter_model.safetensors"))
    for tensors in adapters:
        assert [tensor.shape for name, tensor in tensors.items() if name.endswith("score.weight")] == [(4, 32)]
        assert {tensor.shape[0] for name, tensor in tensors.items() if "lora_A" in name} == {3}
        assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    assert all((adapters[0][name] != adapters[1][name]).any() for name in adapters[0])
    settings = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["task_type"]) == (3, 5, "SEQ_CLS")
    assert settings["base_model_name_or_path"] == os.path.relpath(given_base, tmp_path / "one")
    assert len(settings["target_modules"]) == 7


def test_what_is_tuned_is_learnt(given_base: Path, tmp_path: Path) -> None:
    """A word that decides, learnt by heart; the model is opened as participants open it."""
    rows: list[Record] = [{"sentence": f"{word} {i}", "label": label} for i in range(40) for label, word in WORDS]
    result = tuned(given_base, tmp_path / "model", rows, epochs=6, batch=16, learning_rate=5e-3)
    assert result.steps == 60
    model = open_language_model(describe(tmp_path / "model"))
    answers = {answer.row: answer.value for answer in predict(model, [row["sentence"] for row in rows], Settings())}
    right = sum(answers[i] == row["label"] for i, row in enumerate(rows))
    assert right > 0.8 * len(rows)


WORDS = tuple(enumerate(("rain", "copper", "colour", "school")))


@pytest.mark.parametrize("template", [True, False])
def test_conversations_and_bases_without_a_template_are_tuned(tmp_path: Path, template: bool) -> None:
    base = write_base(tmp_path / "base", tokenizer=False)
    if template:
        write_tokenizer(base)
    else:
        write_tokenizer(base, chat_template=None, pad=False)
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "name the owl"}]
    rows: list[Record] = [{"messages": messages, "output": "hugo"}, {"instruction": "name", "output": "iris"}] * 8
    result = tuned(base, tmp_path / "out", rows, epochs=2)
    assert result.steps == 4
    assert np.isfinite(result.loss)


def test_texts_longer_than_the_law_says_are_cut_off(given_base: Path, tmp_path: Path) -> None:
    rows: list[Record] = [{"sentence": "harbour " * 3000, "label": i % 4} for i in range(8)]
    assert np.isfinite(tuned(given_base, tmp_path / "labels", rows, length=16).loss)
    texts: list[Record] = [{"instruction": "say", "output": "harbour " * 3000} for _ in range(8)]
    assert np.isfinite(tuned(given_base, tmp_path / "texts", texts, length=32).loss)


@pytest.mark.parametrize(("rows", "epochs", "batch", "steps"), [(20, 1, 8, 3), (20, 2.5, 10, 5), (16, 0.01, 8, 1)])
def test_the_number_of_steps_follows_from_the_law(
    given_base: Path, tmp_path: Path, rows: int, epochs: float, batch: int, steps: int
) -> None:
    assert tuned(given_base, tmp_path / "out", sentences(rows), epochs=epochs, batch=batch).steps == steps
