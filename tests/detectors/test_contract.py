import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.detectors import ConstantDetector, Detector, TrainSplit
from palladion.errors import InputError, PalladionError


class Learner(Detector):
    def configure(self, train_split: TrainSplit) -> None:
        raise NotImplementedError

    def probability(self, model_dir: Path, examples_dir: Path) -> float:
        return 0.5


def round_trip(directory: Path, **learned: Any) -> dict[str, Any]:
    detector = Learner()
    vars(detector).update(learned)
    detector.save(directory)
    again = Learner()
    again.load(directory)
    return again.learned


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_what_was_learned_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    assert round_trip(tmp_path_factory.mktemp("learned"), value_=value) == {"value_": value}


def test_arrays_come_back_wherever_they_stand(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    learned = round_trip(tmp_path, weights_=array, layers_=[{"mask": array > 2}, 1], scale_=np.float64(0.1))
    np.testing.assert_array_equal(learned["weights_"], array)
    assert learned["weights_"].dtype == np.float32
    np.testing.assert_array_equal(learned["layers_"][0]["mask"], array > 2)
    assert learned["layers_"][1] == 1
    assert learned["scale_"] == 0.1


def test_nan_comes_back(tmp_path: Path) -> None:
    assert math.isnan(round_trip(tmp_path, value_=math.nan)["value_"])


def test_only_names_that_end_in_one_underscore_are_kept(tmp_path: Path) -> None:
    learned = round_trip(tmp_path, kept_=1, also_kept_2_=2, plain=3, _private_=4, double__=5)
    assert learned == {"kept_": 1, "also_kept_2_": 2}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ((1, 2), "value_ is of type tuple"),
        (np.float32(1), "value_ is of type numpy.float32"),
        (np.array([object()]), "value_ is of type numpy.ndarray"),
        ([1, {"a": {1}}], r"value_\[1\].a is of type set"),
        ({1: 2}, "the key 1 cannot be saved"),
        ({"__array__": "x"}, "the key '__array__' cannot be saved"),
    ],
)
def test_what_cannot_be_kept_is_named(tmp_path: Path, value: Any, words: str) -> None:
    with pytest.raises(PalladionError, match=words):
        round_trip(tmp_path, value_=value)
    assert list(tmp_path.iterdir()) == []


def test_learned_parameters_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no learned parameters here .*run `configure` first"):
        Learner().load(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "one value a name"),
        ('{"__class__": 1}', "is not the name of something learned"),
        ('{"probability": 1}', "is not the name of something learned"),
        ('{"a_": {"__array__": "array0"}}', "learned.npz: is missing"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_files_of_somebody_else_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "learned.json").write_text(text)
    with pytest.raises(InputError, match=words):
        Learner().load(tmp_path)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "learned.json").write_text('{"a_": {"__array__": "array0"}}')
    np.savez(tmp_path / "learned.npz", array0=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="cannot be read as NumPy arrays"):
        Learner().load(tmp_path)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    round_trip(tmp_path / "a", weights_=np.ones(3), bias_=0.5)
    round_trip(tmp_path / "b", bias_=0.5, weights_=np.ones(3))
    for name in ("learned.json", "learned.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_detector_without_configure_learns_nothing(tmp_path: Path) -> None:
    constant = ConstantDetector(value=0.25)
    assert not constant.configurable
    assert constant.probability(tmp_path, tmp_path) == 0.25
    constant.save(tmp_path)
    assert json.loads((tmp_path / "learned.json").read_text()) == {}
    assert Learner().configurable
