"""Routes, each with the one action that it takes to use it: there is no way to write one without.

A route says beforehand what it can answer: errors are documented with the codes that it can give, and those that every
route can give are added here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fastapi import Depends, FastAPI
from starlette.responses import JSONResponse, Response

from palladion.challenge.permissions import ACTIONS, Role
from palladion.server.access import Permit
from palladion.server.errors import CODES
from palladion.server.models import ErrorAnswer

__all__ = ["API", "Route", "Routes", "error_answers"]

API: Final = "/api/v1"
"""What every address begins with, but for those of monitors."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        methods: GET, ...
        path: its whole address.
        action: what it takes to use it.
        function: that answers.
        errors: codes that it can give, beside those that every route can.
        local: whether programs on this machine may use it without an account.
        page: whether it is for people with a browser; what it answers is no part of the API.
        free: whether its requests are not counted.
        options: what FastAPI is to know.
    """

    methods: tuple[str, ...]
    path: str
    action: str
    function: Callable[..., Any]
    errors: tuple[str, ...] = ()
    local: bool = False
    page: bool = False
    free: bool = False
    options: dict[str, Any] = field(default_factory=dict)


class Routes:
    """The routes of one module.

    Args:
        tag: under which the documentation lists them.
        prefix: of their addresses.
        pages: whether they are for people with a browser.
    """

    def __init__(self, tag: str, prefix: str = API, *, pages: bool = False) -> None:
        self.tag, self._prefix, self._pages = tag, "" if pages else prefix, pages
        self.routes: list[Route] = []

    def get(self, path: str, action: str, **options: Any) -> Callable[[F], F]:
        """A route for GET."""
        return self._route(("GET",), path, action, **options)

    def post(self, path: str, action: str, **options: Any) -> Callable[[F], F]:
        """A route for POST."""
        return self._route(("POST",), path, action, **options)

    def patch(self, path: str, action: str, **options: Any) -> Callable[[F], F]:
        """A route for PATCH."""
        return self._route(("PATCH",), path, action, **options)

    def delete(self, path: str, action: str, **options: Any) -> Callable[[F], F]:
        """A route for DELETE."""
        return self._route(("DELETE",), path, action, **options)

    def _route(
        self,
        methods: tuple[str, ...],
        path: str,
        action: str,
        *,
        errors: Sequence[str] = (),
        head: bool = False,
        local: bool = False,
        free: bool = False,
        **options: Any,
    ) -> Callable[[F], F]:
        def add(function: F) -> F:
            if action not in ACTIONS:
                raise LookupError(f"{path}: there is no action {action}")
            self.routes.append(
                Route(
                    (*methods, "HEAD") if head else methods,
                    self._prefix + path,
                    action,
                    function,
                    tuple(errors),
                    local=local,
                    page=self._pages,
                    # Monitors ask often, and are few.
                    free=free or not (self._pages or self._prefix.startswith(API)),
                    options={"tags": [self.tag], **options},
                )
            )
            return function

        return add

    def install(self, app: FastAPI) -> None:
        """Let the app know the routes."""
        for route in self.routes:
            if route.page:
                _install_page(app, route)
                continue
            permission = ACTIONS[route.action]
            errors = ["invalid", "rate_limited", "internal", "unavailable", "timeout", "bad_request"]
            # A token that is not valid is refused even where none is needed.
            errors += ["unauthenticated"] if not route.free or Role.ANONYMOUS not in permission.roles else []
            errors += ["forbidden"] if Role.ANONYMOUS not in permission.roles else []
            errors += ["not_found"] if "{" in route.path else []
            errors += ["too_large"] if {"POST", "PATCH"} & set(route.methods) else []
            options = dict(route.options)
            answers = {**error_answers([*errors, *route.errors]), **options.pop("responses", {})}
            for method in route.methods:
                shown = method != "HEAD"
                app.add_api_route(
                    route.path,
                    route.function,
                    methods=[method],
                    dependencies=[Depends(Permit(route.action, free=route.free, local=route.local))],
                    responses=answers,
                    response_class=options.get("response_class", JSONResponse),
                    include_in_schema=shown,
                    operation_id=route.function.__name__.strip("_") if shown else None,
                    openapi_extra=_extra(route) | options.get("openapi_extra", {}),
                    **{key: value for key, value in options.items() if key not in ("response_class", "openapi_extra")},
                )


def _install_page(app: FastAPI, route: Route) -> None:
    """A page is none of the API: it is not described there, and answers with what its function makes.

    Whatever can be read can be asked for by HEAD as well, which the same function answers: the guard keeps the body.
    """
    for method in route.methods:
        app.add_api_route(
            route.path,
            route.function,
            methods=[method, "HEAD"] if method == "GET" else [method],
            dependencies=[Depends(Permit(route.action, free=route.free, page=True))],
            response_class=Response,
            response_model=None,
            include_in_schema=False,
        )


def error_answers(codes: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI tells of errors: by their status, each with its codes and an example of each."""
    by_status: dict[int, list[str]] = {}
    for code in sorted(set(codes), key=list(CODES).index):
        by_status.setdefault(CODES[code][0], []).append(code)
    return {
        status: {
            "model": ErrorAnswer,
            "description": " ".join(f"`{code}`: {CODES[code][1]}" for code in found),
            "content": {
                "application/json": {
                    "examples": {
                        code: {"value": {"error": {"code": code, "message": CODES[code][1]}}} for code in found
                    }
                }
            },
        }
        for status, found in by_status.items()
    }


def _extra(route: Route) -> dict[str, Any]:
    permission = ACTIONS[route.action]
    roles = [role.value for role in Role if role in permission.roles]
    extra: dict[str, Any] = {"x-palladion-action": route.action, "x-palladion-roles": roles}
    extra["x-palladion-scope"] = None if permission.scope is None else permission.scope.value
    extra["security"] = [{"bearer": []}] if Role.ANONYMOUS not in permission.roles else [{}, {"bearer": []}]
    return extra
