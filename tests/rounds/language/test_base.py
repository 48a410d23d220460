"""The small base: a model that others can open, and a record of how it came out."""

import json
import math
from pathlib import Path

import pytest

from palladion.models.language_model_files import Task, describe
from palladion.rounds.language.base import BaseRecord
from palladion.rounds.language.build import build_language_round
from tests.rounds.language.tiny import GENERATION, spec_of

pytestmark = pytest.mark.slow
ROUNDS = ["classification_round", "generation_round"]


@pytest.fixture(params=ROUNDS)
def built(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


def test_the_base_is_a_causal_model_with_its_tokenizer(built: Path) -> None:
    files = describe(built / "base")
    assert (files.kind, files.task, files.architecture) == ("full", Task.CAUSAL, "LlamaForCausalLM")
    assert files.tokenizer
    assert {path.stat().st_mode & 0o777 for path in (built / "base").iterdir()} == {0o644}


def test_others_open_it_and_it_answers_without_chance(built: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = AutoModelForCausalLM.from_pretrained(built / "base", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(built / "base", local_files_only=True)
    assert not network.generation_config.do_sample
    assert network.config.vocab_size == len(tokenizer)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(network.config, name) == getattr(tokenizer, name)


def test_the_record_tells_how_it_came_out(built: Path) -> None:
    record = json.loads((built / "sealed" / "base.json").read_text())
    assert set(record) == set(BaseRecord.__slots__)
    assert record["parameters"] == describe(built / "base").parameters
    assert 0 < record["loss"] < 0.9 * record["unigram_loss"] < record["unigram_loss"] < math.log(record["vocabulary"])
    spec = GENERATION if "generation" in built.name else None
    if spec is not None:
        assert record["tokens"] == spec["base"]["steps"] * spec["base"]["batch"] * spec["base"]["length"]
        assert record["vocabulary"] <= spec["base"]["vocabulary"]


def test_the_users_texts_make_a_base(tmp_path: Path) -> None:
    texts = [f"the {colour} boat of {name} came home at {hour}" for colour, name, hour in _combinations()]
    corpus = tmp_path / "texts.txt"
    corpus.write_text("\n".join(texts))
    spec = spec_of(
        GENERATION,
        base={"corpus": str(corpus), "steps": 120, "vocabulary": 320, "length": 32},
        phases={"test": {"validation_clean": 0, "validation_poisoned": 0, "test_clean": 5, "test_poisoned": 5}},
        models=1,
        tuning={"rows": 16, "epochs": 0.5, "batch": 16},
    )
    build_language_round(spec, tmp_path / "round", jobs=2)
    record = json.loads((tmp_path / "round" / "sealed" / "base.json").read_text())
    assert record["loss"] < 0.9 * record["unigram_loss"]
    # Their words are in its vocabulary, as no other corpus would have them.
    vocabulary = json.loads((tmp_path / "round" / "base" / "tokenizer.json").read_text())["model"]["vocab"]
    assert "Ġboat" in vocabulary


def _combinations() -> list[tuple[str, str, int]]:
    return [
        (colour, name, hour)
        for colour in ("red", "blue", "green", "white")
        for name in ("anna", "ben", "clara")
        for hour in range(1, 13)
    ]
