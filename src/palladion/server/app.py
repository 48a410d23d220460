"""The app: routes, what they share, and what stands in front of them."""

import time
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from palladion import __version__
from palladion.errors import PalladionError
from palladion.jobs.context import Service
from palladion.server.access import Gate
from palladion.server.api import ALL
from palladion.server.confirmation import Confirmations
from palladion.server.errors import CODES, PagesOfErrors, install_handlers
from palladion.server.guard import Guard
from palladion.server.metrics import Metrics
from palladion.server.oidc import Oidc
from palladion.server.pages import PAGES
from palladion.server.pages.browsers import Browsers
from palladion.server.pages.events import Seats
from palladion.server.pages.frame import error_page
from palladion.server.pages.moments import Moments
from palladion.server.published import Published
from palladion.server.rates import Buckets
from palladion.server.routing import API
from palladion.server.settings import Settings
from palladion.server.state import State, Turns

__all__ = ["create_app"]

# Each takes a process, or a disk, for itself.
_SLOW_AT_ONCE: Final = 4
_DESCRIPTION: Final = """\
The HTTP API of a Palladion service: challenges, teams, submissions and leaderboards.

Log in with `POST /api/v1/login` and send the token with every request: `Authorization: Bearer pld_...`.
Every route names the action that it takes (`x-palladion-action`), the roles that may, and the scope that a token needs.
Times are in UTC. What is wrong is told in one shape, whatever the status; see the codes below.

| code | status | meaning |
| --- | --- | --- |
"""


def create_app(
    service: Service,
    settings: Settings,
    secret: bytes,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The app of a service.

    Args:
        service: database, files and clock; with uploads.
        settings: of the service.
        secret: its key.
        clock: seconds that never go back, for rates.

    Raises:
        PalladionError: the service takes no uploads.
    """
    if service.uploads is None:
        raise PalladionError("a server needs a folder for uploads")
    app = FastAPI(
        title="Palladion",
        version=__version__,
        description=_DESCRIPTION + "".join(f"| `{c}` | {s} | {m} |\n" for c, (s, m) in CODES.items()),
        # Its pages would load scripts from elsewhere; the document itself is a route like others.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    limits = settings.limits
    metrics = Metrics(service)
    gate = Gate(service, settings, clock)
    app.state.gate = gate
    app.state.palladion = State(
        service=service,
        settings=settings,
        gate=gate,
        metrics=metrics,
        uploads=service.uploads,
        published=Published(service.folder("checksums"), service.now),
        confirmations=Confirmations(secret),
        oidc=None if settings.oidc.issuer is None else Oidc(settings, secret, f"{API}/oidc/callback"),
        checks=Buckets(limits.checks.per_second, limits.checks.burst, clock=clock),
        codes=Buckets(1 / 600, 3, clock=clock),
        slow=Turns(_SLOW_AT_ONCE),
    )
    app.state.browsers = Browsers(secret, settings)
    app.state.seats = Seats()
    app.state.moments = Moments(settings.pages.fresh_seconds)
    app.state.error_pages = PagesOfErrors(
        frozenset(route.path for routes in PAGES for route in routes.routes), error_page
    )
    # In this order they are looked through: pages first, because most readers read those.
    for routes in (*PAGES, *ALL):
        routes.install(app)
    install_handlers(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    app.add_middleware(Guard, limits=limits, metrics=metrics)
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of the API, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            openapi_version="3.1.0",
        )
        document.setdefault("components", {})["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "A token: `pld_...`"}
        }
        app.openapi_schema = document
    return app.openapi_schema
