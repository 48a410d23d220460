"""What monitors ask for, and what a client needs to know before anything else."""

import shutil
from datetime import datetime, timedelta
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from palladion import __version__
from palladion.errors import PalladionError
from palladion.server import admission
from palladion.server.metrics import CONTENT_TYPE
from palladion.server.models import (
    Alive,
    Check,
    LoginInfo,
    OidcInfo,
    Readiness,
    ServiceInfo,
    UploadInfo,
)
from palladion.server.routing import API, Routes
from palladion.server.state import Here, State
from palladion.storage import workers

__all__ = ["routes"]

routes = Routes("service", prefix="")

_SILENT = timedelta(seconds=30)


@routes.get("/health/live", "health:read", summary="Whether the process answers", response_model=Alive)
def live() -> Alive:
    """Answers as long as the process does; nothing else is looked at."""
    return Alive(version=__version__)


@routes.get(
    "/health/ready",
    "health:read",
    summary="Whether the service can do its work",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "It cannot; `checks` tells why."}},
)
def ready(here: Here) -> Response:
    """Looks at the database, the workers and the disk."""
    checks = readiness(here)
    good = all(check.ok for check in checks.values())
    answer = Readiness(status="ready" if good else "not_ready", checks=checks)
    return JSONResponse(answer.model_dump(mode="json"), status_code=200 if good else 503)


def readiness(here: State) -> dict[str, Check]:
    """What the service needs, and whether it is there. No message tells a path or an address."""
    now = here.service.now()
    checks = {}
    try:
        with here.service.database.read() as tx:
            found = workers.listing(tx)
        checks["database"] = Check(ok=True, message="answers")
        checks["worker"] = _workers([row.seen for row in found if row.stopped is None], now)
    except PalladionError:
        checks["database"] = Check(ok=False, message="cannot be used; the log says why")
        checks["worker"] = Check(ok=False, message="not known without the database")
    try:
        free = shutil.disk_usage(here.settings.data).free
        room = free >= here.settings.limits.free_disk
        checks["disk"] = Check(ok=room, message=f"{free >> 20} MiB free")
    except OSError:
        checks["disk"] = Check(ok=False, message="the folder of the service cannot be read")
    return checks


def _workers(seen: list[datetime], now: datetime) -> Check:
    alive = sum(now - when <= _SILENT for when in seen)
    if alive:
        return Check(ok=True, message=f"{alive} at work")
    return Check(ok=False, message="no worker has been heard of lately; start one with palladion worker")


@routes.get(
    "/metrics",
    "metrics:read",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' format."}},
    local=True,
)
def metrics(here: Here) -> Response:
    """Requests, durations and the queue. From this machine, or with a token of an organiser with the scope organise."""
    return Response(here.metrics.text(), media_type=CONTENT_TYPE)


_api = Routes("service")


@_api.get("/", "documentation:read", summary="What this service is", response_model=ServiceInfo)
def info(here: Here) -> ServiceInfo:
    """What a client needs to know: how to sign up and log in, and how large files may be."""
    with here.service.database.read() as tx:
        approval, _ = admission.sign_up_policy(here.settings, here.service, tx)
    oidc = here.settings.oidc
    return ServiceInfo(
        version=__version__,
        sign_up=approval,
        login=LoginInfo(
            password=True,
            oidc=None
            if here.oidc is None or oidc.issuer is None
            else OidcInfo(issuer=oidc.issuer, title=oidc.title, start=f"{here.settings.public_url}{API}/oidc/start"),
        ),
        uploads=UploadInfo(most_bytes=here.settings.limits.upload, chunk_bytes=here.settings.limits.chunk),
    )


@_api.get(
    "/openapi.json",
    "documentation:read",
    summary="This description",
    response_class=JSONResponse,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}, "description": "OpenAPI 3.1."}},
)
def openapi(request: Request) -> Response:
    """The description of this API, for programs."""
    described: dict[str, Any] = request.app.openapi()
    return JSONResponse(described, headers={"Cache-Control": "max-age=300"})


routes.routes += _api.routes
