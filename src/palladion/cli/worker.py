"""``palladion worker``: a process that does the jobs of a service, beside the service's own worker."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palladion.cli.service_options import Artifacts, DatabaseUrl, LogLevel, Slots

if TYPE_CHECKING:
    from palladion.jobs.worker import Worker

__all__ = ["worker"]


def worker(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the service.")] = Path("palladion-data"),
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Its name: the same at every start, and no other worker's; by default that of this machine.",
            show_default=False,
        ),
    ] = None,
    slots: Slots = None,
    database: DatabaseUrl = None,
    artifacts: Artifacts = None,
    log_level: LogLevel = "info",
) -> None:
    """Do the jobs of a service: score outputs, run code, conclude stages, deliver news.

    Any number of them may run beside the service, on its machine or, with PostgreSQL, shared files and the rounds under
    the same paths, on others. Settings are read as palladion serve reads them.

    Ctrl-C or SIGTERM stop it in order: what runs may end, or is handed back. A second one stops it at once. Nothing is
    lost with one that was killed: others do what it held, and so does it itself, started anew under its name.
    """
    from palladion.errors import InputError, PalladionError

    levels = ("error", "warning", "info", "debug")
    if log_level not in levels:
        raise InputError(f"--log-level: {log_level[:40]!a} is none of {', '.join(levels)}")
    if not data.is_dir():
        raise InputError("there is no such folder; name that of the service: palladion serve makes one", path=data)
    try:
        from palladion.server.installation import open_service
        from palladion.server.settings import load_settings
    except ModuleNotFoundError as error:
        raise PalladionError(f"this needs {error.name}: pip install 'palladion[server]'") from None
    from palladion.jobs import processes
    from palladion.jobs.worker import Worker, default_name

    settings = load_settings(data, options={"worker.slots": slots, "database": database, "artifacts": artifacts})
    _log_to_standard_error(log_level)
    # Before there are threads: processes come from a server of their own, which is started here.
    processes.warm()
    service = open_service(settings)
    try:
        one = Worker(service, name=name or default_name())
        in_order = _run(one)
    finally:
        service.database.close()
    if not in_order:
        raise typer.Exit(130)


def _run(worker: "Worker") -> bool:
    """Run until a signal comes; False: it was stopped at once, by a second one."""
    import signal

    signals = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, _: signals.append(number)) for number in numbers}
    asked = 0
    try:
        worker.start()
        # Handlers only note that there was a signal: who is interrupted by one may hold any lock.
        while not worker.join(0.2):
            if asked < len(signals):
                asked = len(signals)
                worker.stop(at_once=asked > 1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return len(signals) < 2


def _log_to_standard_error(level: str) -> None:
    import logging
    import time

    handler = logging.StreamHandler()
    lines = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    lines.converter = time.gmtime
    handler.setFormatter(lines)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("palladion").setLevel(level.upper())
