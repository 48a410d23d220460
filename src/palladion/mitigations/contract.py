"""What a mitigation is.

The rules are scikit-learn's: the constructor's keyword arguments are the parameters, and it does nothing but keep them.
:meth:`Mitigation.restore` gets everything else in a :class:`Context`, and returns a repaired model or the answers that
restored models give, whichever the class declares.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from palladion.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Answers", "Context", "Mitigation", "Needs", "Product"]


class Product(StrEnum):
    """What a mitigation makes."""

    MODEL = "model"
    """The directory of a repaired model or adapter."""

    ANSWERS = "answers"
    """A label or a text for each input."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a mitigation cannot do without.

    Attributes:
        models: how many poisoned models of the task, at least; two or more are siblings of one base.
        base: the pretrained model that they were tuned from.
        inputs: the inputs that are to be answered.
        labelled: inputs whose true answers are known.
        predictions: that models are run.
        device: a GPU.
    """

    models: int = 1
    base: bool = False
    inputs: bool = False
    labelled: bool = False
    predictions: bool = False
    device: bool = False

    def __str__(self) -> str:
        words = {
            "base": "the base",
            "inputs": "inputs",
            "labelled": "labelled inputs",
            "predictions": "predictions",
            "device": "a GPU",
        }
        models = "a model" if self.models == 1 else f"{self.models} models of one base"
        return ", ".join([models, *(word for name, word in words.items() if getattr(self, name))])


@dataclass(frozen=True, slots=True)
class Answers:
    """What one model, or a mitigation, answers to the inputs, in their order: labels or texts.

    Attributes:
        labels: n whole numbers, −1 where there is no answer; None where the answers are texts.
        probabilities: of the labels, shape ``(n, classes)``, where they are known.
        texts: n texts; None where the answers are labels.
    """

    labels: "Sequence[int] | None" = None
    probabilities: "NDArray[np.floating] | None" = None
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.texts is None):
            raise InputError("answers are labels or texts, one of the two")
        if self.probabilities is not None and (self.labels is None or len(self.probabilities) != len(self.labels)):
            raise InputError("there must be one row of probabilities for each label")

    @property
    def values(self) -> "Sequence[int] | Sequence[str]":
        """The labels or the texts, whichever there are."""
        values = self.texts if self.labels is None else self.labels
        assert values is not None
        return values

    def __len__(self) -> int:
        return len(self.values)


def _say_nothing(line: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Context:
    """What a mitigation works on.

    Attributes:
        models: directories of the poisoned models or adapters of one task.
        workspace: an empty folder for what is made; a repaired model lies in it, or is one of the models itself.
        base: directory of the base model.
        inputs: the inputs to answer, as records.
        labelled: inputs with their true answers, as records.
        device: ``auto``, or torch's name of a device.
        dtype: ``auto``, or the name of the type to compute in.
        predict: gives the answers of the model in a directory to the inputs.
        say: tells the user a line.
    """

    models: tuple[Path, ...]
    workspace: Path
    base: Path | None = None
    inputs: Sequence[Mapping[str, Any]] | None = None
    labelled: Sequence[Mapping[str, Any]] | None = None
    device: str = "auto"
    dtype: str = "auto"
    predict: Callable[[Path], Answers] | None = None
    say: Callable[[str], None] = field(default=_say_nothing)


class Mitigation(ABC):
    """Restores poisoned models of one task, or their answers."""

    name: ClassVar[str]
    """How the command line calls it."""

    summary: ClassVar[str]
    """One line about it."""

    needs: ClassVar[Needs]
    product: ClassVar[Product]

    @abstractmethod
    def restore(self, context: Context) -> Path | Answers:
        """Restore what the context holds; call :meth:`check` first.

        Returns:
            Where :attr:`product` is a model its directory: one in the workspace, or one of the models itself.
            Otherwise the answers to the inputs.

        Raises:
            InputError: the models cannot be restored this way; the message says which and why.
        """

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        """The parameters, which are the constructor's keyword arguments, with their defaults."""
        if cls.__init__ is object.__init__:
            return {}
        found = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in found}

    def check(self, context: Context) -> None:
        """See that the context has what the mitigation needs.

        Raises:
            InputError: it has not; the message names all that is missing.
        """
        missing = []
        if len(context.models) < self.needs.models:
            missing.append(f"{self.needs.models} models or more (there are {len(context.models)})")
        if self.needs.base and context.base is None:
            missing.append("the base model (--base)")
        if self.needs.inputs and context.inputs is None:
            missing.append("the inputs to answer (--inputs)")
        if self.needs.labelled and context.labelled is None:
            missing.append("labelled inputs")
        if self.needs.predictions and context.predict is None:
            missing.append("a way to run models")
        if missing:
            raise InputError(f"the mitigation {self.name} needs {' and '.join(missing)}")

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.parameters())
        return f"{type(self).__name__}({settings})"
