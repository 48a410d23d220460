"""What the sandbox promises is tried out, on every back end and under every kind of limits that there is here."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import palladion
from palladion.errors import ExecutionError, InputError
from palladion.execution.sandbox import probes
from palladion.execution.sandbox.contract import Limit
from palladion.execution.sandbox.probes import PROBES, Finding, examine, refuse_unless_sealed

Palladion = Callable[..., "subprocess.CompletedProcess[str]"]
MakeRound = Callable[..., Path]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("groups", ["control groups", "watched"])
def test_bubblewrap_holds_what_it_promises(groups: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if groups == "watched":
        monkeypatch.setenv("PALLADION_CGROUP", "none")
    assert [(f.name, f.detail) for f in examine("bubblewrap") if not f.held] == []


def test_it_holds_for_an_ordinary_user_as_well(tmp_path: Path) -> None:
    python = Path("/usr/bin/python3")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    places = [Path(palladion.__file__).parents[1], *map(Path, packages)]
    if os.geteuid() != 0:
        pytest.skip("this is run by an ordinary user already")
    for place in places:
        if not all(folder.stat().st_mode & 0o001 for folder in (place, *place.parents)):
            pytest.skip(f"another user cannot reach {place}")
    same = f"import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])!r})"
    if not python.exists() or subprocess.run([python, "-c", same], check=False).returncode != 0:
        pytest.skip("the system has no Python of this version, and other users cannot reach this one")
    code = (
        "from palladion.execution.sandbox.probes import examine\n"
        "print([(f.name, f.detail) for f in examine('bubblewrap') if not f.held])"
    )
    done = subprocess.run(
        ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", "--", python, "-c", code],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, places)),
            "HOME": "/",
            "TMPDIR": "/tmp",
        },
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_probe_that_fails_says_what_was_seen_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes that ask for what the sandbox does not do, so that each way to fail is taken."""
    starts, bomb = PROBES[0], next(probe for probe in PROBES if probe.name == "time")
    wrong = (
        replace(starts, name="starts", code="raise SystemExit('no such thing')"),
        replace(bomb, code="print('well')"),
        replace(starts, code="print('no JSON')"),
    )
    found = examine("bubblewrap", wrong)
    assert [finding.held for finding in found] == [False] * 3
    assert "no such thing" in found[0].detail
    assert f"not {Limit.TIME}" in found[1].detail or "exit code 0" in found[1].detail
    assert all(finding.advice for finding in found)


def test_where_it_cannot_be_set_up_that_is_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (finding,) = examine("bubblewrap")
    assert not finding.held
    assert "apt-get install bubblewrap" in finding.detail
    assert "unprivileged user namespaces" in finding.advice


def test_the_sandbox_none_promises_nothing() -> None:
    with pytest.raises(InputError, match="promises nothing"):
        examine("none")


def test_sealed_data_is_refused_where_a_probe_fails_and_the_message_says_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = Finding("network", "no network", False, "connection to 1.1.1.1: done", "close it")
    monkeypatch.setattr(probes, "examine", lambda name: [replace(bad, held=True), bad])
    with pytest.raises(ExecutionError, match=r"test split is sealed.*no network.*1\.1\.1\.1: done.*close it"):
        refuse_unless_sealed("bubblewrap", "the test split is sealed")


def test_what_held_is_not_tried_again_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def count(name: str) -> list[Finding]:
        calls.append(name)
        return []

    monkeypatch.setattr(probes, "examine", count)
    refuse_unless_sealed("bubblewrap", "sealed")
    refuse_unless_sealed("bubblewrap", "sealed")
    assert calls == ["bubblewrap"]
    later = time.time() + 25 * 3600
    monkeypatch.setattr("time.time", lambda: later)
    refuse_unless_sealed("bubblewrap", "sealed")
    assert calls == ["bubblewrap"] * 2


def test_without_a_sandbox_sealed_splits_are_refused(palladion: Palladion, make_round: MakeRound) -> None:
    root = make_round([True, False])
    done = palladion("evaluate", "constant", "--round", root, "--split", "test", "--sandbox", "none")
    assert done.returncode == 1
    assert "the test split is sealed: it needs a sandbox" in done.stderr
    assert palladion("evaluate", "constant", "--round", root, "--split", "train", "--sandbox", "none").returncode == 0
    # A dry run: its test split is the train split.
    (root / "round.yaml").write_text("splits: {train: {}, test: {same_as: train}}\n")
    assert palladion("evaluate", "constant", "--round", root, "--sandbox", "none").returncode == 0


def test_doctor_says_what_holds(palladion: Palladion) -> None:
    done = palladion("doctor", "--sandbox", "bubblewrap", "--json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["held"] is True
    assert {finding["name"] for finding in report["findings"]["bubblewrap"]} == {probe.name for probe in PROBES}
    assert report["machine"]["back_ends"]["bubblewrap"]
    shown = palladion("doctor", "--sandbox", "bubblewrap").stdout
    assert "a fork bomb is stopped" in shown
    assert "FAILS" not in shown


def test_doctor_says_what_is_missing(
    palladion: Palladion, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    environment["PATH"] = str(programs)
    done = palladion("doctor", "--sandbox", "bubblewrap")
    assert done.returncode == 1
    assert "bubblewrap: not installed; apt-get install bubblewrap" in done.stdout
    assert "What to do:" in done.stdout


if shutil.which("bwrap") is None:
    pytest.skip("bubblewrap is not installed", allow_module_level=True)
