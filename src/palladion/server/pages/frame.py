"""What every page has: who looks at it, its three renderings, its forms, and what it says when something goes wrong."""

import csv
import functools
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Depends, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from palladion.challenge.instants import in_words
from palladion.errors import PalladionError
from palladion.server.access import Caller, address_of
from palladion.server.errors import CODES, ApiError, told_of, translated
from palladion.server.pages import figures
from palladion.server.pages.browsers import Browsers, Notice
from palladion.server.pages.moments import Moments, same_for_all
from palladion.server.pages.static import address
from palladion.server.pages.words import texts
from palladion.server.routing import Routes
from palladion.server.state import State
from palladion.server.tables import safe_cell

__all__ = [
    "Document",
    "Form",
    "Posted",
    "Table",
    "Visit",
    "Visiting",
    "content_policy",
    "document",
    "done",
    "environment",
    "error_page",
    "filled",
    "page",
    "see",
    "sentence",
    "t",
    "table_csv",
]

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=BaseModel)

_TEMPLATES: Final = Path(__file__).parents[1] / "templates"
_FORM_BYTES: Final = 64 << 10
_FIELDS: Final = 200
t = texts()


# --- Who looks --------------------------------------------------------------------------------------------------------


class Visit:
    """Somebody who looks at a page.

    Attributes:
        request: of their browser.
        here: what routes share.
        caller: who they are.
        browsers: cookies, and proofs that forms are ours.
        now: the time, the same for all of the page.
    """

    __slots__ = ("_new", "_visitor", "browsers", "caller", "here", "now", "request")

    def __init__(self, request: Request, caller: Caller) -> None:
        self.request, self.caller = request, caller
        self.here: State = request.app.state.palladion
        self.browsers: Browsers = request.app.state.browsers
        self.now = self.here.service.now()
        self._visitor = self.browsers.visitor(request)
        self._new = False

    def proof(self) -> str:
        """What each form of the page has to hold."""
        if self.caller.token is None and self._visitor is None:
            self._visitor, self._new = self.browsers.new_visitor(), True
        return self.browsers.proof(self.caller, self._visitor or "")

    def finish(self, answer: Response, *, said: Notice | None) -> Response:
        """Add to an answer what the browser has to keep, or to forget."""
        if self._new and self._visitor is not None:
            self.browsers.know(answer, self._visitor)
        if said is not None:
            self.browsers.forget_notice(answer)
        return answer


# Without waiting for anything: a function that is not asynchronous would take a thread for it.
async def _visit(request: Request) -> Visit:
    caller: Caller = request.state.caller
    return Visit(request, caller)


Visiting = Annotated[Visit, Depends(_visit)]
"""The parameter of a page that tells who looks at it."""


# --- Pages ------------------------------------------------------------------------------------------------------------


def content_policy(*, styles_within: bool = False) -> str:
    """What a page may load: what this service sends it, and nothing else.

    Args:
        styles_within: whether scripts may write styles into the page, as plotly does.
    """
    within = " 'unsafe-inline'" if styles_within else ""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'{within}; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


