import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.submissions.checks import Fault
from palladion.submissions.outputs import PUBLIC_LAYOUT, check_outputs, examine_outputs, looks_like_outputs
from palladion.submissions.packing import pack_outputs
from palladion.tracks.outputs import write_generations, write_labels
from palladion.tracks.track_file import load_track
from tests.submissions.tracks import (
    Tracks,
    inputs_of,
    make_zip,
    public_contents,
    public_tracks,
    write_track,
)

Contents = dict[str, bytes]


def told(faults: list[Fault]) -> set[tuple[str, str, str, str]]:
    assert all(str(fault).isprintable() for fault in faults)
    return {(str(fault.severity), fault.code, fault.file, fault.where) for fault in faults}


def rows_of(contents: Contents, name: str) -> Any:
    return json.loads(contents[name])


def as_json(rows: object) -> bytes:
    return json.dumps(rows).encode()


@pytest.fixture
def tracks(tmp_path: Path) -> Tracks:
    return public_tracks(tmp_path / "tracks")


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    return public_contents(tmp_path / "made")


# --- what is right ----------------------------------------------------------------------------------------------------


def test_the_public_layout_is_accepted(tmp_path: Path, contents: Contents) -> None:
    # As `zip -r` packs it, with entries for folders.
    public = make_zip(tmp_path / "submission.zip", {**contents, "code/": b"", "code/generation-track/": b""})
    assert set(PUBLIC_LAYOUT) < set(contents)
    found = examine_outputs(public, code_required=True)
    assert found.faults == []
    assert {(file.file, file.rows, file.order) for file in found.files} == {
        (name, 4, "no key" if name.endswith(".csv") else "no inputs") for name in PUBLIC_LAYOUT
    }


