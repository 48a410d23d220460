"""What the routes share: one object of the app, handed to them as a parameter."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from fastapi import Depends, Query, Request
from sqlalchemy.orm import Session

from palladion.jobs.context import Service, StageInfo
from palladion.server import queries
from palladion.server.access import Caller, Gate
from palladion.server.boards import Boards
from palladion.server.confirmation import Confirmations
from palladion.server.metrics import Metrics
from palladion.server.oidc import Oidc
from palladion.server.published import Published
from palladion.server.rates import Buckets
from palladion.server.settings import Settings
from palladion.server.views import Views
from palladion.storage.tables import Challenge, Team
from palladion.storage.uploads import Uploads

__all__ = ["After", "Here", "Limit", "State", "Turns"]


class Turns:
    """Lets so many do something at a time; the others wait without a thread.

    Args:
        most: at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Semaphores belong to a loop. A process that serves has one; tests have several.
        self._of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @contextlib.asynccontextmanager
    async def taken(self, patience: float | None = None) -> AsyncIterator[None]:
        """Wait for one's turn, and have it.

        Raises:
            TimeoutError: it has not come within ``patience`` seconds.
        """
        loop = asyncio.get_running_loop()
        semaphore = self._of_loop.setdefault(loop, asyncio.Semaphore(self._most))
        await asyncio.wait_for(semaphore.acquire(), patience)
        try:
            yield
        finally:
            semaphore.release()


@dataclass(frozen=True, slots=True)
class State:
    """What the routes share.

    Attributes:
        service: database, files and clock.
        settings: of the service.
        gate: who asks.
        metrics: counts.
        uploads: unfinished ones.
        published: files of stages.
        confirmations: codes in e-mails.
        oidc: a login elsewhere; None: there is none.
        checks: how often an account may have a submission checked.
        codes: how often a code may be sent to an address.
        slow: so many things at a time that take long: checking submissions, reading the data of stages.
        boards: leaderboards that were made before, for all who ask.
    """

    service: Service
    settings: Settings
    gate: Gate
    metrics: Metrics
    uploads: Uploads
    published: Published
    confirmations: Confirmations
    oidc: Oidc | None
    checks: Buckets
    codes: Buckets
    slow: Turns
    boards: Boards = field(default_factory=Boards)

    def views(self, tx: Session, caller: Caller, challenge: Challenge) -> Views:
        """What a caller sees of a challenge now."""
        return self.views_of(caller, caller.team(tx, challenge.id))

    def views_of(self, caller: Caller, team: Team | None) -> Views:
        """What a caller with this team sees now."""
        return Views(self.service, caller.viewer(team), self.service.now(), self.boards)

    def stage(self, tx: Session, challenge: Challenge, track: str, stage: str) -> StageInfo:
        """A stage by its address.

        Raises:
            NotFound: there is none.
        """
        # Held while it is looked up by its id: then the session knows it, and asks the database once.
        row = queries.stage_named(tx, challenge, track, stage)
        return self.service.stage(tx, row.id)


# Without waiting for anything: a function that is not asynchronous would take a thread for it.
async def _state(request: Request) -> State:
    state: Any = request.app.state.palladion
    assert isinstance(state, State)
    return state


Here = Annotated[State, Depends(_state)]
"""The parameter of a route that is the app's state."""
Limit = Annotated[int, Query(ge=1, le=500, description="Items of a page.")]
After = Annotated[str | None, Query(max_length=64, description="`next` of the page before.")]
