"""The service's HTTP API as methods: one call, one typed answer or one :class:`ServiceError`."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx

from palladion import __version__
from palladion.client.addresses import is_loopback
from palladion.client.answers import (
    Account,
    AccountMade,
    Board,
    Challenge,
    ChallengeSummary,
    Invitation,
    Job,
    LoggedIn,
    Me,
    PublishedFile,
    QuotaReport,
    Rescoring,
    ServerInfo,
    Stage,
    Submission,
    Team,
    Upload,
    read_answer,
)
from palladion.client.credentials import chosen_server, refuse_open_way, token_for
from palladion.client.errors import NotFound, ServerFault, ServiceError, Unreachable, error_of, seconds_to_wait
from palladion.client.retries import USUAL, Patience
from palladion.errors import InputError

__all__ = ["Client", "FileStream", "connect"]

Answer = TypeVar("Answer")
_ROOT: Final = "/api/v1"
_SECONDS_TO_ANSWER: Final = 60.0
_SECONDS_TO_OPEN: Final = 1800.0
# What takes longer is told of.
_SILENCE: Final = 2.0
_MOST_BYTES: Final = 64 << 20
_MOST_ERROR_BYTES: Final = 1 << 20
_MOST_PAGES, _PAGE = 1000, 500
_TEMPORARY: Final = frozenset({408, 429, 502, 503, 504})
_SAFE_METHODS: Final = frozenset({"GET", "DELETE"})
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
# Nothing was sent yet: whatever it was, it can be sent again.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(slots=True)
class FileStream:
    """A file on its way from the server.

    Attributes:
        start: its first byte that comes; 0 where the server sends all of it, whatever was asked for.
        pieces: its bytes, as they come.
    """

    start: int
    pieces: Iterator[bytes]


class Client:
    """One server, asked as one account or as nobody.

    What can be asked twice without harm is asked again when the server does not answer, with growing waits. Every
    method raises a :class:`ServiceError` where it cannot do what it says.

    Args:
        url: the server, as :func:`palladion.client.addresses.server_url` gives it.
        token: of the account; None to ask as nobody.
        patience: how long to go on asking.
        notice: is told in words why something takes longer.

    Attributes:
        url: the server.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience: Patience = USUAL,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self.url = url
        self._patience = patience
        self._notice = notice or (lambda _: None)
        headers = {"User-Agent": f"palladion/{__version__}", "Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        # No proxy of the environment stands between this machine and itself: it would see the token.
        direct: dict[str, httpx.BaseTransport | None] = {"http://": None, "https://": None, "all://": None}
        mounts = direct if is_loopback(url) else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_timeout(_SECONDS_TO_ANSWER), mounts=mounts)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @contextlib.contextmanager
    def patient(self, patience: Patience) -> Iterator["Client"]:
        """The same client, with another patience for a while."""
        before, self._patience = self._patience, patience
        try:
            yield self
        finally:
            self._patience = before

    # --- the server, and who one is -----------------------------------------------------------------------------------

    def server(self) -> ServerInfo:
        """What this server is."""
        return read_answer(ServerInfo, self._call("GET", "/"))

    def sign_up(self, name: str, password: str, email: str | None = None) -> AccountMade:
        """Make an account. It may have to be approved first."""
        wanted = {"name": name, "password": password} | ({} if email is None else {"email": email})
        return read_answer(AccountMade, self._call("POST", "/accounts", document=wanted))

    def log_in(self, name: str, password: str, token_name: str | None = None) -> LoggedIn:
        """A new token for an account."""
        wanted = {"name": name, "password": password} | ({} if token_name is None else {"token_name": token_name})
        return read_answer(LoggedIn, self._call("POST", "/login", document=wanted))

    def log_out(self) -> None:
        """Make the token in use void."""
        self._call("POST", "/logout", repeatable=True)

    def me(self) -> Me:
        """Who asks."""
        return read_answer(Me, self._call("GET", "/me"))

    def confirm_account(self, code: str) -> AccountMade:
        """Confirm the e-mail address of a new account, by the code that was sent there."""
        return read_answer(AccountMade, self._call("POST", "/accounts/confirm", document={"code": code}))

    def accounts(self, state: str | None = None) -> list[Account]:
        """The accounts, or those in a state. The organiser's."""
        return self._list(Account, "/accounts", {} if state is None else {"state": state})

    def approve_account(self, account: str) -> Account:
        """Let an account in, by its id. The organiser's."""
        return read_answer(Account, self._call("POST", f"/accounts/{_id(account)}/approve", repeatable=True))

    def disable_account(self, account: str) -> Account:
        """Shut an account out, by its id. The organiser's."""
        return read_answer(Account, self._call("POST", f"/accounts/{_id(account)}/disable", repeatable=True))

    # --- challenges and stages ----------------------------------------------------------------------------------------

    def challenges(self) -> list[ChallengeSummary]:
        """The challenges of this server."""
        return self._list(ChallengeSummary, "/challenges")

    def challenge(self, name: str) -> Challenge:
        """One challenge."""
        return read_answer(Challenge, self._call("GET", _challenge(name)))

    def stage(self, challenge: str, track: str, stage: str) -> Stage:
        """One stage."""
        return read_answer(Stage, self._call("GET", _stage(challenge, track, stage)))

    def open_stage(self, challenge: str, track: str, stage: str) -> Stage:
        """Open it for submissions, once all of its data was read and checked. The organiser's."""
        path = f"{_stage(challenge, track, stage)}/open"
        return read_answer(Stage, self._call("POST", path, document={}, seconds=_SECONDS_TO_OPEN))

    def close_stage(self, challenge: str, track: str, stage: str) -> Stage:
        """Close it to submissions. The organiser's."""
        return read_answer(Stage, self._call("POST", f"{_stage(challenge, track, stage)}/close", document={}))

    def conclude_stage(self, challenge: str, track: str, stage: str, submissions: tuple[str, ...] = ()) -> Stage:
        """Begin its conclusion, with these submissions beside the best of each team. The organiser's."""
        wanted = {"submissions": [_id(submission) for submission in submissions]}
        return read_answer(Stage, self._call("POST", f"{_stage(challenge, track, stage)}/conclude", document=wanted))

    def failed_conclusions(self, challenge: str) -> list[Job]:
        """Conclusions of stages that have come to an end that is none. The organiser's."""
        jobs = self._list(Job, f"{_challenge(challenge)}/jobs", {"state": "failed"})
        return [job for job in jobs if job.kind == "conclude"]

    def rescore_stage(self, challenge: str, track: str, stage: str) -> Rescoring:
        """Score its submissions again, beside the scores that there are. The organiser's."""
        return read_answer(Rescoring, self._call("POST", f"{_stage(challenge, track, stage)}/rescore", document={}))

    def switch_stage(self, challenge: str, track: str, stage: str, scorer: str) -> Stage:
        """Show the scores of another version of the scorer. The organiser's."""
        path = f"{_stage(challenge, track, stage)}/switch"
        return read_answer(Stage, self._call("POST", path, document={"scorer": scorer}, repeatable=True))

    def files(self, challenge: str, track: str, stage: str) -> list[PublishedFile]:
        """The open data of a stage. Their paths are the server's words."""
        return self._list(PublishedFile, f"{_stage(challenge, track, stage)}/files")

    @contextlib.contextmanager
    def file(self, challenge: str, track: str, stage: str, path: str, offset: int = 0) -> Iterator[FileStream]:
        """Bytes of a file of a stage, from ``offset`` on. It is asked for once: whoever reads it goes on by himself."""
        address = f"{_ROOT}{_stage(challenge, track, stage)}/files/{quote(path, safe='/')}"
        # Offsets count the bytes of the file, so that no packing may come between.
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with self._told(), self._http.stream("GET", address, headers=headers) as response:
            if response.status_code == 416:
                raise NotFound("the server has no more of this file", code="range_not_satisfiable", status=416)
            if response.status_code not in (200, 206):
                raise error_of(response.status_code, _read(response, _MOST_ERROR_BYTES, cut=True), response.headers)
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ServerFault("the server sends the file packed, so that its bytes cannot be counted")
            start = _start_of(response.headers.get("content-range", "")) if response.status_code == 206 else 0
            # Bytes as they come: whatever gathers them first would lose them where the connection breaks.
            yield FileStream(start, response.iter_bytes())

    def leaderboard(self, challenge: str, track: str, stage: str, *, everything: bool = False) -> Board:
        """The best submission of each team, or every submission."""
        return read_answer(Board, self.leaderboard_document(challenge, track, stage, everything=everything))

    def leaderboard_document(self, challenge: str, track: str, stage: str, *, everything: bool = False) -> Any:
        """The leaderboard as the server's JSON has it."""
        return self._call("GET", f"{_stage(challenge, track, stage)}/leaderboard", query=_all(everything))

    def leaderboard_csv(self, challenge: str, track: str, stage: str, *, everything: bool = False) -> str:
        """The leaderboard as CSV."""
        path = f"{_stage(challenge, track, stage)}/leaderboard"
        body = self._bytes("GET", path, query={**_all(everything), "format": "csv"}, accept="text/csv")
        return body.decode("utf-8", errors="replace")

    # --- teams --------------------------------------------------------------------------------------------------------

    def teams(self, challenge: str) -> list[Team]:
        """The team of this account, or none; all teams for organisers and observers."""
        return self._list(Team, f"{_challenge(challenge)}/teams")

    def create_team(self, challenge: str, name: str) -> Team:
        """Make a team, and be its captain."""
        return read_answer(Team, self._call("POST", f"{_challenge(challenge)}/teams", document={"name": name}))

    def invite(self, challenge: str, *, uses: int = 1, days: int | None = None) -> Invitation:
        """A code with which others join the team."""
        wanted = {"uses": uses} | ({} if days is None else {"days": days})
        return read_answer(
            Invitation, self._call("POST", f"{_challenge(challenge)}/teams/invitations", document=wanted)
        )

    def join_team(self, challenge: str, code: str) -> Team:
        """Join the team that a code is of."""
        return read_answer(Team, self._call("POST", f"{_challenge(challenge)}/teams/join", document={"code": code}))

    def leave_team(self, challenge: str) -> None:
        """Leave the team."""
        self._call("POST", f"{_challenge(challenge)}/teams/leave")

    def decide_team(self, challenge: str, team: str, *, approved: bool) -> Team:
        """Let a team submit, by its id, or let it submit no more. The organiser's."""
        path = f"{_challenge(challenge)}/teams/{_id(team)}/{'approve' if approved else 'refuse'}"
        return read_answer(Team, self._call("POST", path, repeatable=True))

    def quota(self, challenge: str) -> QuotaReport:
        """What the team has left in each track."""
        return read_answer(QuotaReport, self._call("GET", f"{_challenge(challenge)}/quota"))

    # --- uploads and submissions --------------------------------------------------------------------------------------

    def begin_upload(self, sha256: str, size: int) -> Upload:
        """Announce a file; a file that is on its way already, or is there, is not begun anew."""
        wanted = {"sha256": sha256, "bytes": size}
        return read_answer(Upload, self._call("POST", "/uploads", document=wanted, repeatable=True))

    def upload(self, upload: str) -> Upload:
        """How far an upload is."""
        return read_answer(Upload, self._call("GET", f"/uploads/{_id(upload)}"))

    def send_chunk(self, upload: str, offset: int, chunk: bytes) -> Upload:
        """Send a part of a file, once: whoever sends it has to ask how far it came where this fails."""
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
        body = self._once("PATCH", f"/uploads/{_id(upload)}", content=chunk, headers=headers)
        return read_answer(Upload, _document(body))

    def submit(
        self, challenge: str, track: str, *, sha256: str, filename: str, stage: str | None = None, again: bool = False
    ) -> tuple[Submission, bool]:
        """Hand in a file that was uploaded; False beside it where the team has handed in the same bytes before.

        Args:
            challenge: its name.
            track: its name.
            sha256: of the file.
            filename: as others are to see it.
            stage: its name; by default the one that is open.
            again: make a new submission of the same bytes.
        """
        wanted = {"track": track, "sha256": sha256, "filename": filename, "again": again}
        if stage is not None:
            wanted["stage"] = stage
        # The same bytes are one submission, however often they are handed in, unless another is asked for.
        status, body = self._answered(
            "POST", f"{_challenge(challenge)}/submissions", document=wanted, repeatable=not again
        )
        return read_answer(Submission, _document(body)), status == 201

    def submissions(self, challenge: str, **only: str) -> list[Submission]:
        """Those of the team, the latest first; of all teams for organisers and observers.

        Args:
            challenge: its name.
            only: of this ``track``, ``stage`` or ``state``.
        """
        return self._list(Submission, f"{_challenge(challenge)}/submissions", only)

    def submission(self, submission: str) -> Submission:
        """One submission, by its id."""
        return read_answer(Submission, self._call("GET", f"/submissions/{_id(submission)}"))

    def cancel(self, submission: str) -> Submission:
        """Cancel a submission that has not ended."""
        return read_answer(Submission, self._call("POST", f"/submissions/{_id(submission)}/cancel"))

    # --- how it is asked ----------------------------------------------------------------------------------------------

    def _list(self, kind: type[Answer], path: str, query: Mapping[str, str] | None = None) -> list[Answer]:
        """All pages of a list."""
        items: list[Any] = []
        asked = {"limit": str(_PAGE), **(query or {})}
        for _ in range(_MOST_PAGES):
            page = self._call("GET", path, query=asked)
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise ServerFault("the server's answer is not the list that was asked for")
            items += page["items"]
            following = page.get("next")
            if not isinstance(following, str) or following == asked.get("after"):
                return [read_answer(kind, item) for item in items]
            asked["after"] = following
        raise ServerFault("the server's list has no end")

    def _call(
        self,
        method: str,
        path: str,
        *,
        document: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = False,
        seconds: float | None = None,
    ) -> Any:
        """The JSON that is answered; None where there is nothing to say."""
        _, body = self._answered(method, path, document=document, query=query, repeatable=repeatable, seconds=seconds)
        return _document(body) if body else None

    def _bytes(self, method: str, path: str, *, query: Mapping[str, str], accept: str) -> bytes:
        return self._answered(method, path, query=query, headers={"Accept": accept})[1]

    def _answered(
        self,
        method: str,
        path: str,
        *,
        document: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        seconds: float | None = None,
    ) -> tuple[int, bytes]:
        """Ask, and ask again where that helps and does no harm. ``seconds``: how long an answer may take."""
        request: dict[str, Any] = {}
        if document is not None:
            # ASCII alone: what was typed may hold what is no UTF-8, and it is the server's to refuse that in words.
            request["content"] = json.dumps(document).encode()
            headers = {"Content-Type": "application/json", **(headers or {})}
        if seconds is not None:
            request["timeout"] = _timeout(seconds)
        failures = 0
        while True:
            asked = None
            try:
                status, body, answered = self._send(method, path, params=query, headers=headers, **request)
                if status < 300:
                    return status, body
                error = error_of(status, body, answered)
                again = status in _TEMPORARY and isinstance(error, Unreachable)
                again &= repeatable or method in _SAFE_METHODS
                asked = seconds_to_wait(answered, datetime.now(UTC))
            except httpx.RequestError as failure:
                error = self._unreachable(failure)
                again = repeatable or method in _SAFE_METHODS or isinstance(failure, _NOT_SENT)
                again &= not _is_hopeless(failure)
            failures += 1
            wait = self._patience.wait(failures, asked) if again else None
            if wait is None:
                raise error
            if failures > 1 or wait > _SILENCE:
                self._notice(f"{error}; trying again in {wait:.0f} s")
            time.sleep(wait)

    def _once(self, method: str, path: str, *, content: bytes, headers: Mapping[str, str]) -> bytes:
        with self._told():
            status, body, answered = self._send(method, path, content=content, headers=headers)
        if status >= 300:
            raise error_of(status, body, answered)
        return body

    def _send(self, method: str, path: str, **request: Any) -> tuple[int, bytes, Mapping[str, str]]:
        """One request; the body of its answer is read as far as an honest one goes."""
        with self._http.stream(method, f"{_ROOT}{path}", **request) as response:
            failed = response.status_code >= 300
            body = _read(response, _MOST_ERROR_BYTES if failed else _MOST_BYTES, cut=failed)
            return response.status_code, body, response.headers

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except httpx.RequestError as failure:
            raise self._unreachable(failure) from None

    def _unreachable(self, failure: httpx.RequestError) -> ServiceError:
        if isinstance(failure, httpx.ConnectTimeout | httpx.PoolTimeout):
            why = "no connection in time"
        elif isinstance(failure, httpx.TimeoutException):
            why = "no answer in time"
        else:
            why = str(failure) or type(failure).__name__
        return Unreachable(f"{self.url} cannot be reached: {why}")


