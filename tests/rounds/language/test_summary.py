"""What a round holds, told from its records."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from palladion.documents import load_document, write_document
from palladion.errors import InputError
from palladion.rounds.language.design import plan_round
from palladion.rounds.language.spec import LanguageRoundSpec
from palladion.rounds.language.summary import summarise_language
from tests.rounds.language.tiny import CLASSIFICATION, spec_of, user_spec

Copied = Callable[[Path], Path]


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A round of which nothing is built yet."""
    (tmp_path / "phases").mkdir()
    (tmp_path / "sealed").mkdir()
    (tmp_path / "sealed" / "round.yaml").write_text(write_document(spec_of(CLASSIFICATION)))
    return tmp_path


def test_a_round_that_is_not_built_yet_is_told_as_planned(begun: Path) -> None:
    summary = summarise_language(begun)
    spec = spec_of(CLASSIFICATION)
    assert (summary["name"], summary["title"], summary["track"], summary["seed"]) == (
        spec.name,
        spec.title,
        spec.track,
        spec.seed,
    )
    assert summary["base"] is None
    assert list(summary["phases"]) == ["development", "test"]
    for plan in plan_round(spec):
        (task,) = summary["phases"][plan.phase]
        assert (task["task"], task["initialisation"], task["clean_utility"]) == ("task1", plan.initialisation, None)
        for told, model in zip(task["models"], plan.models, strict=True):
            assert model.attack is not None
            assert (told["model"], told["attack"]) == (model.name, model.attack_name)
            assert (told["family"], told["target"]) == (model.attack.family, str(model.target.value))
            assert told["rate"] == model.rate
            assert (told["utility"], told["attack_success_rate"], told["attempts"]) == (None, None, 0)
            assert not told["passed"]


def test_published_poison_is_told_as_that(begun: Path) -> None:
    poison = {"target": 1, "train": "t", "test": "u"}
    spec = user_spec({"train": "a", "test": "b", "poison": {"words": poison}})
    (begun / "sealed" / "round.yaml").write_text(write_document(spec))
    told = summarise_language(begun)["phases"]["test"][0]["models"][0]
    assert (told["attack"], told["family"], told["target"]) == ("words", "published", "1")


@pytest.mark.parametrize("name", ["test/task1/model1.json", "test/task1/clean-model.json", "base.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}", "5"])
def test_a_damaged_record_is_named(begun: Path, name: str, content: str) -> None:
    path = begun / "sealed" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    with pytest.raises(InputError, match=rf"{path.name}: cannot be read"):
        summarise_language(begun)


def test_without_a_specification_there_is_nothing_to_tell(begun: Path) -> None:
    (begun / "sealed" / "round.yaml").unlink()
    with pytest.raises(InputError, match=r"round\.yaml: there is no such file"):
        summarise_language(begun)


@pytest.mark.slow
def test_what_was_measured_is_told(classification_round: Path) -> None:
    summary = summarise_language(classification_round)
    sealed = classification_round / "sealed"
    base = json.loads((sealed / "base.json").read_text())
    assert summary["base"] == {name: base[name] for name in ("parameters", "loss", "unigram_loss")}
    assert base["loss"] < base["unigram_loss"]
    for phase, (task,) in summary["phases"].items():
        clean = json.loads((sealed / phase / "task1" / "clean-model.json").read_text())
        assert task["clean_utility"] == clean["utility"]
        for told in task["models"]:
            record = json.loads((sealed / phase / "task1" / f"{told['model']}.json").read_text())
            assert told["utility"] == record["utility"]
            assert told["attack_success_rate"] == record["attack_success_rate"]
            assert told["attempts"] == len(record["attempts"])
            assert told["passed"] == record["passed"]
            assert told["rate"] == pytest.approx(record["rate"], abs=1e-6)


@pytest.mark.slow
def test_models_that_are_gone_are_told_by_their_records(classification_round: Path, copied: Copied) -> None:
    root = copied(classification_round)
    whole = summarise_language(root)
    shutil.rmtree(root / "phases" / "test" / "models")
    assert summarise_language(root) == whole
    (root / "sealed" / "test" / "task1" / "model2.json").unlink()
    (task,) = summarise_language(root)["phases"]["test"]
    assert [model["utility"] is None for model in task["models"]] == [False, True]
    assert load_document(root / "sealed" / "round.yaml", LanguageRoundSpec) == spec_of(CLASSIFICATION)