@functools.cache
def environment() -> Environment:
    """The templates; what is put into them is text, never HTML, and what is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals.update(
        t=t,
        static=address,
        bar_figure=figures.bar,
        sparkline_figure=figures.sparkline,
        query=query_text,
        quoted=lambda text: quote(text, safe=""),
    )
    made.filters.update(utc=utc, iso=iso, until=until, span=span, size=size, markdown=markdown, like=as_exact_as)
    return made


def page(
    visit: Visit,
    template: str,
    *,
    status: int = 200,
    styles_within: bool = False,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> Response:
    """A page as HTML.

    Args:
        visit: who looks.
        template: in ``templates/``, which extends ``base.html``.
        status: of the answer.
        styles_within: see :func:`content_policy`.
        headers: of the answer, beside those of every page.
        **context: what the template needs, beside what :func:`frame_of` gives every one.
    """
    frame = frame_of(visit)
    text = environment().get_template(template).render(frame | context)
    answer = Response(text, status_code=status, media_type="text/html", headers=page_headers(styles_within))
    answer.headers.update(headers or {})
    return visit.finish(answer, said=frame["notice"])


def page_headers(styles_within: bool = False) -> dict[str, str]:
    """Headers of every page."""
    return {
        "Content-Security-Policy": content_policy(styles_within=styles_within),
        # Forms have to say where they come from; nobody else is told where somebody was.
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Vary": "Cookie",
    }


def frame_of(visit: Visit) -> dict[str, Any]:
    """What every template is given."""
    caller = visit.caller
    return {
        "account": caller.account,
        "organises": caller.organises,
        "proof": visit.proof,
        "address": visit.request.url.path,
        "notice": visit.browsers.told(visit.request, caller, visit.now),
        "now": visit.now,
        "site": visit.here.settings.pages.title,
        "may": caller.may,
    }


@dataclass(frozen=True, slots=True)
class Table:
    """What a document is as CSV.

    Attributes:
        heads: of the columns.
        rows: a cell each; None is empty. Text is made safe to open in a spreadsheet; numbers are numbers.
    """

    heads: Sequence[str]
    rows: Iterable[Sequence[object]]


@dataclass(frozen=True, slots=True)
class Document:
    """A page in its three renderings, which are of the same data: what one shows, no other hides.

    Attributes:
        visit: who looks.
        data: what is shown, a model of :mod:`palladion.server.models`.
        template: of the page.
        table: of the CSV, or the CSV itself.
        name: of files that it is saved as, without ending.
        context: what the template needs beside ``data``.
        styles_within: see :func:`content_policy`.
    """

    visit: Visit
    data: BaseModel
    template: str
    table: Callable[[], Table | str]
    name: str
    context: Mapping[str, Any] = field(default_factory=dict)
    styles_within: bool = False

    def html(self) -> Response:
        """For people."""
        return page(self.visit, self.template, styles_within=self.styles_within, **{"data": self.data, **self.context})

    def json(self) -> Response:
        """For programs."""
        return JSONResponse(self.data.model_dump(mode="json"), headers={"Vary": "Cookie"})

    def csv(self) -> Response:
        """For spreadsheets."""
        made = self.table()
        text = made if isinstance(made, str) else table_csv(made)
        headers = {"Content-Disposition": f'attachment; filename="{self.name}.csv"', "Vary": "Cookie"}
        return Response(text, media_type="text/csv", headers=headers)


def table_csv(table: Table) -> str:
    """A table as CSV, safe to open in a spreadsheet."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\r\n")
    out.writerow([safe_cell(head) for head in table.heads])
    out.writerows([_cell(value) for value in row] for row in table.rows)
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime):
        return iso(value)
    return safe_cell(str(value))


def document(routes: Routes, path: str, action: str) -> Callable[[F], F]:
    """Routes for a page at ``path``, and for the same as ``.json`` and as ``.csv``.

    Args:
        routes: of the module.
        path: of the page; that of ``/`` itself is ``/index`` with the ending.
        action: what it takes to see it.

    Returns:
        A decorator of a function that makes a :class:`Document`, or, where nothing changed, a response.
    """

    def add(function: F) -> F:
        stem = "/index" if path == "/" else path
        # Before the page itself: a name in its place would take the ending for a part of it.
        for address_, rendering in ((f"{stem}.json", "json"), (f"{stem}.csv", "csv"), (path, "html")):
            routes.get(address_, action)(_rendered(function, rendering))
        return function

    return add


