import pytest

from palladion.client.answers import Account, LoggedIn, PublishedFile, Submission, Value, read_answer, to_document
from palladion.client.errors import ServerFault

ID = "a" * 20
ACCOUNT = {"id": ID, "name": "ada", "role": "participant", "state": "active"}
SUBMISSION = {
    "id": ID,
    "challenge": "trojai",
    "track": "detection",
    "stage": "round-0",
    "team": {"id": ID, "name": "Team"},
    "filename": "x.zip",
    "state": "scored",
    "created": "2026-01-05T09:00:00Z",
    "scores": {"cross_entropy": {"value": 0.5, "text": "0.50", "low": 0.4, "high": 0.6}, "roc_auc": None},
}


def test_what_a_newer_server_adds_is_left_out() -> None:
    answer = read_answer(Account, {**ACCOUNT, "added": {"later": [1, 2]}, "email": None})
    assert answer == Account(ID, "ada", "participant", "active")
    submission = read_answer(Submission, {**SUBMISSION, "added": 1})
    assert submission.scores == {"cross_entropy": Value(0.5, "0.50", 0.4, 0.6), "roc_auc": None}
    assert submission.ended
    document = to_document(submission)
    assert document["created"] == "2026-01-05T09:00:00Z"
    expected = {"value": 0.5, "text": "0.50", "low": 0.4, "high": 0.6, "note": ""}
    assert document["scores"]["cross_entropy"] == expected


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": "../../x"},
        {"created": "2026-01-05T09:00:00"},
        {"created": "soon"},
        {"scores": {"cross_entropy": {"value": float("nan")}}},
        {"team": "Team"},
    ],
)
def test_what_is_of_another_kind_is_a_fault_of_the_server(change: dict[str, object]) -> None:
    with pytest.raises(ServerFault, match="is not what was asked for"):
        read_answer(Submission, SUBMISSION | change)


def test_a_fault_is_told_without_what_a_terminal_obeys() -> None:
    with pytest.raises(ServerFault) as error:
        read_answer(Submission, {**SUBMISSION, "scores": {"\x1b[2J": {"value": "x"}}})
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "change", [{"bytes": -1}, {"bytes": 1 << 70}, {"sha256": "0" * 63}, {"sha256": "G" * 64}, {"path": 7}]
)
def test_a_file_has_a_size_and_a_checksum(change: dict[str, object]) -> None:
    right = {"path": "a/b", "bytes": 3, "sha256": "0" * 64}
    assert read_answer(PublishedFile, right) == PublishedFile("a/b", 3, "0" * 64)
    with pytest.raises(ServerFault):
        read_answer(PublishedFile, right | change)


def test_a_token_is_not_part_of_what_is_printed() -> None:
    assert "secret" not in repr(read_answer(LoggedIn, {"account": ACCOUNT, "token": "pld_a_secret"}))
