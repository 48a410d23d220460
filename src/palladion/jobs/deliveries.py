"""Bring news to webhooks and to e-mail addresses.

A delivery may arrive twice: where the service is killed between sending it and noting that, it is sent again. Both
carry the same id (``X-Palladion-Delivery``, ``Message-ID``), by which a recipient knows the second.

Webhooks
--------

The body is JSON. ``X-Palladion-Signature`` is ``sha256=`` and the HMAC-SHA256, in hexadecimal digits, of the timestamp
in ``X-Palladion-Timestamp``, a full stop and the body, keyed with the webhook's secret. Any answer from 200 to 299 is
an arrival. Nobody is redirected.

The address is somebody else's choice, and this machine may reach what that somebody cannot. So a name is resolved here,
every address that it has must be a public one, and the connection is made to the very address that was looked at: a
name that means something else a moment later gains nothing. An installation whose recipients are inside may allow
private addresses, and there connections without TLS.
"""

import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import smtplib
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final

from palladion import __version__
from palladion.errors import InputError, PalladionError
from palladion.jobs.context import Service, Smtp, WebhookRules
from palladion.jobs.news import EVENTS
from palladion.jobs.work import Work
from palladion.storage import deliveries, queue
from palladion.storage.deliveries import Recipient
from palladion.storage.errors import NotFound
from palladion.storage.tables import Delivery

__all__ = [
    "EVENTS",
    "MOST_DELIVERY_ATTEMPTS",
    "check_webhook_url",
    "deliver",
    "message",
    "post",
    "send_mail",
    "signature",
]

_log = logging.getLogger(__name__)

MOST_DELIVERY_ATTEMPTS: Final = 30
"""How often a delivery is tried, with delays that grow to five minutes: for about two hours."""
# IPv6 addresses that stand for IPv4 ones behind a translator.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def deliver(work: Work) -> None:
    """Do a job of the kind ``deliver``: its subject is a delivery.

    Raises:
        LeaseLost: the job is somebody else's by now.
        PalladionError: it did not arrive; it is tried again.
    """
    service, run = work.service, work.service.database.run
    try:
        with service.database.read() as tx:
            delivery = deliveries.by_id(tx, work.job.subject)
            to = deliveries.recipient(tx, delivery)
    except NotFound:
        run(queue.finish, work.job.id, work.lease, now=service.now())
        return
    if delivery.sent is None:
        _send(service, delivery, to)
    run(deliveries.sent, delivery.id, work.lease, now=service.now())


def check_webhook_url(url: str, rules: WebhookRules) -> None:
    """See that events may be posted to an address, as far as it shows: names are resolved when something is posted.

    Raises:
        InputError: they may not.
    """
    _parts(url, rules)


def _send(service: Service, delivery: Delivery, to: Recipient) -> None:
    settings = service.settings
    if to.url is not None:
        assert to.secret is not None
        content = {"id": delivery.id, "created": _instant(delivery.created), **delivery.body}
        post(
            to.url,
            to.secret,
            delivery_id=delivery.id,
            event=delivery.event,
            content=content,
            now=service.now(),
            rules=settings.webhooks,
        )
    elif settings.smtp is None:
        _log.info("delivery %s: there is no mail server, so it is not sent", delivery.id)
    else:
        assert to.email is not None
        send_mail(settings.smtp, message(settings.smtp, to.email, to.name, delivery, now=service.now()))


