"""What models answer to mitigations: each model once, and answers that are kept."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from palladion.errors import InputError
from palladion.mitigations import Context, Mitigation, Needs, Product
from palladion.mitigations.answering import Answering
from palladion.models.prediction import Settings
from palladion.models.predictor import Predictor
from tests.models.tiny_llama import SENTENCES, write_adapter, write_base


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zoo")
    base = write_base(root / "base")
    for number in (1, 2):
        write_adapter(root / f"labels{number}", base, seed=number, labels=3)
    write_adapter(root / "texts", base)
    (root / "sentences.json").write_text(json.dumps([{"sentence": sentence} for sentence in SENTENCES]))
    return root


class Second(Mitigation):
    """The second model as it is."""

    name = "second"
    summary = "the second model"
    needs = Needs(models=2, inputs=True)
    product = Product.MODEL

    def restore(self, context: Context) -> Path:
        return context.models[1]


def kept_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_models_share_a_place_and_none_is_asked_twice(zoo: Path, tmp_path: Path) -> None:
    asked: list[Path] = []

    def kept(model: Path) -> Path:
        asked.append(model)
        return tmp_path / "out.csv"

    answering = Answering(Predictor(zoo / "sentences.json", Settings(), device="cpu"), kept)
    models: Sequence[Path] = [zoo / "labels1", zoo / "labels2"]
    first, second = (answering.predict(model) for model in models)
    assert first.values != second.values
    assert first.labels is not None
    assert first.probabilities is not None
    assert first.probabilities.shape == (len(SENTENCES), 3)
    assert first.probabilities.argmax(axis=1).tolist() == list(first.labels)
    np.testing.assert_allclose(first.probabilities.sum(axis=1), 1, atol=1e-6)
    restored = answering.restored(Second(), models, tmp_path, say=print)
    assert restored is second
    assert asked == models
    answering.close()
    # Those of the last model that had this place are there for the next time.
    assert kept_in(tmp_path) == [".out.csv.partial"]
    again = Answering(Predictor(zoo / "sentences.json", Settings(), device="cpu"), kept)
    assert again.predict(zoo / "labels2").values == second.values
    again.remove()
    assert kept_in(tmp_path) == []


def test_a_model_that_does_not_answer_these_inputs_leaves_nothing(zoo: Path, tmp_path: Path) -> None:
    answering = Answering(Predictor(zoo / "sentences.json", Settings(), device="cpu"), lambda _: tmp_path / "out.csv")
    with pytest.raises(InputError, match="writes text, but"):
        answering.restored(Second(), [zoo / "labels1", zoo / "texts"], tmp_path, say=print)
    with pytest.raises(InputError, match=r"needs 2 models or more \(there are 1\)"):
        answering.restored(Second(), [zoo / "labels1"], tmp_path, say=print)
    answering.close()
    assert kept_in(tmp_path) == []


def test_a_model_may_be_gone_when_the_next_one_is_asked(zoo: Path, tmp_path: Path) -> None:
    answering = Answering(Predictor(zoo / "sentences.json", Settings(), device="cpu"), lambda m: tmp_path / m.name)
    # A restored model lies in a workspace, which is removed before other inputs or models are answered.
    gone = write_base(tmp_path / "gone", labels=3)
    other = write_base(tmp_path / "other", labels=3, seed=1)
    first = answering.predict(gone)
    shutil.rmtree(gone)
    assert answering.predict(other).values != first.values
