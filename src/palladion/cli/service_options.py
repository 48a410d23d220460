"""Options that every process of a service has."""

from typing import Annotated

import typer

__all__ = ["Artifacts", "DatabaseUrl", "LogLevel", "Slots"]

Slots = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Data points of code at a time; by default as many as processors."),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="postgresql://..., or the path of a SQLite file; by default in the folder."),
]
Artifacts = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where files lie: a folder, or s3://...; by default in the folder."),
]
LogLevel = Annotated[str, typer.Option(metavar="LEVEL", help="error, warning, info or debug.")]
