"""Imports point one way, and what must be light is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
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
