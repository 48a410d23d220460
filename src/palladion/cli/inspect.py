"""``palladion inspect``: what model files would run if they were opened, and what models and adapters are."""

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
        list[Path],
        typer.Argument(metavar="FILE…", help="Model files, or folders of them.", show_default=False),
    ],
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON with every finding.")] = False,
    hash_wanted: Annotated[bool, typer.Option("--hash", help="Tell the SHA-256 of each file.")] = False,
    base: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Base model that adapters should fit.", show_default=False),
    ] = None,
) -> None:
    """What model files would run if they were opened; they are not opened.

    Reads pickles, files of torch, NumPy and joblib, and safetensors. safe: only tensors, arrays and plain containers.
    code: classes or functions of a library would run. dangerous: programs, files or the network would be reached.
    unreadable: it cannot be told. Of the folder of a Hugging Face model or a LoRA adapter it also says what it is, and
    whether its files agree. Exits with 1 unless all are safe and agree.
    """
    from palladion.models.pickles import Severity, scan_paths

    scans = list(scan_paths(paths))
    models = _described(paths, base)
    hashes = _hashes(scans) if hash_wanted else {}
    if json_wanted:
        files = [_as_json(scan, hashes) for scan in scans]
        typer.echo(json.dumps({"files": files, "models": models}, indent=2))
    else:
        _show(scans, hashes)
        for model in models:
            _show_model(model)
    if not scans:
        typer.echo("no file here is of a kind that holds a model", err=True)
    if any(scan.verdict is not Severity.SAFE for scan in scans) or any(model["faults"] for model in models):
        sys.exit(1)


def _described(paths: list[Path], base: Path | None) -> list[dict[str, Any]]:
    # Files alone need nothing of what reads models.
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return []
    from palladion.models.description import describe_directory, is_model_directory

    return [describe_directory(path, base=base) for path in folders if is_model_directory(path)]


def _hashes(scans: "list[Scan]") -> dict[Path, str]:
    from palladion.models.tensor_files import file_sha256

    return {scan.path: file_sha256(scan.path) for scan in scans if scan.path.is_file()}


def _as_json(scan: "Scan", hashes: dict[Path, str]) -> dict[str, Any]:
    from dataclasses import asdict

    findings = [asdict(finding) for finding in scan.findings]
    shown = {"file": str(scan.path), "form": scan.form, "verdict": scan.verdict, "findings": findings}
    return shown | ({"sha256": hashes[scan.path]} if scan.path in hashes else {})


def _show_model(model: dict[str, Any]) -> None:
    """One line about what it is, one about its size, and its faults."""
    lines = [f"{_printable(model['directory'])}: {_nature(model)}"]
    if "parameters" in model:
        types = ", ".join(model["dtypes"])
        shards = len(model["shards"])
        where = "one file" if shards == 1 else f"{shards} shards"
        lines.append(f"{model['parameters']:,} parameters, {types}, {model['bytes'] / 2**20:,.1f} MiB in {where}")
    if model.get("fits_base"):
        lines.append("fits the base")
    lines += [f"fault: {_printable(fault)}" for fault in model["faults"]]
    typer.echo("\n  ".join(lines))


def _nature(model: dict[str, Any]) -> str:
    if model["kind"] == "model":
        sizes = (("num_hidden_layers", "layers"), ("hidden_size", "wide"), ("vocab_size", "tokens"))
        known = [f"{model[key]:,} {word}" for key, word in sizes if key in model]
        return ", ".join([model.get("architecture") or model.get("model_type") or "a model", *known])
    if "ranks" not in model:
        return "an adapter"
    ranks, scales = (" and ".join(f"{value:g}" for value in model[key][:4]) for key in ("ranks", "scalings"))
    saved = f", trained in full: {', '.join(model['saved'])}" if model["saved"] else ""
    return (
        f"LoRA adapter of {model['base'] or 'an unnamed base'}, {model['task_type'] or 'no task named'}, rank {ranks}, "
        f"scale {scales}, {model['modules']} modules ({', '.join(model['target_modules'][:12])}){saved}"
    )


def _show(scans: "list[Scan]", hashes: dict[Path, str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "verdict", "what", box=None, pad_edge=False)
    for scan in scans:
        # Text, since names of files and classes may look like rich's own marks.
        table.add_row(Text(_printable(str(scan.path)), overflow="fold"), str(scan.verdict), Text(_what(scan)))
    Console().print(table)
    for path, digest in hashes.items():
        typer.echo(f"{digest}  {_printable(str(path))}")


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
