"""With which arguments the submissions of NIST's rounds are called: one row a family of rounds.

A row is all that a new family needs. The arguments stand in the order in which NIST's harness passes them; names are
written without their dashes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from palladion.errors import InputError

__all__ = ["DEFAULT_FAMILY", "FAMILIES", "Family", "family"]

_FIRST = ("model_filepath", "result_filepath", "scratch_dirpath")
_PARAMETERS = ("metaparameters_filepath", "schema_filepath", "learned_parameters_dirpath")
_TRAINING = "round_training_dataset_dirpath"
_SOURCE = "source_dataset_dirpath"

_FOUR = (*_FIRST, "examples_dirpath")
_IMAGE = (*_FOUR, *_PARAMETERS, _TRAINING, _SOURCE)
_WITHOUT_EXAMPLES = (*_FIRST, *_PARAMETERS, _TRAINING, _SOURCE)
_CONFIGURE = ("scratch_dirpath", "configure_models_dirpath", *_PARAMETERS)

# What a submission may do without: passed where the round has it, and never to a source that is seen not to know it.
_OPTIONAL = frozenset({"examples_dirpath", "features_filepath", "tokenizers_dirpath", _TRAINING, _SOURCE})

_TOKENIZER = {"tokenizer_filepath": "tokenizers/{model_architecture}.pt"}
_CLEAN = ("clean-example-data",)
_KEY = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Family:
    """The rounds whose submissions are called in one way.

    Attributes:
        name: what it is chosen by.
        title: what it is, for people.
        model: what ``--model_filepath`` names: the file ``model.pt`` or the model's directory.
        infer: arguments for one data point, in order.
        configure: arguments for learning from a train split, in order; none where the round does not know that.
        examples: names that the folder of example data has, the usual one first.
        configure_by: how an image, whose source is not seen, is told to configure itself: a first word or an option.
        files: argument by argument, where its file lies below the split's dataset; ``{key}`` stands for a value of
            the data point's configuration, its slashes written as hyphens.
        flags: arguments that take no value.
        optional: arguments that a submission need not know.
    """

    name: str
    title: str
    model: Literal["file", "directory"]
    infer: tuple[str, ...]
    configure: tuple[str, ...] = ()
    examples: tuple[str, ...] = _CLEAN
    configure_by: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    flags: frozenset[str] = frozenset({"cls_token_is_first"})
    optional: frozenset[str] = _OPTIONAL

    @property
    def extras(self) -> tuple[str, ...]:
        """Arguments for one data point that are passed only where the round has something for them."""
        always = {*_FOUR, *_PARAMETERS}
        return tuple(name for name in self.infer if name not in always)

    def placeholders(self) -> dict[str, Path]:
        """Something to show for each of :attr:`extras`: its name in capitals."""
        return {name: Path(name.rpartition("_")[0].upper() or name) for name in self.extras}

    def locate(self, dataset: Path, configuration: Mapping[str, object]) -> dict[str, Path]:
        """The files of one data point that :attr:`files` knows, for ``DataPointPaths.extra``.

        Args:
            dataset: the split's dataset, which holds ``tokenizers/`` and the like.
            configuration: what the data point's ``config.json`` or ``reduced-config.json`` says.

        Raises:
            InputError: the configuration lacks what a path needs, or names something that is no file's name.
        """
        found = {}
        for argument, template in self.files.items():
            path = _KEY.sub(lambda match: _name(configuration, match[1], argument), template)  # noqa: B023
            found[argument] = dataset / path
        return found


def _name(configuration: Mapping[str, object], key: str, argument: str) -> str:
    value = configuration.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"the configuration names no {key}, by which --{argument} is found")
    name = value.replace("/", "-")
    # It becomes part of a path on the host.
    if name.startswith(".") or "\\" in name or not name.isprintable() or len(name) > 200:
        raise InputError(f"the configuration's {key} is no name of a file: {value[:60]!a}")
    return name


def _legacy(name: str, title: str, *more: str, examples: tuple[str, ...], files: Mapping[str, str] = {}) -> Family:
    """A round before metaparameters."""
    return Family(name, title, "file", (*_FOUR, *more), (), examples, None, files)


def _round(
    name: str,
    title: str,
    *more: str,
    infer: tuple[str, ...] = _IMAGE,
    model: Literal["file", "directory"] = "file",
    configure: tuple[str, ...] = _CONFIGURE,
    examples: tuple[str, ...] = _CLEAN,
    configure_by: str = "configure",
    files: Mapping[str, str] = {},
) -> Family:
    return Family(name, title, model, (*infer, *more), configure, examples, configure_by, files)


DEFAULT_FAMILY = _round("image-classification", "Image classifiers in Hugging Face directories", model="directory")
"""Palladion's own rounds."""