# --- webhooks ---------------------------------------------------------------------------------------------------------


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What ``X-Palladion-Signature`` holds."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def post(
    url: str,
    secret: str,
    *,
    delivery_id: str,
    event: str,
    content: Mapping[str, Any],
    now: datetime,
    rules: WebhookRules,
) -> None:
    """Post an event to a webhook.

    Raises:
        InputError: nothing may be posted to this address.
        PalladionError: it did not arrive.
    """
    parts = _parts(url, rules)
    host, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    body = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    timestamp = str(int(now.timestamp()))
    headers = {
        "Host": _host(host, port, tls=tls),
        "Content-Type": "application/json",
        "User-Agent": f"palladion/{__version__}",
        "X-Palladion-Event": event,
        "X-Palladion-Delivery": delivery_id,
        "X-Palladion-Timestamp": timestamp,
        "X-Palladion-Signature": signature(secret, timestamp, body),
    }
    end = time.monotonic() + rules.seconds
    address = _resolved(host, port, rules, tls=tls)
    connection = _Connection(host, port, address, end, tls=tls)
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    try:
        with connection.hurried():
            connection.request("POST", target, body=body, headers=headers)
            status = connection.getresponse().status
    except TimeoutError:
        raise PalladionError(f"the webhook at {host} did not answer within {rules.seconds:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise PalladionError(f"the webhook at {host} has no certificate that holds: {error.verify_message}") from None
    except (OSError, http.client.HTTPException) as error:
        raise PalladionError(f"the webhook at {host} cannot be reached: {_words(error)}") from None
    finally:
        connection.close()
    if not 200 <= status < 300:
        # Not what it answers: that may be anything.
        raise PalladionError(f"the webhook at {host} answered with the status {status}")


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was looked at, which is called by its name only within TLS."""

    def __init__(self, host: str, port: int, address: str, end: float, *, tls: bool) -> None:
        super().__init__(host, port)
        self._address, self._end, self._tls = address, end, tls

    def connect(self) -> None:
        """Connect; no tunnel and no proxy."""
        self.sock = socket.create_connection((self._address, self.port), timeout=self._left())
        if self._tls:
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Wait no longer than there is time, whatever the recipient sends in the meantime: a byte now and then, say.

        Raises:
            TimeoutError: the time is up.
        """
        late = threading.Event()

        def hang_up() -> None:
            late.set()
            with contextlib.suppress(AttributeError, OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._left(), hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException):
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _parts(url: str, rules: WebhookRules) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError("the address of the webhook is none") from None
    if not parts.hostname or parts.username is not None or parts.password is not None or port == 0:
        raise InputError("the address of a webhook is https://, a host and a path, without user and password")
    if parts.scheme != "https" and not (parts.scheme == "http" and rules.private_addresses):
        raise InputError("the address of a webhook begins with https://")
    if any(ord(sign) <= 32 or ord(sign) > 126 for sign in url):
        raise InputError("the address of a webhook has a sign in it that no address has; write it with %")
    literal = _literal(parts.hostname)
    if literal is not None:
        _refuse_unless_allowed(literal, parts.hostname, rules, tls=parts.scheme == "https")
    return parts


def _literal(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _resolved(host: str, port: int, rules: WebhookRules, *, tls: bool) -> str:
    """An address of a host; all that it has must be allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise PalladionError(f"the webhook's host {host} is not known: {_words(error)}") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise PalladionError(f"the webhook's host {host} has no address")
    for address in addresses:
        _refuse_unless_allowed(ipaddress.ip_address(address.partition("%")[0]), host, rules, tls=tls)
    return addresses[0]


def _refuse_unless_allowed(address: _Address, host: str, rules: WebhookRules, *, tls: bool) -> None:
    public = _is_public(address)
    if not public and not rules.private_addresses:
        # Not which address: that would tell of the network here.
        raise InputError(f"the webhook's host {host} is not on the public internet")
    if public and not tls:
        raise InputError(f"the webhook's host {host} is on the public internet; its address must begin with https://")


def _is_public(address: _Address) -> bool:
    """Whether everybody can reach an address; also what an address within the address leads to."""
    inner: list[_Address | None] = []
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None:
            return _is_public(address.ipv4_mapped)
    whole = address.is_global and not address.is_multicast and not address.is_reserved
    return whole and all(one is None or _is_public(one) for one in inner)


def _host(host: str, port: int, *, tls: bool) -> str:
    named = f"[{host}]" if ":" in host else host
    return named if port == (443 if tls else 80) else f"{named}:{port}"


# --- mail -------------------------------------------------------------------------------------------------------------


def message(smtp: Smtp, email: str, name: str, delivery: Delivery, *, now: datetime) -> EmailMessage:
    """The e-mail that tells of an event.

    Args:
        smtp: says who sends it.
        email: where to.
        name: of the account.
        delivery: what it tells.
        now: the time.
    """
    body = delivery.body
    title = str(body.get("title") or EVENTS.get(delivery.event, delivery.event))
    place = "/".join(str(body[key]) for key in ("challenge", "track", "stage") if body.get(key))
    mail = EmailMessage()
    mail["From"] = smtp.sender
    mail["To"] = email
    mail["Subject"] = _line(f"[{place}] {title}" if place else title)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{delivery.id}@{smtp.sender.rpartition('@')[2] or 'palladion'}>"
    # So that no program answers it.
    mail["Auto-Submitted"] = "auto-generated"
    lines = [f"{_line(name)},", "", f"{title}.", ""]
    for key, value in body.items():
        if key in ("event", "title") or value is None:
            continue
        shown = str(value).replace("\n", f"\n{' ' * 14}")
        lines.append(f"{key + ':':<13} {shown}")
    mail.set_content("\n".join([*lines, ""]))
    return mail


def send_mail(smtp: Smtp, mail: EmailMessage) -> None:
    """Send an e-mail.

    Raises:
        PalladionError: the mail server did not take it.
    """
    context = ssl.create_default_context()
    try:
        if smtp.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(smtp.host, smtp.port, timeout=smtp.seconds, context=context)
        else:
            server = smtplib.SMTP(smtp.host, smtp.port, timeout=smtp.seconds)
        with server:
            if smtp.security == "starttls":
                server.starttls(context=context)
            if smtp.user is not None:
                server.login(smtp.user, smtp.password or "")
            server.send_message(mail)
    except smtplib.SMTPAuthenticationError:
        raise PalladionError(
            f"the mail server {smtp.host} does not take the user and password of the settings"
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise PalladionError(f"the mail server {smtp.host} did not take it: {_words(error)}") from None


_mail = send_mail  # by this name for palladion.server.mails


def _line(text: str) -> str:
    """One line: a name with a line break in it must not begin a header."""
    return " ".join(text.split())[:200]


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return ascii(str(error)[:200])[1:-1] or type(error).__name__


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"
