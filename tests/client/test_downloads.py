import hashlib
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.client import Client, NotFound, Place, ServerFault, Unreachable, download_files
from palladion.client.answers import PublishedFile
from palladion.client.downloads import checked_files, part_of
from palladion.client.transfer import silent
from palladion.errors import InputError, PalladionError
from palladion.files import exclusive
from tests.client.rough_server import RoughServer

STAGE = Place("trojai", "detection", "round-0")
LARGE = random.Random(2).randbytes(200_000)
FILES = {"METADATA.csv": b"a,b\n", "models/id-0/large": LARGE, "models/id-0/empty": b"", "odd #%?& name": b"x"}


@pytest.fixture(autouse=True)
def _files(rough: RoughServer) -> None:
    rough.files = dict(FILES)


def download(client: Client, folder: Path, force: bool = False) -> None:
    download_files(client, STAGE, folder, force=force, show=silent)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_come_and_nothing_else(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    done = download_files(client, STAGE, tmp_path / "new" / "out", show=silent)
    assert contents(tmp_path / "new" / "out") == FILES
    assert (done.files, done.fetched, done.bytes) == (4, 4, 200_005)
    # All of it is there: nothing travels again.
    rough.seen = []
    done = download_files(client, STAGE, tmp_path / "new" / "out", show=silent)
    assert (done.files, done.fetched, done.received) == (4, 0, 0)
    assert len(rough.seen) == 1


def test_a_part_of_the_files_can_be_chosen(client: Client, tmp_path: Path) -> None:
    download_files(client, STAGE, tmp_path, only=lambda name: name.endswith(".csv"), show=silent)
    assert contents(tmp_path) == {"METADATA.csv": b"a,b\n"}


def test_a_broken_connection_costs_nothing(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    rough.files = {"large": LARGE}
    rough.cut = [70_000, 1, 90_000]
    done = download_files(client, STAGE, tmp_path, show=silent)
    assert contents(tmp_path) == {"large": LARGE}
    # What a cut connection still carried may be lost on the way, and travels again.
    assert done.received == 200_000
    ranges = [headers["range"] for headers in rough.requested if "range" in headers]
    assert len(ranges) == 3


def test_what_broke_off_goes_on_where_it_was(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    rough.files = {"large": LARGE}
    rough.cut = [100_000, *[0] * 20]
    with pytest.raises(Unreachable, match="the same command goes on where it is"):
        download(client, tmp_path)
    # Nothing has its name before all of it is there.
    part = part_of(tmp_path / "large", hashlib.sha256(LARGE).hexdigest())
    assert list(contents(tmp_path)) == [part.name]
    assert part.stat().st_size == 100_000
    rough.cut = []
    assert download_files(client, STAGE, tmp_path, show=silent).received == 100_000
    assert contents(tmp_path) == {"large": LARGE}


def test_ctrl_c_says_how_to_go_on(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    class Interrupting:
        def __init__(self, total: int, label: str) -> None:
            pass

        def __enter__(self) -> "Interrupting":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def reached(self, count: int) -> None:
            if count >= 150_000:
                os.kill(os.getpid(), 2)

        def say(self, line: str) -> None:
            pass

    rough.files = {"large": LARGE}
    with pytest.raises(KeyboardInterrupt, match="the same command goes on there"):
        download_files(client, STAGE, tmp_path, show=Interrupting)
    done = download_files(client, STAGE, tmp_path, show=silent)
    assert done.received <= 50_000
    assert contents(tmp_path) == {"large": LARGE}


def test_a_server_without_ranges_sends_all_again(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    rough.files, rough.ranges = {"large": LARGE}, False
    rough.cut = [100_000]
    download(client, tmp_path)
    assert contents(tmp_path) == {"large": LARGE}


def test_a_damaged_part_is_fetched_anew(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    rough.files = {"large": LARGE}
    part = part_of(tmp_path / "large", hashlib.sha256(LARGE).hexdigest())
    for rest in (b"damaged", b"x" * 200_000, LARGE + b"more"):
        part.write_bytes(rest)
        download(client, tmp_path)
        assert contents(tmp_path) == {"large": LARGE}
        (tmp_path / "large").unlink()


def test_what_never_fits_its_checksum_is_not_kept(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    rough.files, rough.damage = {"large": LARGE}, 1
    download(client, tmp_path)
    assert contents(tmp_path) == {"large": LARGE}
    (tmp_path / "large").unlink()
    rough.damage = 2
    with pytest.raises(ServerFault, match="came twice with bytes that do not fit its checksum"):
        download(client, tmp_path)
    assert contents(tmp_path) == {}


def test_what_is_longer_than_the_server_said_is_not_kept(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    rough.files = {"a": b"1234"}
    rough.listing = [{"path": "a", "bytes": 3, "sha256": hashlib.sha256(b"1234").hexdigest()}]
    with pytest.raises(ServerFault, match="longer than the server said"):
        download(client, tmp_path)
    assert "a" not in contents(tmp_path)


def test_what_is_shorter_than_the_server_said_comes_to_an_end(
    client: Client, rough: RoughServer, tmp_path: Path
) -> None:
    rough.files = {"a": b"12"}
    rough.listing = [{"path": "a", "bytes": 3, "sha256": hashlib.sha256(b"123").hexdigest()}]
    with pytest.raises(ServerFault, match="has changed on the server"):
        download(client, tmp_path)
    rough.ranges = False
    with pytest.raises(Unreachable, match="ended early"):
        download(client, tmp_path)


def test_files_that_differ_are_not_overwritten(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    (tmp_path / "METADATA.csv").write_text("mine")
    (tmp_path / "models" / "id-0").mkdir(parents=True)
    (tmp_path / "models" / "id-0" / "large").write_bytes(LARGE[:-1] + b"?")
    with pytest.raises(InputError, match=r"2 files here differ from the server's: METADATA.csv, models/id-0/large"):
        download(client, tmp_path)
    # Nothing was fetched before that was told.
    assert set(contents(tmp_path)) == {"METADATA.csv", "models/id-0/large"}
    assert (tmp_path / "METADATA.csv").read_text() == "mine"
    download(client, tmp_path, force=True)
    assert contents(tmp_path) == FILES


def test_no_link_is_written_through(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    (elsewhere / "id-0").mkdir(parents=True)
    (elsewhere / "kept").write_text("kept")
    out.mkdir()
    for name, target in (
        ("models", elsewhere),
        ("METADATA.csv", elsewhere / "kept"),
        ("odd #%?& name", tmp_path / "no"),
    ):
        (out / name).symlink_to(target)
        with pytest.raises(InputError, match="is a link"):
            download(client, out, force=True)
        (out / name).unlink()
    # A link in the place of what is still arriving.
    digest = hashlib.sha256(b"a,b\n").hexdigest()
    part_of(out / "METADATA.csv", digest).symlink_to(elsewhere / "kept")
    with pytest.raises(PalladionError):
        download(client, out, force=True)
    assert contents(elsewhere) == {"kept": b"kept"}


def test_what_is_in_the_way_is_told(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder is to be")
    with pytest.raises(InputError, match="in the place of a folder"):
        download(client, tmp_path, force=True)
    (tmp_path / "models").unlink()
    (tmp_path / "METADATA.csv").mkdir()
    with pytest.raises(InputError, match="in the place of a file"):
        download(client, tmp_path, force=True)


def test_two_downloads_do_not_write_the_same_files(client: Client, tmp_path: Path) -> None:
    with exclusive(tmp_path, "downloading"), pytest.raises(PalladionError, match="another process is downloading"):
        download(client, tmp_path)


def test_room_is_looked_for_first(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    rough.listing = [{"path": "a", "bytes": 1 << 59, "sha256": "0" * 64}]
    with pytest.raises(PalladionError, match="are free"):
        download(client, tmp_path)


def test_what_is_not_there_is_told(client: Client, rough: RoughServer, tmp_path: Path) -> None:
    rough.statuses = [404]
    with pytest.raises(NotFound):
        download(client, tmp_path)


def published(*paths: str) -> list[PublishedFile]:
    return [PublishedFile(path, 1, "0" * 64) for path in paths]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        "a//b",
        "a/./b",
        "a/",
        "",
        ".",
        "..",
        "a\\..\\b",
        "C:x",
        "a\x00b",
        "a\nb",
        "a\x1b[2Jb",
        "a\u202eb",
        "a\ud800",
        "a b/ ",
        "/".join("a" * 40),
        "x" * 181,
        "é" * 91,
        "a/." + "x" * 20 + ".0123456789abcdef.part",
    ],
)
def test_a_name_that_leads_elsewhere_or_hides_what_it_is_is_refused(path: str) -> None:
    with pytest.raises(ServerFault) as error:
        checked_files(published("fine", path))
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "paths", [("a", "a"), ("a", "A"), ("a/b", "A/c"), ("a", "a/b"), ("A/b", "a"), ("é", "e\u0301")]
)
def test_names_that_are_one_somewhere_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(ServerFault, match="not two files everywhere"):
        checked_files(published(*paths))


def test_usual_names_are_taken() -> None:
    names = [".hidden", "METADATA.csv", "models/id-00000000/open/model/config.json", "phases/test/track.yaml"]
    assert [file.path for file in checked_files(published(*reversed(names)))] == names


@given(st.lists(st.text(st.sampled_from("aA./\\: \x00é"), max_size=8), max_size=4))
def test_what_is_taken_lies_below_the_folder(paths: list[str]) -> None:
    try:
        files = checked_files(published(*paths))
    except ServerFault:
        return
    root = Path("/srv/out")
    places = [Path(os.path.normpath(root / file.path)) for file in files]
    assert all(place.is_relative_to(root) and place != root for place in places)
    assert len({str(place).casefold() for place in places}) == len(paths)
