from collections.abc import Iterator

import pytest

from palladion.client import Client
from palladion.client.answers import Stage, Submission, read_answer
from palladion.client.waiting import wait_for_conclusion, wait_for_submission
from tests.client.conftest import QUICK
from tests.client.rough_server import ID, RoughServer

SUBMISSION = {
    "id": ID,
    "challenge": "trojai",
    "track": "detection",
    "stage": "round-0",
    "team": {"id": ID, "name": "Team"},
    "filename": "x.zip",
    "state": "pending",
    "created": "2026-01-05T09:00:00Z",
}
STAGE = {"challenge": "trojai", "track": "detection", "name": "round-0", "title": "Round 0", "state": "open"}
START, END = "2026-01-05T09:00:00Z", "2026-01-05T09:01:00Z"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palladion.client.waiting._PAUSES", (0.001, 0.001))
    monkeypatch.setattr("palladion.client.waiting.PATIENT", QUICK)


def test_each_change_of_a_submission_is_told_once(client: Client, rough: RoughServer) -> None:
    path = f"/submissions/{ID}"
    seen: list[dict[str, object]] = [
        {"progress": "queued"},
        {"progress": "queued"},
        {"progress": "running"},
        {"progress": "running", "progress_points": {"done": 1, "total": 2}},
        {"state": "scored"},
    ]
    told: list[str] = []

    def tell(submission: Submission) -> None:
        told.append(f"{submission.state} {submission.progress} {submission.progress_points and 1}")
        advance()

    states = iter(seen)

    def advance() -> None:
        rough.answers[path] = SUBMISSION | next(states, {"state": "scored"})

    advance()
    rough.statuses = [503, 0, 502]  # the server is started anew meanwhile
    ended = wait_for_submission(client, read_answer(Submission, SUBMISSION), tell)
    assert ended.state == "scored"
    assert told == [
        "pending None None",
        "pending queued None",
        "pending running None",
        "pending running 1",
        "scored None None",
    ]


def test_a_stage_is_waited_for_until_its_last_step(client: Client, rough: RoughServer) -> None:
    path = "/challenges/trojai/stages/detection/round-0"

    def documents() -> Iterator[dict[str, object]]:
        yield STAGE | {"state": "closed", "steps": [{"name": "close", "started": START}]}
        # Concluded, but what follows is not done yet.
        yield STAGE | {"state": "concluded", "steps": [{"name": "open_next", "started": START, "waits": "for data"}]}
        yield STAGE | {"state": "concluded", "steps": [{"name": "open_next", "started": START, "finished": END}]}

    left = documents()
    told: list[Stage] = []

    def tell(stage: Stage) -> None:
        told.append(stage)
        rough.answers[path] = next(left, rough.answers.get(path))

    looks: list[None] = []
    ended = wait_for_conclusion(client, read_answer(Stage, STAGE), tell, lambda: looks.append(None))
    assert ended.steps is not None
    assert ended.steps[0].finished is not None
    assert [stage.state for stage in told] == ["open", "closed", "concluded", "concluded"]
    assert len(looks) == 3


def test_trouble_ends_the_waiting(client: Client, rough: RoughServer) -> None:
    def trouble() -> None:
        raise RuntimeError("it failed")

    with pytest.raises(RuntimeError, match="it failed"):
        wait_for_conclusion(client, read_answer(Stage, STAGE), lambda _: None, trouble)
    assert rough.seen == []
