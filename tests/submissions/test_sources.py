"""Sources are read whatever else the process does."""

import ast
import gc
from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.submissions.sources import parse_source

# Some fall before the tree is built and do no harm; all of them are over before the second try.
_INTERRUPTIONS = 20


def test_a_tree_that_is_built_in_the_middle_of_another_is_no_fault_of_the_source(tmp_path: Path) -> None:
    text = "x = [" + ",".join(f"(a{number}, {number})" for number in range(2000)) + "]\n"
    path = tmp_path / "entrypoint.py"
    path.write_text(text)
    interruptions = 0

    def interrupt(phase: str, _: dict[str, int]) -> None:
        nonlocal interruptions
        if phase == "start" and interruptions < _INTERRUPTIONS:
            interruptions += 1
            ast.parse("y = 1")  # from another depth of the stack, as another thread's would be

    threshold = gc.get_threshold()
    gc.callbacks.append(interrupt)
    gc.set_threshold(100)
    try:
        tree = parse_source(path)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(interrupt)
    assert interruptions == _INTERRUPTIONS
    assert ast.dump(tree) == ast.dump(ast.parse(text))


def test_a_source_that_is_not_python_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "entrypoint.py"
    path.write_text("def (:\n")
    with pytest.raises(InputError, match=r"entrypoint\.py.*is not Python"):
        parse_source(path)
