"""Every key of ``round.yaml`` stands in its page of the documentation, and nothing else does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from palladion.documents import parse_document
from palladion.rounds import spec as definitions
from palladion.rounds.families import names_at
from palladion.rounds.images.filters import FILTERS
from palladion.rounds.spec import SCALES, RoundSpec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "round-file.md").read_text()

# Headings of the page, and the models whose keys stand in the tables below them.
SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "The round": (definitions.RoundSpec, definitions.SplitSpec),
    "images": (definitions.Images,),
    "trigger": (definitions.Trigger,),
    "polygon": (definitions.Polygon,),
    "filter": (definitions.Filter,),
    "training": (definitions.Training,),
    "adversarial": (definitions.Adversarial,),
    "gates": (definitions.Gates,),
    "design": (definitions.Design,),
}


def _within(kind: Any) -> Iterator[Any]:
    """The type and all that it is made of."""
    yield kind
    for part in (*get_args(kind), *getattr(kind, "__metadata__", ())):
        yield from _within(part)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for field in kind.model_fields.values():
            yield from _within(field.annotation)


def _section(heading: str) -> str:
    found = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def test_the_page_has_a_section_for_every_block() -> None:
    blocks = {kind for kind in _within(RoundSpec) if isinstance(kind, type) and issubclass(kind, BaseModel)}
    documented = {model for models in SECTIONS.values() for model in models}
    assert blocks == documented | {definitions.Beta}
    assert "{beta: [a, b]}" in _section("images")


@pytest.mark.parametrize("heading", SECTIONS)
def test_its_tables_have_every_key_and_no_other(heading: str) -> None:
    first_cells = re.findall(r"^\| (`[^|]*`) \|", _section(heading), re.MULTILINE)
    documented = [key for cell in first_cells for key in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(key for model in SECTIONS[heading] for key in model.model_fields)


@pytest.mark.parametrize("heading", ["The round", "images", "trigger", "filter", "training", "design"])
def test_what_may_be_left_out_has_its_default(heading: str) -> None:
    """The cell is empty where the key is required, and only there."""
    [model, *_] = SECTIONS[heading]
    [table, *_] = re.findall(r"(?:^\|[^\n]*\n)+", _section(heading), re.MULTILINE)
    header, _, *lines = table.splitlines()
    assert [cell.strip() for cell in header.split("|")][3] == "default"
    rows = [(line.split("|")[1], line.split("|")[3]) for line in lines]
    optional = {key for cell, default in rows if default.strip() for key in re.findall(r"`(\w+)`", cell)}
    assert optional == {key for key, field in model.model_fields.items() if not field.is_required()}


def test_every_word_that_a_key_takes_is_named() -> None:
    words = {word for kind in _within(RoundSpec) if get_origin(kind) is Literal for word in get_args(kind)}
    assert {"polygon", "nist", "adversarial_method", "train"} <= words
    for word in (*words, *FILTERS, *(name for scale in SCALES for name in names_at(scale))):
        assert f"`{word}`" in PAGE or f"`[{word}" in PAGE or f", {word}]`" in PAGE, word


def test_its_example_is_a_round() -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    spec = parse_document(example[1], Path("own.yaml"), RoundSpec)
    assert spec.images.pictures == "backgrounds"
    assert spec.design.cells == ("number_classes", "trigger_type", "sources")


def test_a_single_level_may_do_without_brackets() -> None:
    assert "`classes: 5` is `[[5, 5]]`" in PAGE
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for written, read in (("5", ((5, 5),)), ("[5, 9]", ((5, 9),)), ("[[5, 9], [10, 14]]", ((5, 9), (10, 14)))):
        text = example.replace("classes: [[5, 9], [10, 14]]", f"classes: {written}")
        assert parse_document(text, Path("own.yaml"), RoundSpec).images.classes == read
