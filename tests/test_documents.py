from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from palladion.documents import load_document, parse_document, write_document
from palladion.errors import InputError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int = 1
    height: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    title: str
    inner: Inner = Inner()
    several: list[Inner] = []
    named: dict[str, Inner] = {}


PATH = Path("file.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel: a", r"line 1: there is no key 'titel'; did you mean 'title'"),
        ("title: a\ninner:\n  widht: 3", r"line 3: there is no key 'inner.widht'; did you mean 'width'"),
        ("title: a\nseveral:\n- width: 1\n- hieght: 2", r"line 4: .* did you mean 'height'"),
        ("title: a\nnamed:\n  x: {wdith: 1}", r"line 3: .* did you mean 'width'"),
        ("title: a\nqqqqqqqq: 1", r"line 2: .* known here: title, inner, several, named"),
        ("title: a\ninner: {width: wide}", r"line 2: inner.width: "),
        ("title: [", "line 1: is not YAML"),
        ("- a", "must hold keys and values"),
        ("", "must hold keys and values"),
        ("title: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("[" * 5000, "is not YAML"),
    ],
)
def test_faults_name_the_line_and_the_nearest_key(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_document(text, PATH, Outer)


def test_a_document_comes_back_as_it_was_written(tmp_path: Path) -> None:
    document = Outer(title="Übung", several=[Inner(width=3)])
    path = tmp_path / "file.yaml"
    path.write_text(write_document(document))
    assert load_document(path, Outer) == document
    assert write_document(load_document(path, Outer)) == path.read_text()
