import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from palladion.challenge import SubmissionRule
from palladion.errors import InputError
from palladion.jobs.processes import ProcessLimits
from palladion.jobs.validation import check, check_for_stage, splits_of
from palladion.submissions.checks import Fault, FaultSeverity
from tests.jobs.world import World, detector, outputs, packed

CODE = SubmissionRule(kind="code", files=("entrypoint.py",), bytes=1 << 20)
OUTPUTS = SubmissionRule(kind="outputs", bytes=1 << 20)


def errors(faults: list[Fault]) -> list[str]:
    return [str(fault) for fault in faults if fault.severity is FaultSeverity.ERROR]


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(content)
    return path


def of_stage(world: World, stage: str, path: Path, name: str = "s.zip") -> list[Fault]:
    with world.database.read() as tx:
        info = world.service.stage(tx, world.stages[stage].id)
    return check_for_stage(world.service, info, path, name)


def test_what_is_right_has_no_faults(world: World, tmp_path: Path) -> None:
    assert of_stage(world, "development", written(tmp_path, outputs())) == []
    found = of_stage(world, "round-0", written(tmp_path, detector()))
    assert errors(found) == []


def test_outputs_are_checked_against_the_stages_own_phase(world: World, tmp_path: Path) -> None:
    [error] = errors(of_stage(world, "development", written(tmp_path, outputs(rows=19))))
    assert "cls_task1.csv" in error
    assert "19" in error
    assert errors(of_stage(world, "development", written(tmp_path, outputs(name="other.csv"))))


def test_the_challenge_asks_for_files_and_for_few_bytes(tmp_path: Path) -> None:
    without = written(tmp_path, packed({"detector.py": "", "learned_parameters/nothing": ""}))
    [error, *_] = errors(check(without, name="s.zip", kind="code", rule=CODE))
    assert error == "error: entrypoint.py: is not there; this challenge asks for entrypoint.py"
    large = written(tmp_path, detector(big="x" * (2 << 20)))
    [error] = errors(check(large, name="s.zip", kind="code", rule=CODE))
    assert "more than 1,048,576 bytes" in error
    asked = SubmissionRule(kind="outputs", files=("README.md",), bytes=1 << 20)
    [error] = errors(check(written(tmp_path, outputs()), name="s.zip", kind="outputs", rule=asked))[-1:]
    assert "README.md: is not there" in error


def _zip_with_link() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        entry = zipfile.ZipInfo("entrypoint.py")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return content.getvalue()


def _tar_that_leads_out() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../entrypoint.py"))
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "s.zip"),
        (b"no archive at all", "s.zip"),
        (detector()[:-40], "s.zip"),
        (_zip_with_link(), "s.zip"),
        (_tar_that_leads_out(), "s.tar.gz"),
        (detector(), "s.exe"),
        (detector(), "\u202egpj.piz"),
        (packed({"entrypoint.py": "(" * 100_000}), "s.zip"),
        (packed({"entrypoint.py": "-" * 500_000 + "1"}), "s.zip"),
        (packed({"entrypoint.py": "\0"}), "s.zip"),
    ],
)
def test_hostile_files_have_faults_and_nothing_else_happens(tmp_path: Path, content: bytes, name: str) -> None:
    """Whatever reads them, and however it fails, ends in words that name no place of this machine."""
    path = written(tmp_path, content)
    found = errors(check(path, name=name, kind="code", rule=CODE, family="image-classification"))
    assert found
    assert not [error for error in found if "/tmp" in error or str(tmp_path) in error]


def test_what_takes_too_much_is_its_own_fault(tmp_path: Path) -> None:
    path = written(tmp_path, detector())
    [error] = errors(check(path, name="s.zip", kind="code", rule=CODE, limits=ProcessLimits(seconds=0.001)))
    assert "could not be read: it took longer than 0.001 s" in error


def test_what_is_not_there_is_no_submission(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        check(tmp_path / "nothing", name="s.zip", kind="outputs", rule=OUTPUTS)
    with pytest.raises(InputError):
        check(written(tmp_path, outputs()), name="s.zip", kind="outputs", rule=OUTPUTS, phase=tmp_path / "nothing")


def test_a_submission_is_evaluated_on_test_alone(world: World) -> None:
    with world.database.read() as tx:
        for name in ("round-0", "round-1", "development"):
            assert splits_of(world.service.stage(tx, world.stages[name].id)) == ("test",)