def test_the_public_layout_is_accepted_against_its_tracks(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    found = examine_outputs(make_zip(tmp_path / "submission.zip", contents), tracks)
    assert found.faults == []
    assert {(file.file, file.task, file.order) for file in found.files} == {
        (f"{short}_task{task}.{suffix}", f"task{task} of antibad-{short}", order)
        for short, suffix, order in (("gen", "json", "compared"), ("cls", "csv", "no key"), ("mul", "csv", "no key"))
        for task in (1, 2)
    }


def test_a_folder_is_checked_as_its_zip(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    folder = tmp_path / "submission"
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / ".gitkeep").write_bytes(b"")  # as in the public kit; no command packs it
    assert check_outputs(folder, tracks) == []
    (folder / "mul_task2.csv").unlink()
    (folder / "mul_task2.csv").symlink_to("cls_task2.csv")
    (folder / "notes").symlink_to("/etc")
    assert told(check_outputs(folder, tracks)) == {
        ("error", "archive", "mul_task2.csv", ""),
        ("error", "archive", "notes", ""),
    }


def test_missing_tasks_are_warnings(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    del contents["cls_task2.csv"], contents["gen_task1.json"]
    faults = check_outputs(make_zip(tmp_path / "a.zip", contents), tracks)
    assert told(faults) == {("warning", "missing", "cls_task2.csv", ""), ("warning", "missing", "gen_task1.json", "")}
    assert "task2 of antibad-cls counts 0" in {fault.message.removeprefix("is missing; ") for fault in faults}


def test_without_inputs_the_order_cannot_be_compared(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    for path in (tmp_path / "tracks").rglob("test.json"):
        path.unlink()
    found = examine_outputs(make_zip(tmp_path / "a.zip", contents), tracks)
    assert told(found.faults) == {("warning", "no_input", f"gen_task{task}.json", "") for task in (1, 2)}
    assert {file.order for file in found.files} == {"no key", "no inputs"}


def test_degenerate_outputs_are_warnings(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    rows = rows_of(contents, "gen_task1.json")
    rows[0]["output"], rows[2]["output"] = "", " \n"
    contents["gen_task1.json"] = as_json(rows)
    contents["gen_task2.json"] = as_json([{**row, "output": "!!!!"} for row in rows_of(contents, "gen_task2.json")])
    contents["cls_task1.csv"] = b"label\n1\n1\n1\n1\n"
    faults = check_outputs(make_zip(tmp_path / "a.zip", contents), tracks)
    assert told(faults) == {
        ("warning", "degenerate", name, "") for name in ("gen_task1.json", "gen_task2.json", "cls_task1.csv")
    }
    assert any("2 empty outputs of 4 (50.0 %)" in fault.message for fault in faults)


def test_one_object_a_line_is_a_warning(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    rows = rows_of(contents, "gen_task1.json")
    contents["gen_task1.json"] = b"\n".join(as_json(row) for row in rows)
    assert told(check_outputs(make_zip(tmp_path / "a.zip", contents), tracks)) == {
        ("warning", "jsonl", "gen_task1.json", "")
    }


# --- what is broken: every fault of each, and nothing else ------------------------------------------------------------


def _around(contents: Contents) -> Contents:
    contents["cls_task1.csv"] = b"label\n0\n1\n2\n"
    del contents["mul_task1.csv"]
    return {f"submission/{name}": content for name, content in contents.items()} | {"__MACOSX/._x": b""}


def _names(contents: Contents) -> Contents:
    contents["CLS_task1.csv"] = contents.pop("cls_task1.csv")
    contents["gen-task1.json"] = contents.pop("gen_task1.json").replace(b'"output"', b'"prediction"', 1)
    contents["gen_task2.jsn"] = contents.pop("gen_task2.json")
    contents["Code/README.md"] = contents.pop("code/README.md")
    del contents["code/generation-track/predict.py"]
    return contents


def _labels(contents: Contents) -> Contents:
    contents["cls_task1.csv"] = b"label\n0\n3\n-1\n1\n"
    contents["cls_task2.csv"] = b"labels\n0\n1.0\n2\n"
    contents["mul_task1.csv"] = b"label\n0\npositive\n\n2\n1\n"
    contents["mul_task2.csv"] = b"index,label\n0,1\n1,2\n2,0\n3,1\n"
    return contents


def _texts(contents: Contents) -> Contents:
    rows = rows_of(contents, "gen_task1.json")
    rows[0], rows[1] = rows[1], rows[0]
    del rows[2]["output"]
    rows[3]["output"] = None
    contents["gen_task1.json"] = as_json(rows)
    rows = rows_of(contents, "gen_task2.json")
    rows[1] = "answer 1"
    rows[2]["output"] = 3
    contents["gen_task2.json"] = as_json(rows[:3])
    return contents


def _stale(contents: Contents) -> Contents:
    return contents | {
        "__MACOSX/._cls_task1.csv": b"\0",
        ".DS_Store": b"\0",
        "cls_task1.csv~": b"label\n",
        "cls_task1_clean.csv": b"label\n0\n",
        "old/cls_task1.csv": b"label\n0\n",
        "notes.txt": b"",
        "predict.py": b"",
        "empty/": b"",
    }


def _no_code(contents: Contents) -> Contents:
    return {name: content for name, content in contents.items() if not name.startswith("code/")} | {"README.md": b"x"}


def _no_readme(contents: Contents) -> Contents:
    contents["code/notes/README.md"] = contents.pop("code/README.md")
    contents["code/generation-track/predict.sh"] = contents.pop("code/generation-track/predict.py")
    return contents


def _empty_readme(contents: Contents) -> Contents:
    contents["cls_task1.csv"] += b"0\n"
    return contents | {"code/README.md": b""}


def _in_folders(contents: Contents) -> Contents:
    contents["gen/gen_task1.json"] = contents.pop("gen_task1.json")
    contents["cls/cls_task1.csv"] = contents.pop("cls_task1.csv") + b"9\n"
    return contents


def _nothing(contents: Contents) -> Contents:
    return {name: content for name, content in contents.items() if name.startswith("code/")}


def _no_json(contents: Contents) -> Contents:
    contents["gen_task1.json"] = contents["gen_task1.json"][:-20]
    contents["gen_task2.json"] = contents["gen_task2.json"].replace(b"answer 2", b"\xff\xfe")
    contents["cls_task1.csv"] = "label\n0\n".encode("utf-16")
    contents["mul_task1.csv"] = b""
    return contents


ERROR = "error"
BROKEN: dict[Callable[[Contents], Contents], set[tuple[str, str, str, str]]] = {
    _around: {
        (ERROR, "nested", "submission/", ""),
        (ERROR, "stale", "__MACOSX/", ""),
        (ERROR, "count", "submission/cls_task1.csv", ""),
        ("warning", "missing", "mul_task1.csv", ""),
    },
    _names: {
        (ERROR, "name", "CLS_task1.csv", ""),
        (ERROR, "name", "gen-task1.json", ""),
        (ERROR, "no_output", "gen-task1.json", "row 1"),
        (ERROR, "name", "gen_task2.jsn", ""),
        (ERROR, "stale", "Code/", ""),
        (ERROR, "code", "code/", ""),
    },
    _labels: {
        (ERROR, "range", "cls_task1.csv", "row 2"),
        (ERROR, "not_a_label", "cls_task1.csv", "row 3"),
        (ERROR, "header", "cls_task2.csv", ""),
        (ERROR, "not_a_label", "cls_task2.csv", "row 2"),
        (ERROR, "count", "cls_task2.csv", ""),
        (ERROR, "not_a_label", "mul_task1.csv", "row 2"),
        (ERROR, "not_a_label", "mul_task1.csv", "row 3"),
        (ERROR, "count", "mul_task1.csv", ""),
        (ERROR, "header", "mul_task2.csv", ""),
        *((ERROR, "not_a_label", "mul_task2.csv", f"row {row}") for row in (1, 2, 3, 4)),
    },
    _texts: {
        (ERROR, "order", "gen_task1.json", "row 1"),
        (ERROR, "order", "gen_task1.json", "row 2"),
        (ERROR, "no_output", "gen_task1.json", "row 3"),
        (ERROR, "not_a_text", "gen_task1.json", "row 4"),
        (ERROR, "record", "gen_task2.json", "row 2"),
        (ERROR, "not_a_text", "gen_task2.json", "row 3"),
        (ERROR, "count", "gen_task2.json", ""),
    },
    _stale: {
        (ERROR, "stale", name, "")
        for name in (
            "__MACOSX/",
            ".DS_Store",
            "cls_task1.csv~",
            "cls_task1_clean.csv",
            "old/",
            "notes.txt",
            "predict.py",
            "empty/",
        )
    },
    _no_code: {(ERROR, "code", "code/", ""), (ERROR, "stale", "README.md", "")},
    _no_readme: {(ERROR, "code", "code/", ""), ("warning", "code", "code/", "")},
    _empty_readme: {(ERROR, "code", "code/README.md", ""), (ERROR, "count", "cls_task1.csv", "")},
    _in_folders: {
        (ERROR, "nested", "gen/gen_task1.json", ""),
        (ERROR, "nested", "cls/cls_task1.csv", ""),
        (ERROR, "range", "cls/cls_task1.csv", "row 5"),
        (ERROR, "count", "cls/cls_task1.csv", ""),
    },
    _nothing: {(ERROR, "empty", "broken.zip", "")},
    _no_json: {
        (ERROR, "unreadable", "gen_task1.json", ""),
        (ERROR, "unreadable", "gen_task2.json", ""),
        (ERROR, "unreadable", "cls_task1.csv", ""),
        (ERROR, "header", "mul_task1.csv", ""),
        (ERROR, "count", "mul_task1.csv", ""),
    },
}


@pytest.mark.parametrize("damage", list(BROKEN), ids=lambda damage: damage.__name__)
def test_a_broken_zip_is_refused_with_every_fault(
    tmp_path: Path, contents: Contents, tracks: Tracks, damage: Callable[[Contents], Contents]
) -> None:
    faults = check_outputs(make_zip(tmp_path / "broken.zip", damage(contents)), tracks)
    assert told(faults) == BROKEN[damage], "\n".join(map(str, faults))
    # Errors first.
    severities = [str(fault.severity) for fault in faults]
    assert severities == sorted(severities)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CLS_task1.csv", "did you mean cls_task1.csv?"),
        ("cls_task_1.csv", "did you mean cls_task1.csv?"),
        ("cls-task1.csv", "did you mean cls_task1.csv?"),
        ("cls_task1.txt", "did you mean cls_task1.csv?"),
        ("cls_task1 (1).csv", "did you mean cls_task1.csv?"),
        ("cls_task1.csv.csv", "did you mean cls_task1.csv?"),
    ],
)
def test_the_nearest_name_is_suggested(
    tmp_path: Path, contents: Contents, tracks: Tracks, name: str, words: str
) -> None:
    contents[name] = contents.pop("cls_task1.csv")
    faults = check_outputs(make_zip(tmp_path / "a.zip", contents), tracks)
    assert [(fault.code, fault.file) for fault in faults] == [("name", name)]
    assert words in faults[0].message


def test_an_output_of_another_track_is_stale(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    # The starter kit's multilingual track once wrote its answers under names of the classification track.
    only_classification = [track for track in tracks if track[1].name == "antibad-cls"]
    contents = {name: content for name, content in contents.items() if not name.startswith("gen")}
    faults = check_outputs(make_zip(tmp_path / "a.zip", contents), only_classification)
    assert told(faults) == {(ERROR, "stale", "mul_task1.csv", ""), (ERROR, "stale", "mul_task2.csv", "")}
    assert all("another track" in fault.message for fault in faults)


def test_half_a_task_is_an_error(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "track", "both", "classification", {"cls_task1_clean.csv": inputs_of("c", 2)})
    text = (folder / "track.yaml").read_text()
    (folder / "track.yaml").write_text(
        text.replace(
            "  - file: cls_task1_clean.csv\n",
            "  - {file: cls_task1_poisoned.csv, inputs: test/task1/p.json, rows: 2}\n  - file: cls_task1_clean.csv\n",
        )
    )
    track = load_track(folder)
    path = make_zip(tmp_path / "a.zip", {"cls_task1_clean.csv": b"label\n0\n1\n"})
    faults = check_outputs(path, [(folder, track)])
    assert told(faults) == {(ERROR, "missing", "cls_task1_poisoned.csv", "")}
    assert "needs it beside cls_task1_clean.csv" in faults[0].message


def test_many_rows_at_fault_are_counted(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "track", "many", "classification", {"cls_task1.csv": inputs_of("c", 400)})
    path = make_zip(tmp_path / "a.zip", {"cls_task1.csv": b"label\n" + b"x\n" * 400})
    faults = check_outputs(path, [(folder, load_track(folder))])
    assert 20 <= len(faults) <= 60
    assert {fault.code for fault in faults} == {"not_a_label", "more"}


def test_the_size_is_limited_and_the_rest_is_checked_too(tmp_path: Path) -> None:
    outputs = {"cls_task1.csv": inputs_of("classification", 4)}
    folder = write_track(tmp_path / "track", "small", "classification", outputs, limits={"bytes": 100})
    tracks = [(folder, load_track(folder))]
    contents = {"cls_task1.csv": b"label\n0\n1\n2\n", "code/README.md": b"x" * 100}
    faults = check_outputs(make_zip(tmp_path / "a.zip", contents), tracks)
    assert told(faults) == {(ERROR, "size", "a.zip", ""), (ERROR, "count", "cls_task1.csv", "")}
    assert "code/README.md (100)" in next(fault.message for fault in faults if fault.code == "size")
    contents["code/README.md"] = b"x" * 200  # not even unpacked
    faults = check_outputs(make_zip(tmp_path / "b.zip", contents), tracks)
    assert told(faults) == {(ERROR, "archive", "b.zip", "")}
    assert "more than 200 bytes" in faults[0].message


# --- what is hostile --------------------------------------------------------------------------------------------------


def test_every_entry_that_may_not_be_unpacked_is_told_with_the_rest(
    tmp_path: Path, contents: Contents, tracks: Tracks
) -> None:
    contents["cls_task2.csv"] = b"label\n0\n1\n7\n0\n"
    path = make_zip(
        tmp_path / "a.zip",
        {
            **contents,
            "../cls_task1.csv": b"",
            "/etc/passwd": b"",
            "a\\b.csv": b"",
            "GEN_task1.json": b"",
            "link": b"/etc/passwd",
            "code/\x1b[31m.py": b"",
        },
        link={"external_attr": (stat.S_IFLNK | 0o777) << 16},
    )
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("cls_task1.csv", b"label\n0\n")
    faults = check_outputs(path, tracks)
    assert told(faults) == {
        (ERROR, "archive", "../cls_task1.csv", ""),
        (ERROR, "archive", "/etc/passwd", ""),
        (ERROR, "archive", "a\\b.csv", ""),
        (ERROR, "archive", "GEN_task1.json", ""),
        (ERROR, "archive", "link", ""),
        (ERROR, "archive", "code/\\x1b[31m.py", ""),
        (ERROR, "archive", "cls_task1.csv", ""),
        (ERROR, "range", "cls_task2.csv", "row 3"),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "made", "tracks"]


def _set_flag(path: Path, name: str) -> None:
    """Say of one entry, in its own header and in the table of contents, that it is encrypted."""
    data = bytearray(path.read_bytes())
    for magic, flags, start in ((b"PK\x03\x04", 6, 30), (b"PK\x01\x02", 8, 46)):
        place = -1
        while (place := data.find(magic, place + 1)) >= 0:
            if data[place + start : place + start + len(name)] == name.encode():
                data[place + flags] |= 1
    path.write_bytes(data)


def test_encrypted_and_damaged_entries_are_told_and_not_missing(
    tmp_path: Path, contents: Contents, tracks: Tracks
) -> None:
    path = make_zip(tmp_path / "a.zip", contents)
    _set_flag(path, "mul_task1.csv")
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("gen_task2.json")
    data = bytearray(path.read_bytes())
    data[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 0xFF
    path.write_bytes(data)
    assert told(check_outputs(path, tracks)) == {
        (ERROR, "archive", "mul_task1.csv", ""),
        (ERROR, "archive", "gen_task2.json", ""),
    }


@pytest.mark.parametrize("content", [b"", b"label\n0\n", b"PK\x03\x04", b"\x1f\x8b\x08", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_zip_or_an_empty_one_is_one_fault(tmp_path: Path, content: bytes, tracks: Tracks) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    faults = check_outputs(path, tracks)
    expected = {(ERROR, "archive", "a.zip", "")}
    if content.startswith(b"PK\x05"):
        expected = {(ERROR, "empty", "a.zip", ""), (ERROR, "code", "code/", "")}
    assert told(faults) == expected


def test_a_bomb_costs_no_more_than_the_limit(tmp_path: Path) -> None:
    outputs = {"cls_task1.csv": inputs_of("classification", 4)}
    folder = write_track(tmp_path / "track", "t", "classification", outputs, limits={"bytes": 1 << 20})
    path = make_zip(tmp_path / "a.zip", {"cls_task1.csv": b"0" * (64 << 20)})
    faults = check_outputs(path, [(folder, load_track(folder))])
    assert [(fault.code, fault.file) for fault in faults] == [("archive", "a.zip")]


def test_thousands_of_strangers_are_counted(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    strangers = {f"stranger{number:04d}.txt": b"" for number in range(3000)}
    faults = check_outputs(make_zip(tmp_path / "a.zip", contents | strangers), tracks)
    assert len(faults) < 200
    assert any("2900 more files" in fault.message for fault in faults)


def test_deep_and_strange_json_is_no_more_than_a_fault(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    contents["gen_task1.json"] = b"[" * 100_000
    contents["gen_task2.json"] = b'[{"instruction": NaN, "output": "a", "output": "b"}, 1e999, {}, "\\ud800"]'
    faults = check_outputs(make_zip(tmp_path / "a.zip", contents), tracks)
    assert {fault.file for fault in faults} == {"gen_task1.json", "gen_task2.json"}
    assert {fault.where for fault in faults if fault.file == "gen_task2.json"} >= {f"row {row}" for row in (1, 2, 3, 4)}
    assert all(str(fault).isprintable() for fault in faults)


def test_what_the_user_gives_wrong_is_no_fault_of_the_submission(
    tmp_path: Path, contents: Contents, tracks: Tracks
) -> None:
    with pytest.raises(InputError, match="there is no such file or folder"):
        check_outputs(tmp_path / "nothing.zip", tracks)
    path = make_zip(tmp_path / "a.zip", contents)
    with pytest.raises(InputError, match=r"two tracks name the output gen_task1\.json"):
        check_outputs(path, [*tracks, tracks[0]])
    (tmp_path / "tracks/gen/test/task1/test.json").write_text('[{"instruction": "one"}]')
    with pytest.raises(InputError, match="holds 1 rows, where the track file says 4"):
        check_outputs(path, tracks)


# --- outputs or a detector --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "outputs"),
    [
        (["cls_task1.csv"], True),
        (["submission/gen_task1.json", "__MACOSX/x"], True),
        (["out/gen_task1.json", "code/README.md", "code/predict.py"], True),
        (["cls_task1_clean.csv", "predict.py"], True),
        (["submission\\cls_task1.csv"], True),
        (["entrypoint.py", "cls_task1.csv"], False),
        (["mine/detector.py", "mine/my_task1.json"], False),
        (["trojan_detector.py", "data/my_task1.json"], False),
        (["mine/trojan_detector.py", "mine/my_task1.json"], False),
        (["detector.py"], False),
        (["a/b/cls_task1.csv"], False),
        (["results.csv"], False),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_outputs_are_told_from_detectors(tmp_path: Path, names: list[str], outputs: bool, packed: bool) -> None:
    if packed:
        path = make_zip(tmp_path / "a.zip", dict.fromkeys(names, b"x"))
    else:
        path = tmp_path / "a"
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(b"x")
    assert looks_like_outputs(path) is outputs


def test_what_cannot_be_read_is_left_to_who_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK")
    assert not looks_like_outputs(tmp_path / "a.zip")
    assert not looks_like_outputs(tmp_path / "nothing")
    (tmp_path / "cls_task1.csv").write_bytes(b"")
    assert looks_like_outputs(tmp_path / "cls_task1.csv")


# --- packing ----------------------------------------------------------------------------------------------------------


def spread(folder: Path, contents: Contents) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_what_is_packed_is_what_was_given(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    source = spread(tmp_path / "source", contents)
    done = pack_outputs([source], tmp_path / "out.zip", tracks)
    assert done.check.faults == []
    assert done.left_out == []
    assert done.files == sorted(contents)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == sorted(contents)
        assert {name: archive.read(name) for name in archive.namelist()} == contents
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {stat.S_IFREG | 0o644}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert done.bytes == (tmp_path / "out.zip").stat().st_size


def test_times_modes_and_where_files_lie_change_no_byte(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    pack_outputs([spread(tmp_path / "one", contents)], tmp_path / "1.zip", tracks)
    other = spread(tmp_path / "two", dict(reversed(contents.items())))
    for number, path in enumerate(sorted(other.rglob("*"))):
        path.chmod(0o755)
        os.utime(path, (1e9 + number, 1e9 + number))
    files = [path for path in other.iterdir() if path.is_file()]
    (other / "code").rename(tmp_path / "mine")
    pack_outputs(sorted(files, reverse=True), tmp_path / "2.zip", tracks, code=tmp_path / "mine")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_nothing_of_an_older_zip_stays(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    out = make_zip(tmp_path / "source.zip", contents | {"mul_task9.csv": b"stale"})
    source = spread(tmp_path / "source", contents)
    (source / "mul_task2.csv").unlink()
    done = pack_outputs([source], out, tracks)
    assert told(done.check.faults) == {("warning", "missing", "mul_task2.csv", "")}
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == sorted(set(contents) - {"mul_task2.csv"})


def test_the_zip_may_lie_among_what_is_packed(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    source = spread(tmp_path / "source", contents)
    for out in (source / "out.zip", source / "code" / "out.zip"):
        first = pack_outputs([source], out, tracks)
        assert pack_outputs([source], out, tracks).digest == first.digest
        assert first.files == sorted(contents)
        out.unlink()


def test_what_does_not_belong_is_left_out_and_told(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    source = spread(
        tmp_path / "source",
        contents
        | {
            "notes.txt": b"",
            ".gitkeep": b"",
            "logs/a.txt": b"",
            "code/.git/config": b"secret",
            "code/.env": b"secret",
            "code/__pycache__/a.pyc": b"",
            "code/a.pyc": b"",
            "code/a.py~": b"",
        },
    )
    (source / "code/link.py").symlink_to("/etc/passwd")
    (source / "code/folder").symlink_to("/etc")
    done = pack_outputs([source], tmp_path / "out.zip", tracks)
    assert done.check.faults == []
    assert done.files == sorted(contents)
    assert {name for name, _ in done.left_out} == {
        "notes.txt",
        ".gitkeep",
        "logs/",
        "code/.git/",
        "code/.env",
        "code/__pycache__/",
        "code/a.pyc",
        "code/a.py~",
        "code/link.py",
        "code/folder/",
    }


def test_outputs_of_other_tracks_in_the_folder_are_left_out(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    source = spread(tmp_path / "source", contents)
    done = pack_outputs([source], tmp_path / "out.zip", tracks[1:2])
    assert done.check.faults == []
    assert done.files == ["cls_task1.csv", "cls_task2.csv", "code/README.md", "code/generation-track/predict.py"]
    assert {name for name, _ in done.left_out} == {
        "gen_task1.json",
        "gen_task2.json",
        "mul_task1.csv",
        "mul_task2.csv",
    }


def test_nothing_is_written_where_there_is_an_error(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    source = spread(tmp_path / "source", contents)
    (source / "cls_task1.csv").write_bytes(b"label\n0\n9\nx\n")
    (source / "cls_task2.csv").rename(source / "cls-task2.csv")
    (source / "mul_task1.csv").unlink()
    (source / "mul_task1.csv").symlink_to("mul_task2.csv")
    (source / "code/README.md").unlink()
    out = tmp_path / "out.zip"
    out.write_bytes(b"as before")
    done = pack_outputs([source], out, tracks)
    assert done.digest is None
    assert out.read_bytes() == b"as before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "out.zip", "source", "tracks"]
    assert told(done.check.faults) >= {
        (ERROR, "range", "cls_task1.csv", "row 2"),
        (ERROR, "not_a_label", "cls_task1.csv", "row 3"),
        (ERROR, "count", "cls_task1.csv", ""),
        (ERROR, "name", "cls-task2.csv", ""),
        (ERROR, "archive", "mul_task1.csv", ""),
        (ERROR, "code", "code/", ""),
    }


def test_a_file_given_by_itself_must_belong(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    source = spread(tmp_path / "source", contents | {"notes.txt": b""})
    twice = spread(tmp_path / "twice", {"cls_task1.csv": b"label\n"})
    done = pack_outputs([source, source / "notes.txt", twice / "cls_task1.csv"], tmp_path / "out.zip", tracks)
    assert told(done.check.faults) == {(ERROR, "name", "notes.txt", ""), (ERROR, "archive", "cls_task1.csv", "")}
    assert not (tmp_path / "out.zip").exists()


def test_what_is_far_too_large_is_not_packed(tmp_path: Path) -> None:
    outputs = {"cls_task1.csv": inputs_of("classification", 4)}
    folder = write_track(tmp_path / "track", "small", "classification", outputs, limits={"bytes": 100})
    source = spread(tmp_path / "source", {"cls_task1.csv": b"label\n0\n1\n2\n0\n", "code/README.md": b"x" * 300})
    done = pack_outputs([source], tmp_path / "out.zip", [(folder, load_track(folder))])
    assert [fault.code for fault in done.check.faults] == ["size"]
    assert not (tmp_path / "out.zip").exists()


def test_what_cannot_be_packed_is_an_input_error(tmp_path: Path, contents: Contents, tracks: Tracks) -> None:
    source = spread(tmp_path / "source", contents)
    (tmp_path / "folder.zip").mkdir()
    for sources, out, code, words in (
        ([source], tmp_path / "out.tar", None, "must end in .zip"),
        ([source], tmp_path / "folder.zip", None, "is a folder"),
        ([tmp_path / "none"], tmp_path / "out.zip", None, "there is no such file or folder"),
        ([source], tmp_path / "out.zip", tmp_path / "none", "there is no such folder"),
    ):
        with pytest.raises(InputError, match=words):
            pack_outputs(sources, out, tracks, code=code)


# --- properties -------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LABELS = st.lists(st.integers(0, 2), min_size=2, max_size=8)
Rows = st.SearchStrategy[dict[str, Any]]
INSTRUCTIONS: Rows = st.fixed_dictionaries({"instruction": TEXT, "input": TEXT})
MESSAGE = st.fixed_dictionaries({"role": st.just("user"), "content": TEXT})
MESSAGES: Rows = st.fixed_dictionaries({"messages": st.lists(MESSAGE, min_size=1, max_size=3)})
KINDS: st.SearchStrategy[Rows] = st.sampled_from([INSTRUCTIONS, MESSAGES])
ROWS = KINDS.flatmap(
    lambda rows: st.lists(rows, min_size=2, max_size=6, unique_by=lambda row: json.dumps(row, sort_keys=True))
)


@st.composite
def submissions(draw: st.DrawFn) -> tuple[list[int], list[dict[str, Any]], list[str], bytes]:
    labels, rows = draw(LABELS), draw(ROWS)
    return labels, rows, draw(st.lists(TEXT, min_size=len(rows), max_size=len(rows))), draw(st.binary(max_size=30))


def make(root: Path, submission: tuple[list[int], list[dict[str, Any]], list[str], bytes]) -> tuple[Tracks, Contents]:
    labels, rows, texts, code = submission
    sentences = [{"sentence": str(row)} for row in range(len(labels))]
    folders = [
        write_track(root / "cls", "cls", "classification", {"cls_task1.csv": sentences}),
        write_track(root / "gen", "gen", "generation", {"gen_task1.json": rows}, code_required=True),
    ]
    write_labels(root / "cls_task1.csv", labels)
    write_generations(root / "gen_task1.json", rows, texts)
    contents = {name: (root / name).read_bytes() for name in ("cls_task1.csv", "gen_task1.json")}
    contents |= {"code/README.md": b"how", "code/run.py": code}
    return [(folder, load_track(folder)) for folder in folders], contents


@settings(max_examples=30)
@given(submissions())
def test_what_was_packed_has_no_errors_and_the_same_bytes_each_time(
    submission: tuple[list[int], list[dict[str, Any]], list[str], bytes],
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        tracks, contents = make(root, submission)
        source = spread(root / "source", contents)
        done = [pack_outputs([source], root / name, tracks) for name in ("a.zip", "b.zip")]
        assert (root / "a.zip").read_bytes() == (root / "b.zip").read_bytes()
        assert done[0].digest == done[1].digest
        faults = check_outputs(root / "a.zip", tracks)
        # Equal or empty answers are warned of.
        assert {(fault.severity, fault.code) for fault in faults} <= {("warning", "degenerate")}


def _swapped(contents: Contents, place: int) -> Contents:
    rows = rows_of(contents, "gen_task1.json")
    first = place % (len(rows) - 1)
    rows[first], rows[first + 1] = rows[first + 1], rows[first]
    return contents | {"gen_task1.json": as_json(rows)}


def _without(contents: Contents, place: int) -> Contents:
    rows = rows_of(contents, "gen_task1.json")
    del rows[place % len(rows)]["output"]
    return contents | {"gen_task1.json": as_json(rows)}


def _dropped(contents: Contents, place: int) -> Contents:
    lines = contents["cls_task1.csv"].splitlines(keepends=True)
    del lines[place % len(lines)]
    return contents | {"cls_task1.csv": b"".join(lines)}


def _outside(contents: Contents, place: int) -> Contents:
    lines = contents["cls_task1.csv"].splitlines(keepends=True)
    lines[1 + place % (len(lines) - 1)] = b"3\n"
    return contents | {"cls_task1.csv": b"".join(lines)}


def _renamed(contents: Contents, place: int) -> Contents:
    name = sorted(contents)[place % len(contents)]
    if name == "code/run.py":
        name = "code/README.md"
    return {("x" + other if other == name else other): content for other, content in contents.items()}


def _cut(contents: Contents, place: int) -> Contents:
    whole = contents["gen_task1.json"].rstrip()
    return contents | {"gen_task1.json": whole[: place % len(whole)]}


@settings(max_examples=40)
@given(
    submissions(),
    st.sampled_from([_swapped, _without, _dropped, _outside, _renamed, _cut]),
    st.integers(0, 10_000),
)
def test_whatever_is_corrupted_is_found(
    submission: tuple[list[int], list[dict[str, Any]], list[str], bytes],
    corrupt: Callable[[Contents, int], Contents],
    place: int,
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        tracks, contents = make(root, submission)
        found = examine_outputs(make_zip(root / "a.zip", corrupt(contents, place)), tracks)
        assert found.errors > 0
        source = spread(root / "source", corrupt(contents, place))
        assert pack_outputs([source], root / "b.zip", tracks).digest is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracks, Contents, bytes]:
    root = tmp_path_factory.mktemp("whole")
    contents = public_contents(root / "made")
    return public_tracks(root / "tracks"), contents, make_zip(root / "a.zip", contents).read_bytes()


@settings(max_examples=60)
@given(place=st.integers(0, 100_000), value=st.integers(1, 255))
def test_a_changed_byte_of_a_zip_is_found_or_changes_nothing(
    whole: tuple[Tracks, Contents, bytes], place: int, value: int
) -> None:
    tracks, contents, packed = whole
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "a.zip"
        data = bytearray(packed)
        data[place % len(data)] ^= value
        path.write_bytes(data)
        found = examine_outputs(path, tracks)
        if not found.errors and not any(fault.code == "missing" for fault in found.faults):
            with zipfile.ZipFile(path) as archive:
                assert all(archive.read(name) == contents[name] for name in PUBLIC_LAYOUT)
