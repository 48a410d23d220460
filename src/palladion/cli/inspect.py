"""``palladion inspect``: what model files would run if they were opened."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from palladion.models.pickles import Scan

__all__ = ["inspect"]

_MOST_NAMES = 6


def inspect(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Model files, or folders of them.", show_default=False)
    ],
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON with every finding.")] = False,
) -> None:
    """What model files would run if they were opened; they are not opened.

    Reads pickles, files of torch, NumPy and joblib, and safetensors. safe: only tensors, arrays and plain containers.
    code: classes or functions of a library would run. dangerous: programs, files or the network would be reached.
    unreadable: it cannot be told. Exits with 1 unless all are safe.
    """
    from palladion.models.pickles import Severity, scan_paths

    scans = list(scan_paths(paths))
    if json_wanted:
        typer.echo(json.dumps({"files": [_as_json(scan) for scan in scans]}, indent=2))
    else:
        _show(scans)
    if not scans:
        typer.echo("no file here is of a kind that holds a model", err=True)
    if any(scan.verdict is not Severity.SAFE for scan in scans):
        sys.exit(1)


def _as_json(scan: "Scan") -> dict[str, Any]:
    from dataclasses import asdict

    findings = [asdict(finding) for finding in scan.findings]
    return {"file": str(scan.path), "form": scan.form, "verdict": scan.verdict, "findings": findings}


def _show(scans: "list[Scan]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "verdict", "what", box=None, pad_edge=False)
    for scan in scans:
        # Text, since names of files and classes may look like rich's own marks.
        table.add_row(Text(_printable(str(scan.path)), overflow="fold"), str(scan.verdict), Text(_what(scan)))
    Console().print(table)


def _what(scan: "Scan") -> str:
    """The findings that made the verdict."""
    from palladion.models.pickles import Severity

    if scan.verdict is Severity.SAFE:
        return scan.form
    worst = [finding for finding in scan.findings if finding.severity is scan.verdict]
    said = [finding.name or finding.message for finding in worst]
    said = list(dict.fromkeys(said))
    more = f" and {len(said) - _MOST_NAMES} more" if len(said) > _MOST_NAMES else ""
    first = worst[0]
    place = ", ".join(part for part in (first.member, f"byte {first.position}" if first.opcode else "") if part)
    shown = ", ".join(said[:_MOST_NAMES]) + more
    return f"{scan.form}: {shown}" + (f" ({place})" if place else "")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
