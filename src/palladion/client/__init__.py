"""The client of the service: what the command line uses to take part in a challenge, and other programs may.

::

    with connect("https://challenge.example.org") as client:
        file = send_file(client, Path("submission.zip"))
        submission, new = client.submit("trojai", "detection", file)
"""

from palladion.client.addresses import Place, place, server_url
from palladion.client.api import Client, connect
from palladion.client.credentials import Login, chosen_server, forget, load_credentials, remember, token_for
from palladion.client.downloads import Download, download_files
from palladion.client.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    QuotaSpent,
    Rejected,
    ServerFault,
    ServiceError,
    Unreachable,
)
from palladion.client.uploads import SentFile, send_file

__all__ = [
    "Client",
    "Conflict",
    "Download",
    "Login",
    "NotAllowed",
    "NotFound",
    "Place",
    "QuotaSpent",
    "Rejected",
    "SentFile",
    "ServerFault",
    "ServiceError",
    "Unreachable",
    "chosen_server",
    "connect",
    "download_files",
    "forget",
    "load_credentials",
    "place",
    "remember",
    "send_file",
    "server_url",
    "token_for",
]