_JULY_2022 = ("features_filepath", _TRAINING, *_PARAMETERS)
_OLD_AND_NEW = ("clean-example-data", "example_data")
_TASK = "tokenizer_filepath"
_UNDERSCORED = ("clean_example_data",)

FAMILIES = {
    row.name: row
    for row in (
        DEFAULT_FAMILY,
        _legacy("image-classification-jun2020", "Rounds 0 and 1: traffic signs", examples=("example_data",)),
        _legacy("image-classification-aug2020", "Round 2: traffic signs", examples=("example_data",)),
        _legacy("image-classification-dec2020", "Round 3: traffic signs", examples=("clean_example_data",)),
        _legacy("image-classification-feb2021", "Round 4: traffic signs", examples=("clean_example_data",)),
        *(
            _legacy(
                f"nlp-{month}",
                f"Round {number}: sentiment of texts",
                "cls_token_is_first",
                _TASK,
                "embedding_filepath",
                examples=("clean_example_data",),
                files=_TOKENIZER,
            )
            for number, month in ((5, "mar2021"), (6, "apr2021"))
        ),
        *(
            _legacy(
                f"nlp-{month}", f"Round {number}: {what}", _TASK, examples=("clean_example_data",), files=_TOKENIZER
            )
            for number, month, what in ((7, "may2021", "named entities"), (8, "sep2021", "answers to questions"))
        ),
        _round(
            "nlp-summary-jan2022",
            "Round 9: three tasks on texts",
            infer=(*_FOUR, _TASK, *_JULY_2022),
            configure_by="--configure_mode",
            examples=("clean-example-data", "clean_example_data"),
            files=_TOKENIZER,
        ),
        *(
            _round(
                name,
                title,
                infer=(*_FOUR, *_JULY_2022, _SOURCE),
                configure_by="--configure_mode",
                examples=_OLD_AND_NEW,
            )
            for name, title in (
                ("object-detection-jul2022", "Round 10: objects in pictures"),
                ("image-classification-sep2022", "Round 11: classifiers of pictures"),
            )
        ),
        _round("object-detection-feb2023", "Objects in pictures"),
        _round("cyber", "Malware: Windows executables, Android packages, network traffic"),
        _round(
            "cyber-pdf",
            "Malware in PDF files",
            "scale_parameters_filepath",
            files={"scale_parameters_filepath": "scale_params.npy"},
        ),
        _round("rl", "Agents of reinforcement learning: lavaworld"),
        _round("rl-colorful", "Agents of reinforcement learning: colourful memory", infer=_WITHOUT_EXAMPLES),
        _round("rl-gym", "Agents of reinforcement learning: gym", infer=_WITHOUT_EXAMPLES),
        _round("nlp", "Models of texts", _TASK, files=_TOKENIZER),
        _round(
            "nlp-qa-aug2023",
            "Answers to questions",
            _TASK,
            configure=(*_CONFIGURE, "tokenizers_dirpath"),
            examples=("example_data", "clean-example-data"),
            files=_TOKENIZER,
        ),
        _round("llm-pretrain", "Language models, pre-trained", model="directory"),
        _round("llm-instruct", "Language models that follow instructions", model="directory", infer=_WITHOUT_EXAMPLES),
    )
}
"""All families by name."""


def family(name: str) -> Family:
    """The family of this name.

    Raises:
        InputError: there is none; the message names those that there are.
    """
    try:
        return FAMILIES[name]
    except KeyError:
        known = ", ".join(FAMILIES)
        raise InputError(f"there is no family of rounds named {name[:60]!a}; known: {known}") from None
