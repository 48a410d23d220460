"""The process of a service: the API, the scheduler and a worker, from the first start to the last request.

SIGTERM or SIGINT stop it in order: no new connections, answers that are under way are given, the worker claims nothing
more, and what it runs may go on for its time of grace; then it is handed back. A second signal stops it at once.
Whatever way it ends, nothing is lost: what was accepted is in the database.
"""

import contextlib
import errno
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from palladion.errors import PalladionError
from palladion.jobs import processes
from palladion.jobs.context import Service
from palladion.jobs.scheduler import Scheduler
from palladion.jobs.worker import Worker
from palladion.server import installation
from palladion.server.app import create_app
from palladion.server.connections import MOST_HEADER_BYTES, protocol_for
from palladion.server.settings import Settings

__all__ = ["WORKER", "configure_logging", "serve"]

log = logging.getLogger("palladion.server")

WORKER: Final = "server"
"""Name of the worker within the service: the same at every start, so that it knows what its earlier self held."""

_ANSWERS: Final = 10
"""Seconds for answers that are under way when it is stopped."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def serve(
    settings: Settings,
    *,
    challenges: Sequence[Path] = (),
    reset_organiser: bool = False,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),  # noqa: T201
) -> bool:
    """Serve until a signal comes. Call it from the main thread.

    Args:
        settings: of the service.
        challenges: files to install before.
        reset_organiser: give the account ``organiser`` a new token and password before.
        say: tells people what happens.

    Returns:
        Whether it was stopped in order; False: at once, by a second signal.

    Raises:
        InputError: a challenge file is not as it must be.
        PalladionError: the service cannot be opened, or its port cannot be had; nothing was served.
    """
    installation.prepare(settings.data)
    # Before there are threads: processes come from a server of their own, which is forked off here.
    with contextlib.suppress(PalladionError, OSError):
        processes.warm()
    secret = installation.secret_of(settings.data)
    with contextlib.ExitStack() as stack:
        service = installation.open_service(settings)
        stack.callback(service.database.close)
        made = installation.first_organiser(service.database, settings.data, reset=reset_organiser)
        if made is not None:
            say(
                f"the account {installation.ORGANISER} was made; its token is in {made.token}, "
                f"its password in {made.password}"
            )
        for installed in installation.install(service.database, challenges, actor="serve"):
            if installed.change != "unchanged":
                say(f"challenge {installed.name}: {'installed' if installed.change == 'new' else 'changed'}")
        listening = _listen(settings.host, settings.port)
        stack.callback(listening.close)
        return _run(service, settings, secret, listening, say)


def _run(
    service: Service, settings: Settings, secret: bytes, listening: socket.socket, say: Callable[[str], None]
) -> bool:
    made = create_app(service, settings, secret)
    app: Any = made
    if settings.trusted_proxies:
        app = ProxyHeadersMiddleware(app, trusted_hosts=list(settings.trusted_proxies))
    config = uvicorn.Config(
        app,
        http=protocol_for(settings.limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=_ANSWERS,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )
    worker = None
    if settings.worker.enabled:
        worker = Worker(service, name=WORKER)
        try:
            worker.start()
        except PalladionError as error:
            raise PalladionError(f"{error}\nTo serve beside it, start this one with --no-worker.") from None
    scheduler = Scheduler(service)
    scheduler.start()
    server = _Server(config, started=lambda: _told(say, listening, settings), stopping=lambda: stop_working(say))
    at_once = threading.Event()
    signals, stopped = 0, False

    def stop_working(tell: Callable[[str], None]) -> None:
        """Begin nothing new; a second time it changes nothing: only `at_once` does."""
        nonlocal stopped
        if stopped:
            return
        stopped = True
        # Whoever follows a submission would be waited for.
        made.state.seats.close()
        scheduler.stop()
        if worker is None:
            return
        running = len(worker.running)
        worker.stop()
        if running:
            tell(f"stopping; {running} job{'' if running == 1 else 's'} may end first; a second signal stops at once")

    def handle(_: int, __: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        server.should_exit = True
        if signals > 1:
            server.force_exit = True
            at_once.set()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        watcher = threading.Thread(target=_watch, args=(at_once, worker), name="signals", daemon=True)
        watcher.start()
        server.run([listening])
    finally:
        stop_working(lambda _: None)
        if worker is not None:
            worker.join(settings.worker.grace_seconds + 30)
        scheduler.join(10)
        for number, handler in before.items():
            signal.signal(number, handler)
    say("stopped" if signals < 2 else "stopped at once; what ran was handed back")
    return signals < 2


def _told(say: Callable[[str], None], listening: socket.socket, settings: Settings) -> None:
    host, port = listening.getsockname()[:2]
    say(f"serving http://{f'[{host}]' if ':' in host else host}:{port}")
    if not _is_loopback(host) and not (settings.public_url or "").startswith("https:"):
        say("others can reach this by plain HTTP: put a proxy with TLS in front, and say so with public_url")


def _watch(at_once: threading.Event, worker: Worker | None) -> None:
    at_once.wait()
    if worker is not None:
        worker.stop(at_once=True)


class _Server(uvicorn.Server):
    """Tells when it has started and when it is about to stop; signals are handled elsewhere."""

    def __init__(self, config: uvicorn.Config, *, started: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start, self._on_stop = started, stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, or why there is none in words."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise PalladionError(f"there is no address for {host!a}; choose another with --host") from None
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(512)
    except OSError as error:
        listening.close()
        words = {
            errno.EADDRINUSE: f"port {port} of {host} is in use; stop what uses it, or choose another with --port",
            errno.EACCES: f"port {port} may not be used by this user; choose one above 1023 with --port",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine; choose another with --host",
        }
        raise PalladionError(words.get(error.errno or 0, f"{host}:{port}: {error.strerror}")) from None
    return listening


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


def configure_logging(level: str, *, access: bool) -> None:
    """What is logged goes to standard error, a line each.

    Args:
        level: error, warning, info or debug.
        access: whether every request is.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("palladion").setLevel(level.upper())
    logging.getLogger("palladion.access").setLevel(logging.INFO if access else logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class _Line(logging.Formatter):
    """Times in UTC."""

    converter = staticmethod(time.gmtime)
