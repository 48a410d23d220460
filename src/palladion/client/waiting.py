"""Wait for what the server does, and tell what has changed. A server that is started anew meanwhile is waited for."""

import time
from collections.abc import Callable
from typing import Final

from palladion.client.addresses import Place
from palladion.client.answers import Stage, Submission
from palladion.client.api import Client
from palladion.client.retries import PATIENT

__all__ = ["pause_after", "wait_for_conclusion", "wait_for_submission"]

_PAUSES: Final = (0.25, 5.0)
_GROWTH: Final = 0.1
_CONCLUDED: Final = "concluded"


def pause_after(seconds: float) -> float:
    """Seconds between looks, after having waited so long: a tenth of it, so that a short wait is not made longer."""
    return min(_PAUSES[1], max(_PAUSES[0], seconds * _GROWTH))


def wait_for_submission(client: Client, submission: Submission, changed: Callable[[Submission], None]) -> Submission:
    """Wait until a submission has ended.

    Args:
        client: of the server.
        submission: as it was last seen; told first.
        changed: is told the submission whenever it is not as before.

    Raises:
        ServiceError: the server cannot be reached for minutes.
    """
    began = time.monotonic()
    changed(submission)
    with client.patient(PATIENT):
        while not submission.ended:
            time.sleep(pause_after(time.monotonic() - began))
            before, submission = submission, client.submission(submission.id)
            if submission != before:
                changed(submission)
    return submission


def wait_for_conclusion(
    client: Client, stage: Stage, changed: Callable[[Stage], None], trouble: Callable[[], None] = lambda: None
) -> Stage:
    """Wait until a stage is concluded.

    Args:
        client: of the server.
        stage: as it was last seen; told first.
        changed: is told the stage whenever it is not as before.
        trouble: called at each look; raises where nothing goes on any more.

    Raises:
        ServiceError: the server cannot be reached for minutes.
    """
    began = time.monotonic()
    changed(stage)
    place = Place(stage.challenge, stage.track, stage.name)
    with client.patient(PATIENT):
        while stage.state != _CONCLUDED or any(step.finished is None for step in stage.steps or ()):
            trouble()
            time.sleep(pause_after(time.monotonic() - began))
            before, stage = stage, client.stage(place.challenge, stage.track, stage.name)
            if stage != before:
                changed(stage)
    return stage