def _rendered(function: Callable[..., Any], rendering: str) -> Callable[..., Any]:
    def render(**kwargs: Any) -> Response:
        made = function(**kwargs)
        if isinstance(made, Document):
            found: Response = getattr(made, rendering)()
            return found
        assert isinstance(made, Response)
        return made

    @functools.wraps(function)
    async def answer(**kwargs: Any) -> Response:
        visit: Visit = kwargs["visit"]
        key = same_for_all(visit.request) if visit.caller.account is None else None

        async def make() -> Response:
            return await run_in_threadpool(render, **kwargs)

        if key is None:
            return await make()
        moments: Moments = visit.request.app.state.moments
        return await moments.answer(key, make)

    return answer


# --- Forms ------------------------------------------------------------------------------------------------------------


class Form:
    """What was sent by a form.

    Args:
        fields: names and values, in the order of the page.
    """

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields = list(fields)

    def text(self, name: str, most: int = 1000) -> str:
        """The value of a field, without white space around it; empty where there is none."""
        found = next((value for field_, value in self._fields if field_ == name), "")
        return found[:most].strip()

    def raw(self, name: str) -> str:
        """As it was typed: of passwords."""
        return next((value for field_, value in self._fields if field_ == name), "")

    def all(self, name: str) -> list[str]:
        """The values of boxes that were ticked."""
        return [value for field_, value in self._fields if field_ == name]

    def number(self, name: str) -> int | None:
        """A whole number; None where it is none."""
        text = self.text(name, 20)
        return int(text) if text.isascii() and text.isdigit() else None

    def sure(self) -> None:
        """Whether the box that confirms it was ticked.

        Raises:
            ApiError: it was not.
        """
        if self.text("sure") != "yes":
            raise ApiError("invalid", t("forms.not_sure"))


async def _posted(request: Request) -> Form:
    """Read a form, and refuse what none of our pages has sent."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", ""):
        raise ApiError("unsupported_media_type", "a form is sent as application/x-www-form-urlencoded")
    body = await request.body()
    if len(body) > _FORM_BYTES:
        raise ApiError("too_large", f"a form has at most {_FORM_BYTES} bytes", most=_FORM_BYTES)
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except ValueError:
        raise ApiError("bad_request", "the form cannot be read") from None
    form = Form(fields)
    browsers: Browsers = request.app.state.browsers
    browsers.check(request, request.state.caller, form.text("proof"))
    return form


Posted = Annotated[Form, Depends(_posted)]
"""The parameter of a route that a form is sent to: what was sent, by a page of ours to this browser."""


def filled(model: type[M], **values: Any) -> M:
    """What the API takes, from what a form holds.

    Raises:
        ApiError: it is not as it must be, in words.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise told_of(error.errors()) from None


def see(visit: Visit, where: str, notice: Notice | None = None) -> Response:
    """Send a browser on to a page of ours, which says something first."""
    answer = RedirectResponse(where, status_code=HTTPStatus.SEE_OTHER, headers={"Vary": "Cookie"})
    if notice is not None:
        visit.browsers.tell(answer, notice, visit.caller, visit.now)
    return answer


def done(visit: Visit, where: str, act: Callable[[], str | Notice], *, missing: bool = False) -> Response:
    """Do something that a form asks for, and send the browser on to a page, which says what has become of it.

    Args:
        visit: who asks.
        where: the page.
        act: does it; what it returns is said. What it refuses is said as well. Of what is not there, or not theirs to
            do, there is an error page instead.
        missing: whether what is not there is something that was typed, and is said as well.
    """
    try:
        said = act()
    except ApiError as error:
        if error.status == HTTPStatus.FORBIDDEN or (error.status == HTTPStatus.NOT_FOUND and not missing):
            raise
        said = Notice(sentence(error), "error")
    except PalladionError as error:
        refusal = translated(visit.request, error)
        if refusal.status == HTTPStatus.NOT_FOUND and not missing:
            raise
        said = Notice(sentence(refusal), "error")
    return see(visit, where, Notice(said) if isinstance(said, str) else said)


def sentence(error: ApiError) -> str:
    """What an error says, with each fault that its message does not say yet."""
    parts = [error.message]
    parts += [fault.message for fault in error.faults if fault.message not in error.message]
    return ". ".join(_capital(part.rstrip(". ")) for part in parts[:6]) + "."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- Errors -----------------------------------------------------------------------------------------------------------


