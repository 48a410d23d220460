"""Imports point one way, and what must be light is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import palladion

ROOT = Path(palladion.__file__).parent
# From the bottom up. What stands on one line does not import each other, but for the foundation.
LEVELS = (
    {"errors", "files", "progress", "documents", "sizes", "workers"},
    {"scoring"},
    {"challenge"},
    {"tracks"},
    {"models"},
    {"detectors", "mitigations"},
    {"submissions"},
    {"storage", "execution", "rounds", "reports"},
    {"jobs"},
    {"client", "server"},
    {"cli", "__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def _imported(tree: ast.Module) -> Iterator[str]:
    """Rooms of the package that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports in full"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "palladion" else [module]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "palladion" and rest and rest != "__version__":
                yield rest.partition(".")[0]


def _modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert room in LEVEL, f"{room} has no place in the architecture yet"
    for other in _imported(ast.parse(path.read_text())):
        assert other in LEVEL, f"{other} has no place in the architecture yet"
        below = LEVEL[other] < LEVEL[room]
        same_foundation = LEVEL[other] == LEVEL[room] == 0
        assert other == room or below or same_foundation or (room == "__main__" and other == "cli"), (
            f"{room} must not import {other}"
        )


def test_the_check_sees_imports_of_every_form() -> None:
    source = "import palladion.cli\nfrom palladion import server\ndef f():\n    from palladion.rounds.spec import x\n"
    assert list(_imported(ast.parse(source))) == ["cli", "server", "rounds"]


def _imports(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which of these modules import which, anywhere in them, for types too."""
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        found[module] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            found[module] |= sources.keys() & set(names)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    # What a package hands on in its __init__ is looked for in the module that it is of.
    paths = [path for path in _modules() if path.name != "__init__.py"]
    names = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path.read_text() for path in paths}
    try:
        TopologicalSorter(_imports(names)).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_a_circle_is_seen_within_functions_and_for_types() -> None:
    sources = {
        "p.a": "def f():\n    from p import b\n",
        "p.b": "from p.c import thing\n",
        "p.c": "if TYPE_CHECKING:\n    import p.a\n",
    }
    with pytest.raises(CycleError):
        TopologicalSorter(_imports(sources)).prepare()
    TopologicalSorter(_imports(sources | {"p.c": "import os\n"})).prepare()


@pytest.mark.parametrize(
    "module",
    [
        "palladion",
        "palladion.cli",
        "palladion.scoring",
        "palladion.challenge",
        "palladion.execution",
        "palladion.submissions.outputs",
        "palladion.tracks.sealed",
        "palladion.rounds.stage_data",
    ],
)
def test_no_model_library_is_loaded(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT.parent
    ).stdout.split()
    assert module in loaded
    assert not {"torch", "transformers", "sklearn", "scipy", "matplotlib", "pandas"} & set(loaded)


def test_the_command_line_loads_no_numpy_before_a_command_needs_it() -> None:
    code = "import sys, palladion.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT.parent
    ).stdout.split()
    assert "palladion.cli.score" in loaded
    assert not {"numpy", "rich", "yaml", "PIL", "pydantic"} & set(loaded)
