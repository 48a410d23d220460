import json
from pathlib import Path

from palladion.tracks.track_file import load_track
from tests.cli.conftest import Cli, Person, RunningService


def test_the_open_data_comes_and_nothing_sealed(
    service: RunningService, cli: Cli, person: Person, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    done = cli("download", "small/labels", "--out", out, person=person)
    assert done.code == 0
    came = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"base/config.json", "phases/development/track.yaml", "phases/development/test/task1/clean.json"} <= came
    assert not any("sealed" in name or name.startswith("phases/test/") for name in came)
    source = service.folder / "small" / "data" / "small-labels"
    assert all((out / name).read_bytes() == (source / name).read_bytes() for name in came)
    assert load_track(out / "phases" / "development").tasks[0].name == "task1"
    assert done.out.endswith(f"; {len(came)} files came\n")
    assert cli("download", "small/labels", "--out", out, person=person).out.endswith("; all were there\n")


def test_what_differs_is_not_overwritten_unless_asked(cli: Cli, person: Person, tmp_path: Path) -> None:
    cli("download", "small/labels", "--out", tmp_path / "data", person=person)
    changed = tmp_path / "data" / "phases" / "development" / "track.yaml"
    content = changed.read_text()
    changed.write_text("mine")
    done = cli("download", "small/labels", "--out", tmp_path / "data", person=person)
    assert done.code == 2
    assert "1 file here differs from the server's: phases/development/track.yaml" in done.err
    assert changed.read_text() == "mine"
    done = cli("download", "small/labels", "--out", tmp_path / "data", "--force", "--json", person=person)
    assert json.loads(done.out)["fetched"] == 1
    assert changed.read_text() == content


def test_what_cannot_be_had(service: RunningService, cli: Cli, person: Person, tmp_path: Path) -> None:
    out = tmp_path / "data"
    # Of a stage that is planned, nobody has the data.
    assert cli("download", "small/labels/test", "--out", out, person=person).code == 1
    assert cli("download", "small/labels", "--out", out, "--server", service.url).code == 2
    assert not out.exists()
