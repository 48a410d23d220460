"""``palladion download``: the open data of a stage."""

from pathlib import Path
from typing import Annotated

import typer

from palladion.cli.service import Insecure, JsonWanted, Server, connected, print_json

__all__ = ["download"]


def download(
    stage: Annotated[
        str,
        typer.Argument(
            metavar="CHALLENGE/TRACK[/STAGE]", help="The stage; by default the open one of the track, or its last."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace files that differ from the server's.")] = False,
    json_wanted: JsonWanted = False,
    server: Server = None,
    insecure: Insecure = False,
) -> None:
    """Download the open data of a stage. Interrupted, the same command goes on where it was.

    Files that are there already are kept. A file gets its name once its checksum fits.
    """
    from palladion.client import Place, download_files, place
    from palladion.client.stages import shown_stage
    from palladion.client.words import quantity, size_in_words

    with connected(server, insecure) as client:
        names = shown_stage(client, place(stage, least=2))
        done = download_files(client, Place(*names), out, force=force)
    if json_wanted:
        print_json(
            {
                "stage": "/".join(names),
                "folder": str(out),
                "files": done.files,
                "bytes": done.bytes,
                "fetched": done.fetched,
                "received": done.received,
            }
        )
        return
    came = f"{quantity(done.fetched, 'file')} came" if done.fetched else "all were there"
    typer.echo(f"{out}: {quantity(done.files, 'file')}, {size_in_words(done.bytes)}; {came}")
