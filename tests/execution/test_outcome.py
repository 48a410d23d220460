import os
import re
from pathlib import Path

import pytest

from palladion.execution.outcome import Failure, Outcome, judge, last_words
from palladion.execution.sandbox.answers import read_answer
from palladion.execution.sandbox.contract import Ended, Limit, Limits
from palladion.scoring import AnswerStatus


def ended(
    exit_code: int | None = None, signal: int | None = None, limit: Limit | None = None, stderr: str = "", **answer: str
) -> Ended:
    return Ended(exit_code, signal, limit, 1.0, 1000, "", stderr, answer.get("answer"), answer.get("fault"))


def read(folder: Path, name: str) -> str | None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return read_answer(descriptor, name)
    finally:
        os.close(descriptor)


def answer(tmp_path: Path, content: str | bytes) -> tuple[float | None, Failure | None, str | None]:
    (tmp_path / "result.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        how = ended(0, answer=read(tmp_path, "result.txt") or "")
    except ValueError as error:
        how = ended(0, fault=str(error))
    probability, _, failure, message = judge(how, Limits(), "result.txt")
    return probability, failure, message


@pytest.mark.parametrize(("text", "probability"), [("0.75", 0.75), ("1\n", 1.0), (" 1e-3 \n", 0.001), ("0", 0.0)])
def test_one_number_is_an_answer(tmp_path: Path, text: str, probability: float) -> None:
    assert answer(tmp_path, text) == (probability, None, None)


@pytest.mark.parametrize(
    "content",
    [
        "nan",
        "inf",
        "1e400",
        "-0.1",
        "2.0",
        "yes",
        "0.5 0.5",
        "0.5\n0.7",
        "1_0",
        "0x1",
        "0.5" * 2000,
        b"\xff\xfe",
        b"\0",
    ],
)
def test_anything_else_is_a_bad_answer(tmp_path: Path, content: str | bytes) -> None:
    probability, failure, message = answer(tmp_path, content)
    assert (probability, failure) == (None, Failure.BAD_ANSWER)
    assert message is not None
    assert "result.txt" in message
    assert len(message) < 200
    assert message.isprintable()


def test_the_message_shows_the_value(tmp_path: Path) -> None:
    assert answer(tmp_path, "2.0\n")[2] == r"result.txt holds '2.0\n'; it must hold one number from 0 to 1"


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_file_is_no_answer(tmp_path: Path, content: str) -> None:
    assert answer(tmp_path, content)[:2] == (None, Failure.NO_ANSWER)


def test_a_missing_file_is_no_answer(tmp_path: Path) -> None:
    assert read(tmp_path, "result.txt") is None
    assert judge(ended(0), Limits(), "result.txt")[2] is Failure.NO_ANSWER


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("0.9")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("link", "device"):
        with pytest.raises(ValueError, match="symbolic link"):
            read(tmp_path, name)
    for name in ("fifo", "folder"):
        with pytest.raises(ValueError, match="special file"):
            read(tmp_path, name)


LIMITS = Limits(seconds=1.5, cpu_seconds=7.0, memory_bytes=3 << 20, processes=5, scratch_bytes=1 << 20, output_bytes=99)


@pytest.mark.parametrize(
    ("how", "failure", "words"),
    [
        (ended(limit=Limit.TIME), Failure.TIMEOUT, "longer than 1.5 s"),
        (ended(limit=Limit.CPU), Failure.CPU, "more than 7 s of processor time"),
        (ended(limit=Limit.MEMORY), Failure.MEMORY, "more than 3 MiB of memory"),
        (ended(limit=Limit.PROCESSES), Failure.PROCESSES, "more than 5 processes"),
        (ended(limit=Limit.SCRATCH), Failure.SCRATCH, "its 1 MiB of scratch"),
        (ended(limit=Limit.OUTPUT), Failure.OUTPUT, "more than 99 bytes"),
        (ended(1, stderr="a\nValueError: x"), Failure.CRASHED, "exit code 1.*ValueError: x"),
        (ended(signal=11), Failure.CRASHED, "SIGSEGV"),
        (ended(signal=9), Failure.CRASHED, "SIGKILL .out of memory"),
    ],
)
def test_whoever_does_not_end_well_has_no_answer(how: Ended, failure: Failure, words: str) -> None:
    probability, status, found, message = judge(how, LIMITS, "result.txt")
    assert (probability, status, found) == (None, AnswerStatus.MISSING, failure)
    assert message is not None
    assert re.search(words, message)


def test_every_limit_is_a_failure() -> None:
    assert {limit.value for limit in Limit} <= {failure.value for failure in Failure}


def test_last_words_cannot_harm_a_terminal() -> None:
    shown = last_words("first\n\x1b[31mred\x1b[0m\a\n\n" + "x" * 10_000 + "\u202eend")
    assert shown.isprintable()
    assert shown.endswith("end")
    assert len(shown) < 500
    assert last_words("\n \n") == ""


def test_an_outcome_survives_json() -> None:
    outcome = Outcome("id-1", None, Failure.TIMEOUT, "too long", 1.5, 0.25, None, AnswerStatus.MISSING)
    again = Outcome.from_dict(outcome.to_dict())
    assert again == outcome
    assert isinstance(again.error, Failure)
