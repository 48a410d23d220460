import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.submissions.tracks import make_zip, write_track

Palladion = Callable[..., "subprocess.CompletedProcess[str]"]

CODE = """
import json, os, sys
from pathlib import Path
rows = json.loads(Path(os.environ["PALLADION_PHASE"], "test/task1/test.json").read_text())
print("\\x1b[2Janswering", len(rows), file=sys.stderr)
labels = "".join(f"{len(row['sentence']) % 3}\\n" for row in rows)
Path(os.environ["PALLADION_OUTPUTS"], "cls_task1.csv").write_text("label\\n" + labels)
"""


@pytest.fixture
def phase(tmp_path: Path) -> Path:
    folder = tmp_path / "ROUND" / "phases" / "test"
    write_track(folder, "tiny", "classification", {"cls_task1.csv": [{"sentence": "x" * n} for n in range(40)]})
    (folder / "models/task1/model1").mkdir(parents=True)
    return folder


def submit(tmp_path: Path, labels: list[int], **recipe: object) -> Path:
    contents = {
        "cls_task1.csv": ("label\n" + "".join(f"{label}\n" for label in labels)).encode(),
        "code/README.md": b"python run.py\n",
        "code/run.py": CODE.encode(),
        "code/reproduce.yaml": json.dumps({"command": ["python", "run.py"], "seconds": 20, **recipe}).encode(),
    }
    return make_zip(tmp_path / "team.zip", contents)


def test_what_is_made_again_ends_with_0(phase: Path, tmp_path: Path, palladion: Palladion) -> None:
    path = submit(tmp_path, [row % 3 for row in range(40)])
    done = palladion("submission", "reproduce", path, "--round", phase)
    assert done.returncode == 0, done.stderr
    assert "team.zip: reproduced\n" in done.stdout
    assert ["cls_task1.csv", "task1", "40", "40", "100.00", "reproduced"] in [
        line.split() for line in done.stdout.splitlines()
    ]
    assert "s of 20 s, " in done.stdout
    # What the code says is passed on, and gives the terminal no orders.
    assert done.stderr == "[2Janswering 40\n"


def test_what_is_not_ends_with_1_and_the_rows_are_shown(phase: Path, tmp_path: Path, palladion: Palladion) -> None:
    path = submit(tmp_path, [row % 3 for row in range(39)] + [2])
    done = palladion("submission", "reproduce", path, "--round", phase)
    assert done.returncode == 1
    assert ["cls_task1.csv", "task1", "40", "39", "97.50", "differs"] in [
        line.split() for line in done.stdout.splitlines()
    ]
    assert "cls_task1.csv, row 40: submitted: 2\n" in done.stdout
    assert "made:      0\n" in done.stdout
    assert "team.zip: not reproduced: cls_task1.csv: not as submitted" in done.stdout
    done = palladion("submission", "reproduce", path, "--round", phase, "--allow", "2.5")
    assert done.returncode == 0
    assert "team.zip: reproduced; 2.5 % of a file's rows may differ\n" in done.stdout


def test_json_has_it_all(phase: Path, tmp_path: Path, palladion: Palladion) -> None:
    path = submit(tmp_path, [row % 3 for row in range(39)] + [2], memory="256M")
    done = palladion("submission", "reproduce", path, "--round", phase, "--json", "--allow", "1")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["submission"], report["reproduced"], report["error"]) == ("team.zip", False, None)
    assert report["files"] == [
        {
            "file": "cls_task1.csv",
            "task": "task1",
            "rows": 40,
            "equal": 39,
            "differing": [{"row": 40, "submitted": "2", "made": "0"}],
            "fault": None,
            "share": 97.5,
        }
    ]
    assert (report["allow"], report["sandbox"], report["environment"]) == (1.0, "bubblewrap", "default")
    assert (report["limits"]["memory_bytes"], report["limits"]["seconds"]) == (256 << 20, 20.0)
    assert report["seconds"] > 0
    assert report["peak_memory_bytes"] > 0


def test_code_that_fails_ends_with_1(phase: Path, tmp_path: Path, palladion: Palladion) -> None:
    path = submit(tmp_path, [0] * 40, command=["python", "no-such-file.py"])
    done = palladion("submission", "reproduce", path, "--round", phase)
    assert done.returncode == 1
    assert "team.zip: not reproduced: it ended with exit code 2" in done.stdout
    assert "was not written" in done.stdout


def test_what_is_given_wrong_ends_with_2(phase: Path, tmp_path: Path, palladion: Palladion) -> None:
    path = submit(tmp_path, [0] * 40)
    for options, words in (
        (["--seconds", "19"], "seconds: 20 is more than the 19 that are allowed"),
        (["--seconds", "0"], "it must be more than 0"),
        (["--memory", "much"], "'much' is not a size"),
        (["--allow", "101"], "101 % of the rows cannot differ"),
        (["--sandbox", "cage"], "there is no sandbox 'cage'"),
        (["--environment", "nowhere"], "nowhere"),
        (["--base", "nowhere"], "there is no such folder"),
    ):
        done = palladion("submission", "reproduce", path, "--round", phase, *options)
        assert done.returncode == 2, (options, done.stderr)
        assert words in done.stderr
        assert done.stdout == ""
    done = palladion("submission", "reproduce", path, "--round", tmp_path / "ROUND")
    assert done.returncode == 2
    assert "is a whole round; name one of its phases" in done.stderr
    make_zip(path, {"cls_task1.csv": b"label\n" + b"0\n" * 40})
    done = palladion("submission", "reproduce", path, "--round", phase)
    assert done.returncode == 2
    assert "error: code/: is missing; the phase asks for the code" in done.stderr


def test_without_a_sandbox_only_where_nothing_is_sealed(phase: Path, tmp_path: Path, palladion: Palladion) -> None:
    path = submit(tmp_path, [row % 3 for row in range(40)])
    done = palladion("submission", "reproduce", path, "--round", phase, "--sandbox", "none")
    assert done.returncode == 0, done.stderr
    (tmp_path / "ROUND" / "sealed").mkdir()
    done = palladion("submission", "reproduce", path, "--round", phase, "--sandbox", "none")
    assert done.returncode == 2
    assert "the sealed answers of the round lie beside the phase: the code needs a sandbox" in done.stderr
