"""``palladion environment``: build, list, show and remove the environments that submissions run in."""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    help="Build, list, show and remove the Python environments that submissions run in.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The environment.", show_default=False)]
_MAIN_PACKAGES = 4


@app.command()
def build(
    name: _Name,
    requirements: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Packages to install, as pip reads them.", show_default=False),
    ],
    python: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Python to build it with; by default the one that Palladion runs on."),
    ] = None,
    constraints: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Versions of packages that come along, as pip reads them."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Build it anew where it is there from other requirements.")
    ] = False,
) -> None:
    """Build an environment; nothing is done where it is there already from the same requirements.

    Packages come from the indexes that pip is configured for. Their installation may run their code, as yourself.
    """
    from palladion.execution import environments

    try:
        environment = environments.build(name, requirements, python=python, constraints=constraints, replace=replace)
    except KeyboardInterrupt:
        typer.echo(f"stopped; {name} is as it was before", err=True)
        raise
    what = f"Python {environment.release}, {_count(environment.packages)}, digest {environment.digest[:12]}"
    if environment.fresh:
        typer.echo(f"{name}: {what}; in {environment.directory}")
    else:
        typer.echo(f"{name}: was built from the same requirements already, nothing to do; {what}")


@app.command(name="list")
def list_() -> None:
    """List the environments; default is the one that Palladion itself runs in."""
    from rich.console import Console
    from rich.table import Table

    from palladion.execution import environments

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "python"):
        table.add_column(heading, no_wrap=True)
    table.add_column("packages", justify="right", no_wrap=True)
    table.add_column("among them")
    for environment in (environments.own_environment(), *environments.environments()):
        present = [package for package in environment.requested if package in environment.packages]
        main = [f"{package} {environment.packages[package]}" for package in present[:_MAIN_PACKAGES]]
        if len(present) > len(main):
            main.append("…")
        table.add_row(environment.name, environment.release, str(len(environment.packages)), ", ".join(main))
    console = Console(highlight=False)
    # A file or a pipe has no width; 80 columns would cut rows.
    (console if console.is_terminal else Console(highlight=False, width=120)).print(table)


@app.command()
def show(
    name: _Name,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show an environment: the exact version of every package in it."""
    from palladion.execution import environments

    environment = environments.find(name)
    if json_wanted:
        document = {
            "name": environment.name,
            "python": environment.release,
            "digest": environment.digest,
            "created": environment.created,
            "directory": str(environment.directory),
            "requested": list(environment.requested),
            "packages": environment.packages,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    typer.echo(f"{environment.name}: Python {environment.release}, {_count(environment.packages)}")
    typer.echo(f"digest: {environment.digest}")
    built = "Palladion's own" if environment.created is None else f"built {environment.created}"
    typer.echo(f"folder: {environment.directory} ({built})")
    typer.echo("")
    for package, version in environment.packages.items():
        typer.echo(f"{package}=={version}")


@app.command()
def remove(name: _Name) -> None:
    """Remove an environment."""
    from palladion.execution import environments

    environments.remove(name)
    typer.echo(f"{name}: removed")


def _count(packages: dict[str, str]) -> str:
    return f"{len(packages)} package{'' if len(packages) == 1 else 's'}"
