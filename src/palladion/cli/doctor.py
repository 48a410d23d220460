"""``palladion doctor``: what this machine can do for submissions, and what it lacks."""

import json
import platform
import shutil
import subprocess
from typing import Annotated, Any

import typer

__all__ = ["doctor"]

_SECONDS_FOR_A_VERSION = 20


def doctor(
    sandbox: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Back end to examine; by default every one that is installed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Try out the sandbox on this machine, and say what to install or set.

    Exit code 1 where a promise does not hold: sealed splits are then refused with this back end.
    """
    from palladion.execution.machine import gpus, memory_bytes, slots_for
    from palladion.execution.sandbox.cgroups import ControlGroups
    from palladion.execution.sandbox.contract import Limits
    from palladion.execution.sandbox.opening import BACK_ENDS, PROGRAMS, available
    from palladion.execution.sandbox.probes import examine

    groups = ControlGroups.find()
    machine = {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "slots": slots_for(Limits()),
        "memory_bytes": memory_bytes(),
        "gpus": gpus(),
        "control_groups": None if groups is None else groups.version,
        "back_ends": {name: _version(program) for name, program in PROGRAMS.items()},
    }
    names = [sandbox] if sandbox else [name for name in BACK_ENDS if name != "none" and available(name)]
    findings = {name: examine(name) for name in names}
    held = all(finding.held for found in findings.values() for finding in found) and bool(names)
    if as_json:
        document = {
            "machine": machine,
            "findings": {
                name: [
                    {"name": f.name, "title": f.title, "held": f.held, "detail": f.detail, "advice": f.advice}
                    for f in found
                ]
                for name, found in findings.items()
            },
            "held": held,
        }
        typer.echo(json.dumps(document, indent=2))
    else:
        _show(machine, findings)
    if not held:
        raise typer.Exit(1)


def _show(machine: dict[str, Any], findings: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from palladion.reports.tables import show

    groups = machine["control_groups"]
    watched = (
        f"control groups, version {groups}"
        if groups
        else "no control group can be written to: memory and processes are watched from outside, a moment later; "
        "run as root, or name a delegated group in PALLADION_CGROUP, to have the kernel hold them"
    )
    show(
        Text(
            f"Linux {machine['kernel']}, {machine['architecture']}; {machine['slots']} models at a time, "
            f"{machine['memory_bytes'] >> 30} GiB of memory, {machine['gpus']} graphics processors; {watched}"
        )
    )
    for name, version in machine["back_ends"].items():
        if version is None:
            show(Text(f"{name}: not installed" + ("; apt-get install bubblewrap" if name == "bubblewrap" else "")))
    for name, found in findings.items():
        table = Table("", "promise", "seen", box=None, pad_edge=False, title=f"{name} {machine['back_ends'][name]}")
        table.title_justify = "left"
        for finding in found:
            mark = Text("holds", style="green") if finding.held else Text("FAILS", style="bold red")
            table.add_row(mark, finding.title, finding.detail)
        show(table)
        for advice in dict.fromkeys(finding.advice for finding in found if not finding.held):
            show(Text(f"What to do: {advice}"))


def _version(program: str) -> str | None:
    if shutil.which(program) is None:
        return None
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_SECONDS_FOR_A_VERSION, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "does not answer"
    return (done.stdout or done.stderr).strip().splitlines()[0].split()[-1] if done.stdout or done.stderr else "unknown"
