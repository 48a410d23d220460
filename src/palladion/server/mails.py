"""E-mail that the server itself sends: codes that confirm an address. News are jobs, see :mod:`palladion.jobs.news`."""

import logging
import threading
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING

from palladion.errors import PalladionError
from palladion.jobs import deliveries
from palladion.jobs.context import Smtp
from palladion.server.confirmation import LIFETIME
from palladion.storage.ids import new_id

if TYPE_CHECKING:
    from palladion.server.state import State

__all__ = ["can_send", "code_message", "send_code"]

log = logging.getLogger("palladion.server")


def can_send(here: "State") -> bool:
    """Whether this service sends e-mail at all."""
    return here.service.settings.smtp is not None


def send_code(here: "State", email: str, name: str, code: str, now: datetime) -> None:
    """Send a code. The answer does not wait for it: how long it takes tells whether there is such an account."""
    smtp = here.service.settings.smtp
    if smtp is None:
        return
    mail = code_message(smtp, email, name, code, here.settings.public_url, now)
    threading.Thread(target=_send, args=(smtp, mail), name="mail", daemon=True).start()


def code_message(smtp: Smtp, email: str, name: str, code: str, url: str | None, now: datetime) -> EmailMessage:
    """The e-mail with a code."""
    mail = EmailMessage()
    mail["From"] = smtp.sender
    mail["To"] = email
    mail["Subject"] = "Confirm your e-mail address"
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{new_id()}@{smtp.sender.rpartition('@')[2] or 'palladion'}>"
    mail["Auto-Submitted"] = "auto-generated"
    days = LIFETIME.days
    mail.set_content(
        f"{name},\n\nthis address was given for an account{'' if url is None else f' at {url}'}.\n"
        f"To confirm that it is yours, send this code there within {days} days:\n\n{code}\n\n"
        "If you did not ask for it, do nothing.\n"
    )
    return mail


def _send(smtp: Smtp, mail: EmailMessage) -> None:
    try:
        deliveries.send_mail(smtp, mail)
    except PalladionError as error:
        log.warning("a code was not sent: %s", error)
