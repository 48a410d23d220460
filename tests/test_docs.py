"""What the command line can do stands in the documentation."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from palladion.cli import _LAZY_GROUPS, app

DOCS = Path(__file__).resolve().parents[1] / "docs"
REFERENCE = (DOCS / "reference" / "cli.md").read_text()


def _commands() -> Iterator[tuple[str, object]]:
    top = typer.main.get_group(app)
    groups = {name: typer.main.get_group(import_module(module).app) for name, (module, _) in _LAZY_GROUPS.items()}
    for name, command in {**top.commands, **groups}.items():
        yield from _below(f"palladion {name}", command)


def _below(name: str, command: Any) -> Iterator[tuple[str, object]]:
    if not hasattr(command, "commands"):
        yield name, command
    else:
        for sub, inner in command.commands.items():
            yield from _below(f"{name} {sub}", inner)


def test_commands_of_groups_in_groups_are_found() -> None:
    names = [name for name, _ in _commands()]
    assert {"palladion evaluate", "palladion round build", "palladion round import nist"} <= set(names)


@pytest.mark.parametrize(("name", "command"), list(_commands()), ids=lambda value: str(value)[:40])
def test_every_command_and_every_option_is_documented(name: str, command: object) -> None:
    assert name in REFERENCE
    section = REFERENCE[REFERENCE.index(name) :]
    section = section[: section.find("\n## ", 1)]
    for parameter in command.params:  # type: ignore[attr-defined]
        for option in parameter.opts:
            if option.startswith("--") and option != "--help":
                assert f"`{option}`" in section, f"{name}: {option}"


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (DOCS.parent / "mkdocs.yml").read_text()))
    assert listed == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text())["strict"] is True
