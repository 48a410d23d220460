"""``palladion serve``: the whole service in one process."""

from pathlib import Path
from typing import Annotated

import typer

from palladion.cli.service_options import Artifacts, DatabaseUrl, LogLevel, Slots

__all__ = ["serve"]


def serve(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the service; it is made at the first start.")
    ] = Path("palladion-data"),
    challenge: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Challenge file to install, or to change where it is installed; several times for several.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen at; by default 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="N", help="By default 8000; 0 takes any that is free.")
    ] = None,
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Whether this process does jobs as well; see palladion worker.")
    ] = True,
    slots: Slots = None,
    database: DatabaseUrl = None,
    artifacts: Artifacts = None,
    log_level: LogLevel = "info",
    access_log: Annotated[bool, typer.Option("--access-log", help="Log every request.")] = False,
    reset_organiser: Annotated[
        bool,
        typer.Option(
            "--reset-organiser", help="Give the account organiser a new token and password, written to the folder."
        ),
    ] = False,
) -> None:
    """Serve challenges: the API, the scheduler and a worker in one process, on SQLite by default.

    The first start makes the folder, and in it the account of the first organiser with its token. Settings are read
    from service.yaml in the folder, from the environment (PALLADION_...) and from these options.

    Ctrl-C or SIGTERM stop it in order: what runs may end, or is handed back. A second one stops it at once.
    """
    from palladion.errors import InputError, PalladionError

    if log_level not in ("error", "warning", "info", "debug"):
        raise InputError(f"--log-level: {log_level[:40]!a} is none of error, warning, info, debug")
    try:
        from palladion.server import process
        from palladion.server.settings import load_settings
    except ModuleNotFoundError as error:
        raise PalladionError(f"this needs {error.name}: pip install 'palladion[server]'") from None

    settings = load_settings(
        data,
        options={
            "host": host,
            "port": port,
            "worker.enabled": None if worker else False,
            "worker.slots": slots,
            "database": database,
            "artifacts": artifacts,
        },
    )
    process.configure_logging(log_level, access=access_log)
    in_order = process.serve(
        settings,
        challenges=challenge or [],
        reset_organiser=reset_organiser,
        say=lambda text: typer.echo(f"palladion: {text}", err=True),
    )
    if not in_order:
        raise typer.Exit(130)