def error_page(request: Request, error: ApiError) -> Response:
    """What people see instead of a page; the words are those of the API."""
    caller = getattr(request.state, "caller", None)
    visit = Visit(request, caller if isinstance(caller, Caller) else Caller(address_of(request)))
    if error.code == "unauthenticated" and request.method in ("GET", "HEAD"):
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return see(visit, f"/login?{urlencode({'next': wanted})}")
    return page(
        visit,
        "error.html",
        status=error.status,
        headers=error.answer_headers,
        code=error.code,
        meaning=CODES[error.code][1],
        message=sentence(error),
        status_code=error.status,
        retry=error.more.get("retry_after"),
        next_slot=error.more.get("next_slot"),
    )


# --- Words of numbers and times ---------------------------------------------------------------------------------------


def iso(value: datetime) -> str:
    """``2026-01-05T09:00:00Z``."""
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def utc(value: datetime, now: datetime | None = None) -> str:
    """``5 Jan 2026, 09:00 UTC``: the minute that it was in; of what is to come after ``now``, the next full one."""
    coming = now is not None and value > now
    return in_words(value if coming else value.replace(second=0, microsecond=0)).partition(" ")[2]


def until(value: datetime, now: datetime) -> str:
    """How far away it is: ``in 3 h 12 min``, ``5 min ago``."""
    seconds = (value - now).total_seconds()
    if abs(seconds) < 1:
        return t("time.now")
    return t("time.in" if seconds > 0 else "time.ago", span=span(abs(seconds)))


def span(seconds: float) -> str:
    """How long, in its two largest units: ``3 h 12 min``, ``2 d 5 h``, ``40 s``, ``0.4 s``."""
    if seconds < 10:
        return t("time.seconds", n=f"{seconds:.1f}".removesuffix(".0"))
    whole = round(seconds)
    if whole < 60:
        return t("time.seconds", n=whole)
    minutes, rest = divmod(whole, 60)
    if minutes < 10 and rest:
        return f"{t('time.minutes', n=minutes)} {t('time.seconds', n=rest)}"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [("time.days", days), ("time.hours", hours), ("time.minutes", minutes)]
    told = [t(key, n=n) for key, n in parts if n]
    return " ".join(told[:2])


def size(number: int) -> str:
    """Bytes in the largest unit that leaves at least 1: ``1 byte``, ``1.5 MiB``, ``512 MiB``."""
    if number < 1024:
        return t("size.bytes", n=number)
    value, units = float(number), ("KiB", "MiB", "GiB", "TiB")
    for unit in units:
        value /= 1024
        if value < 1024 or unit == units[-1]:
            break
    told = f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:,.0f}"
    return f"{told} {unit}"


def as_exact_as(number: float, text: str) -> str:
    """A number with as many digits after the point as another has: an end of an interval beside its score."""
    digits = len(text.partition(".")[2].partition("e")[0])
    return f"{number:.{digits}f}".replace("-", "−")


def query_text(values: Mapping[str, object], **changes: object) -> str:
    """A query with some of it changed; what is None or empty is left out. Empty, where nothing is left."""
    kept = {name: value for name, value in {**values, **changes}.items() if value not in (None, "", False)}
    return f"?{urlencode(kept)}" if kept else ""


@functools.cache
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False}).enable("table")
    # What is loaded from elsewhere tells others who reads it.
    return made.disable("image")


@functools.lru_cache(maxsize=64)
def markdown(text: str) -> Markup:
    """An organiser's text as HTML: without any HTML of its own, images, and headings above those of the page."""
    made = _markdown()
    tokens = made.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        for child in token.children or ():
            if child.type == "link_open":
                child.attrSet("rel", "nofollow noopener")
    return Markup(made.renderer.render(tokens, made.options, {}))  # noqa: S704 - it was made without HTML of others
