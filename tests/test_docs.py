"""What the command line can do stands in the documentation."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from palladion.cli import app
from palladion.cli import round as round_group

DOCS = Path(__file__).resolve().parents[1] / "docs"
REFERENCE = (DOCS / "reference" / "cli.md").read_text()


def _commands() -> Iterator[tuple[str, object]]:
    top = typer.main.get_group(app)
    groups = {"round": typer.main.get_group(round_group.app), **top.commands}
    for name, command in groups.items():
        if hasattr(command, "commands"):
            for sub, inner in command.commands.items():
                yield f"palladion {name} {sub}", inner
        else:
            yield f"palladion {name}", command


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
