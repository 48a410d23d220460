"""What everything in this room is handed: the database, the store of files, the settings and the clock.

There are no globals: two services may live in one process, as they do in tests.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from sqlalchemy.orm import Session

from palladion.challenge import Challenge as Definition
from palladion.challenge import Stage as StageDefinition
from palladion.challenge import Track
from palladion.jobs.processes import CHECKING, SCORING, ProcessLimits
from palladion.storage import challenges, stages
from palladion.storage.artifacts import ArtifactStore
from palladion.storage.database import Database
from palladion.storage.tables import Challenge, Stage
from palladion.storage.uploads import Uploads

__all__ = ["HOLDOUT", "TEST", "JobSettings", "Service", "Smtp", "StageInfo", "WebhookRules", "utc_now"]

TEST: Final = "test"
"""The split that feeds the leaderboard."""
HOLDOUT: Final = "holdout"
"""The split that is used once, when the stage is concluded."""


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Smtp:
    """Where e-mail goes out.

    Attributes:
        host: of the mail server.
        port: of the mail server.
        security: ``starttls``, ``tls`` from the first byte, or ``none``.
        user: to log in with; None: nobody does.
        password: of the user.
        sender: address in From.
        seconds: for each answer of the server.
    """

    host: str
    sender: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """Where events may be posted.

    Attributes:
        private_addresses: also to addresses of private networks and of this machine, and there without TLS as well.
        seconds: until the recipient has answered.
    """

    private_addresses: bool = False
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the work of a service is done with.

    Attributes:
        data: the folder of the service.
        sandbox: what code runs in; None: bubblewrap.
        slots: data points of code that run at a time; None: as many as there are processors.
        lease: for how long a job is held without a heartbeat.
        heartbeat: time between heartbeats; several of them fit into a lease.
        poll: most seconds until what another process has enqueued is found.
        grace: seconds that what runs may go on for when a worker is stopped; then it is handed back.
        scoring: what scoring one submission may use.
        checking: what checking one submission may use.
        public_url: the address that participants use, for news; None: news hold no addresses.
        smtp: where e-mail goes out; None: nowhere.
        webhooks: where events may be posted.
    """

    data: Path
    sandbox: str | None = None
    slots: int | None = None
    lease: timedelta = timedelta(seconds=15)
    heartbeat: timedelta = timedelta(seconds=3)
    poll: float = 0.5
    grace: float = 30.0
    scoring: ProcessLimits = SCORING
    checking: ProcessLimits = CHECKING
    public_url: str | None = None
    smtp: Smtp | None = None
    webhooks: WebhookRules = WebhookRules()


@dataclass(frozen=True, slots=True)
class StageInfo:
    """A stage, with what its challenge's file says of it.

    Attributes:
        challenge: the challenge.
        row: the stage as it stands.
        track: of the file.
        stage: of the file.
        data: the stage's round directory, absolute; it may not be there.
    """

    challenge: Challenge
    row: Stage
    track: Track
    stage: StageDefinition
    data: Path

    @property
    def address(self) -> str:
        """What people call it: challenge/track/stage."""
        return f"{self.challenge.name}/{self.row.track}/{self.row.name}"

    @property
    def detection(self) -> bool:
        """Whether its submissions are code that is run here."""
        return self.track.task == "detection"

    @property
    def has_holdout(self) -> bool:
        """Whether its conclusion runs the best submissions on a holdout split."""
        return self.detection and not self.stage.dry_run


class Service:
    """What everything in this room is handed. Threads share it.

    Args:
        database: the database.
        artifacts: the store of files.
        settings: what the work is done with.
        uploads: unfinished uploads, where this process is to remove those that have expired.
        clock: the time.
    """

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        settings: JobSettings,
        *,
        uploads: Uploads | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database, self.artifacts, self.settings, self.uploads = database, artifacts, settings, uploads
        self._clock = clock
        self._lock = threading.Lock()
        self._definitions: dict[str, tuple[datetime, Definition]] = {}
        self._woken: list[threading.Event] = []

    def now(self) -> datetime:
        """The time."""
        return self._clock()

    def notify(self) -> None:
        """Something was enqueued, and is committed: the workers of this process look at once."""
        with self._lock:
            events = list(self._woken)
        for event in events:
            event.set()

    def wake(self, event: threading.Event) -> None:
        """Set this event whenever something is enqueued in this process."""
        with self._lock:
            self._woken.append(event)

    def forget(self, event: threading.Event) -> None:
        """Undo :meth:`wake`."""
        with self._lock:
            self._woken = [other for other in self._woken if other is not event]

    def folder(self, name: str) -> Path:
        """A folder of the service, absolute; made where it is not there, for nobody else to read."""
        path = self.settings.data.absolute() / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def definition(self, challenge: Challenge) -> Definition:
        """What the file of a challenge says.

        Raises:
            InputError: it was installed by a version of Palladion that allowed what this one does not.
        """
        with self._lock:
            kept = self._definitions.get(challenge.id)
        if kept is None or kept[0] != challenge.changed:
            kept = (challenge.changed, challenges.definition_of(challenge))
            with self._lock:
                self._definitions[challenge.id] = kept
        return kept[1]

    def stage(self, tx: Session, stage_id: str) -> StageInfo:
        """A stage as it stands, with what its challenge's file says of it.

        Raises:
            NotFound: there is no such stage.
            InputError: the file does not know it.
        """
        row = stages.by_id(tx, stage_id)
        challenge = challenges.by_id(tx, row.challenge_id)
        track = self.definition(challenge).track(row.track)
        stage = track.stage(row.name)
        return StageInfo(challenge, row, track, stage, Path(challenge.folder).absolute() / stage.data)