def connect(
    server: str | None = None,
    *,
    insecure: bool = False,
    anonymous: bool = False,
    notice: Callable[[str], None] | None = None,
) -> Client:
    """A client for the server that is meant, with the token that is kept for it.

    Args:
        server: its address; by default ``PALLADION_SERVER``, or the one of the last login.
        insecure: send the token by plain http to another machine, too.
        anonymous: whether one may ask as nobody where no token is kept.
        notice: is told in words why something takes longer.

    Raises:
        InputError: no server is named, nobody is logged in there, or others could read the token on the way.
    """
    url = chosen_server(server)
    token = token_for(url)
    if token is not None:
        refuse_open_way(url, insecure=insecure)
    elif not anonymous:
        raise InputError(f"nobody is logged in at {url}; log in with: palladion login {url}")
    return Client(url, token, notice=notice)


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(60.0, connect=10.0, pool=10.0, read=seconds)


def _read(response: httpx.Response, most: int, *, cut: bool = False) -> bytes:
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > most:
            if cut:
                break
            raise ServerFault("the server's answer has no end")
    return bytes(body[:most])


def _document(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ServerFault("the server's answer is not JSON; is this a server of Palladion?") from None


def _no_number(text: str) -> None:
    raise ValueError(text)


def _start_of(content_range: str) -> int:
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)", content_range)
    if match is None:
        raise ServerFault("the server sends a part of the file without saying which")
    return int(match[1])


def _is_hopeless(failure: httpx.RequestError) -> bool:
    """Whether it will be the same however often one asks."""
    hopeless = isinstance(failure, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
    return hopeless or "CERTIFICATE_VERIFY_FAILED" in str(failure)


def _challenge(name: str) -> str:
    return f"/challenges/{quote(name, safe='')}"


def _stage(challenge: str, track: str, stage: str) -> str:
    return f"{_challenge(challenge)}/stages/{quote(track, safe='')}/{quote(stage, safe='')}"


def _all(everything: bool) -> dict[str, str]:
    return {"all": "true"} if everything else {}


def _id(text: str) -> str:
    """An id as part of an address.

    Raises:
        NotFound: it is none, so there is nothing of this name.
    """
    if _ID.fullmatch(text) is None:
        raise NotFound(f"{text[:80]!a} is no id")
    return text
