"""What every mitigation keeps to, the built-in ones and those of others."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from palladion.errors import InputError
from palladion.mitigations import Answers, Context, Mitigation, Needs, Product, load_mitigation, mitigations
from palladion.mitigations.undefended import Undefended
from palladion.mitigations.vote import MajorityVote


@pytest.mark.parametrize("name", sorted(mitigations()))
def test_a_mitigation_keeps_its_parameters_and_does_nothing_else(name: str) -> None:
    kind = load_mitigation(name)
    assert kind.name == name
    assert kind.summary
    assert isinstance(kind.needs, Needs)
    assert isinstance(kind.product, Product)
    parameters = kind.parameters()
    assert inspect.Parameter.empty not in parameters.values(), "every parameter has a default"
    assert vars(kind()) == parameters
    marks = {parameter: object() for parameter in parameters}
    assert vars(kind(**marks)) == marks


def test_the_built_in_mitigations_are_there() -> None:
    assert {"undefended", "merge", "vote"} <= set(mitigations())
    assert load_mitigation("merge").parameters() == {"rank": None}
    assert str(load_mitigation("merge").needs) == "2 models of one base"
    assert str(load_mitigation("vote").needs) == "2 models of one base, inputs, predictions"
    assert repr(load_mitigation("merge")(rank=4)) == "MeanMerge(rank=4)"  # type: ignore[call-arg]


def test_entry_points_and_the_built_in_list_agree() -> None:
    import tomllib

    import palladion

    file = Path(palladion.__file__).parents[2] / "pyproject.toml"
    listed = tomllib.loads(file.read_text())["project"]["entry-points"]["palladion.mitigations"]
    from palladion.mitigations.registry import _BUILT_IN

    assert listed == _BUILT_IN


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match="no mitigation 'median'; there are merge, undefended, vote"):
        load_mitigation("median")


def test_listing_and_voting_load_no_torch() -> None:
    code = (
        "import sys; from palladion.mitigations import *; "
        "[load_mitigation(name).needs for name in mitigations()]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_that_is_missing_is_told(tmp_path: Path) -> None:
    class Greedy(Mitigation):
        name = "greedy"
        summary = "wants everything"
        needs: ClassVar[Needs] = Needs(models=3, base=True, inputs=True, labelled=True, predictions=True)
        product = Product.ANSWERS

        def restore(self, context: Context) -> Answers:
            return Answers(labels=[])

    with pytest.raises(InputError) as caught:
        Greedy().check(Context((tmp_path,), tmp_path))
    assert str(caught.value) == (
        "the mitigation greedy needs 3 models or more (there are 1) and the base model (--base) and "
        "the inputs to answer (--inputs) and labelled inputs and a way to run models"
    )
    whole = Context((tmp_path,) * 3, tmp_path, tmp_path, [], [], predict=lambda model: Answers(labels=[]))
    Greedy().check(whole)


def test_undefended_is_one_of_the_models(tmp_path: Path) -> None:
    models = (tmp_path / "a", tmp_path / "b")
    assert Undefended().restore(Context(models, tmp_path)) == models[0]
    assert Undefended(model=2).restore(Context(models, tmp_path)) == models[1]
    for number in (0, 3, -1):
        with pytest.raises(InputError, match=f"there is no model {number}; there are 2"):
            Undefended(model=number).restore(Context(models, tmp_path))


def test_the_vote_asks_each_model_once_in_order(tmp_path: Path) -> None:
    said: list[str] = []
    answers = {"a": [0, 1], "b": [1, 1], "c": [0, 0]}
    context = Context(
        tuple(Path(name) for name in answers),
        tmp_path,
        inputs=[{}, {}],
        predict=lambda model: Answers(labels=answers[model.name]),
        say=said.append,
    )
    MajorityVote().check(context)
    assert MajorityVote().restore(context).labels == [0, 1]
    assert said == ["model 1 of 3: a", "model 2 of 3: b", "model 3 of 3: c"]
