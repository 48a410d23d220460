"""``palladion challenge install|export|import``: challenges of a service, on the machine that it runs on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palladion.cli.challenge import app

if TYPE_CHECKING:
    from palladion.jobs.context import Service

__all__ = ["app"]

Data = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the service.")]
_DATA = Path("palladion-data")


@app.command()
def install(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="challenge.yaml, or the folder that holds it.", show_default=False),
    ],
    data: Data = _DATA,
) -> None:
    """Install challenges in a service, or change those that are installed; also while it is running.

    What has been opened stays what it was: such a stage can neither be left out nor get other data.
    """
    from palladion.server import installation

    service = _opened(data)
    try:
        for installed in installation.install(service.database, files, actor="command line"):
            words = {"new": "installed", "changed": "changed", "unchanged": "is installed as it is; nothing to do"}
            typer.echo(f"{installed.name}: {words[installed.change]}")
    finally:
        service.database.close()


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The challenge.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write it.", show_default=False)],
    data: Data = _DATA,
) -> None:
    """Write a whole challenge to one file: definition, teams, submissions with files, outcomes, scores, audit log.

    The file holds what is sealed, and who took part: keep it as the service itself is kept.
    """
    from palladion.storage.exporting import export_challenge

    service = _opened(data, new=False)
    try:
        export_challenge(service.database, service.artifacts, name, out)
    finally:
        service.database.close()
    typer.echo(f"{out}: {name}")


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export has written.", show_default=False)],
    folder: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="What the paths in the challenge's file are relative to here.", show_default=False
        ),
    ],
    data: Data = _DATA,
) -> None:
    """Read a challenge that was exported into a service that does not have it."""
    from palladion.storage.importing import import_challenge

    service = _opened(data)
    try:
        row = import_challenge(
            service.database,
            service.artifacts,
            file,
            folder=folder.resolve(),
            actor="command line",
            now=service.now(),
        )
        typer.echo(f"{row.name}: imported")
    finally:
        service.database.close()


def _opened(data: Path, *, new: bool = True) -> "Service":
    """The service in a folder; ``new``: which is made where it is not there."""
    from palladion.errors import InputError, PalladionError

    if not new and not data.is_dir():
        raise InputError("there is no such folder; name that of the service with --data", path=data)

    try:
        from palladion.server.installation import open_service, prepare
        from palladion.server.settings import load_settings
    except ModuleNotFoundError as error:
        raise PalladionError(f"this needs {error.name}: pip install 'palladion[server]'") from None
    prepare(data)
    return open_service(load_settings(data))
