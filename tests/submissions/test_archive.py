import contextlib
import gzip
import io
import os
import stat
import tarfile
import tempfile
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palladion.errors import InputError, PalladionError
from palladion.submissions import Kind, opened, unpack
from palladion.submissions.archive import Limits, unpack_as_it_is, zip_names

Contents = Mapping[str, bytes]


def make_zip(path: Path, contents: Contents, **options: int) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names, which are wanted here
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                entry = zipfile.ZipInfo(name)
                entry.compress_type = zipfile.ZIP_DEFLATED
                for key, value in options.items():
                    setattr(entry, key, value)
                archive.writestr(entry, content)
    return path


def make_tar(path: Path, contents: Contents, how: str = "w:gz", **options: object) -> Path:
    with tarfile.open(path, how) as archive:  # type: ignore[call-overload]
        for name, content in contents.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.size = len(content)
            if name.endswith("/"):
                entry.type = tarfile.DIRTYPE
            for key, value in options.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
    return path


MAKERS: list[Callable[[Path, Contents], Path]] = [make_zip, make_tar]


def refused(archive: Path, words: str, limits: Limits | None = None) -> None:
    """The archive is refused, and nothing of it is left."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(InputError) as error:
        unpack(archive, archive.parent / "target", limits)
    assert words in str(error.value)
    assert str(archive) in str(error.value)
    assert str(error.value).isprintable()
    assert sorted(archive.parent.rglob("*")) == before


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("around", ["", "my-detector/"])
def test_files_are_unpacked_with_plain_modes_and_no_times(
    tmp_path: Path, make: Callable[..., Path], around: str
) -> None:
    contents = {
        f"{around}entrypoint.py": b"print()",
        f"{around}empty/": b"",
        f"{around}a/b/c.bin": b"\0" * 9,
    }
    options = {"external_attr": 0o104777 << 16} if make is make_zip else {"mode": 0o6777, "mtime": 12345}
    if make is make_zip:
        contents.pop(f"{around}empty/")
    target = tmp_path / "new" / "target"
    unpack(make(tmp_path / "archive", contents, **options), target)
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert files == {"entrypoint.py", "a/b/c.bin"}
    assert (target / "a/b/c.bin").read_bytes() == b"\0" * 9
    for path in (target, *target.rglob("*")):
        assert path.stat().st_mtime == 0
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_plain_tar_and_one_that_begins_with_a_dot_are_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "entrypoint.py").write_text("x")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(source, ".")
    unpack(tmp_path / "a.tar", tmp_path / "target")
    assert (tmp_path / "target" / "entrypoint.py").read_text() == "x"


def test_what_macos_adds_is_left_out(tmp_path: Path) -> None:
    contents = {"d/entrypoint.py": b"x", "__MACOSX/d/._entrypoint.py": b"y", "d/.DS_Store": b"z"}
    unpack(make_zip(tmp_path / "a.zip", contents), tmp_path / "target")
    assert [path.name for path in (tmp_path / "target").rglob("*")] == ["entrypoint.py"]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/passwd", "is absolute"),
        ("../outside", "leads out of the folder"),
        ("a/../../outside", "leads out of the folder"),
        ("a/..", "leads out of the folder"),
        ("C:/windows", "is absolute"),
        ("c:file", "is absolute"),
        ("a\\..\\b", "has a backslash"),
        ("a//b", "has an empty part"),
        ("a/./b", "has an empty part"),
        ("a\nb", "has a control character"),
        ("a\x1b[31m", "has a control character"),
        ("a\u202eyp.b", "has a control character"),
        ("a\u2028b", "has a control character"),
        ("/".join("x" * 40), "folders deep"),
        ("x" * 256, "more than 255 bytes"),
        ("é" * 128, "more than 255 bytes"),
        ("/".join(["x" * 200] * 6), "is longer than 1024 bytes"),
    ],
)
def test_names_that_lead_elsewhere_or_hide_something_are_refused(
    tmp_path: Path, make: Callable[..., Path], name: str, words: str
) -> None:
    refused(make(tmp_path / "archive", {"ok": b"", name: b"x"}), words)


def test_a_name_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"entrypoint.pyX.txt": b"x"})
    path.write_bytes(path.read_bytes().replace(b"entrypoint.pyX", b"entrypoint.py\0"))
    refused(path, "has a control character")


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    refused(make_tar(tmp_path / "a.tar.gz", {"a\udce9b": b"x"}), "is not UTF-8")


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["Detector.py", "detector.py"], "only by case"),
        (["A/x", "a/y"], "only by case"),
        (["straße", "STRASSE"], "only by case"),
        ([unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")], "only by case or by accents"),
        (["a", "a/b"], "both a file and a folder"),
        (["a/b", "a"], "both a file and a folder"),
    ],
)
def test_names_that_some_file_system_takes_for_one_are_refused(
    tmp_path: Path, make: Callable[..., Path], names: list[str], words: str
) -> None:
    refused(make(tmp_path / "archive", dict.fromkeys(names, b"x")), words)


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a", "first")
            archive.writestr("a", "second")
    refused(tmp_path / "a.zip", "is there twice")
    with tarfile.open(tmp_path / "a.tar", "w") as other:
        other.addfile(tarfile.TarInfo("a"))
        other.addfile(tarfile.TarInfo("./a"))
    refused(tmp_path / "a.tar", "is there twice")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is no plain file"),
        (tarfile.BLKTYPE, "is no plain file"),
        (tarfile.FIFOTYPE, "is no plain file"),
        (tarfile.GNUTYPE_SPARSE, "is no plain file"),
        (tarfile.CONTTYPE, "is no plain file"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes, words: str) -> None:
    refused(make_tar(tmp_path / "a.tar", {"a": b""}, "w", type=kind, linkname="/etc/passwd"), words)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (stat.S_IFLNK, "is a link"),
        (stat.S_IFIFO, "is no plain file"),
        (stat.S_IFCHR, "is no plain file"),
        (stat.S_IFSOCK, "is no plain file"),
        (stat.S_IFDIR, "both a file and a folder"),
    ],
)
@pytest.mark.parametrize("system", [0, 3])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int, words: str, system: int) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a": b"/etc"}, external_attr=(kind | 0o777) << 16, create_system=system)
    refused(archive, words)


def test_encrypted_and_strangely_packed_entries_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": b"x"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused(path, "is encrypted")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", "x")
    refused(tmp_path / "b.zip", "unusual method")


@pytest.mark.parametrize("make", MAKERS)
def test_too_many_entries_are_refused(tmp_path: Path, make: Callable[..., Path]) -> None:
    refused(make(tmp_path / "archive", {f"{i}": b"" for i in range(6)}), "entries", Limits(entries=5))
    unpack(make(tmp_path / "archive", {f"{i}": b"" for i in range(5)}), tmp_path / "target", Limits(entries=5))


def test_the_table_of_contents_is_not_read_before_its_size_is_known(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {f"{i:0200}": b"" for i in range(100)})
    refused(archive, "table of contents", Limits(directory_bytes=20_000))


@pytest.mark.parametrize("make", MAKERS)
def test_bytes_are_counted_while_they_are_unpacked(tmp_path: Path, make: Callable[..., Path]) -> None:
    archive = make(tmp_path / "archive", {"a": os.urandom(60_000), "b": os.urandom(60_000)})
    refused(archive, "holds more than 100,000 bytes", Limits(total_bytes=100_000))


@pytest.mark.parametrize("make", MAKERS)
def test_bombs_are_refused(tmp_path: Path, make: Callable[..., Path]) -> None:
    refused(make(tmp_path / "archive", {"a": b"\0" * (12 << 20)}), "times its size" if make is make_zip else "its size")


def test_a_small_file_may_be_packed_well(tmp_path: Path) -> None:
    unpack(make_zip(tmp_path / "a.zip", {"a": b"\0" * (9 << 20)}), tmp_path / "target")
    assert (tmp_path / "target" / "a").stat().st_size == 9 << 20


def test_a_size_that_the_archive_declares_is_not_believed(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a": b"x" * 1000})
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02") + 24
    data[place : place + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, "is damaged")


def test_a_header_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(header.tobuf() + b"\0" * 4096))
    refused(tmp_path / "a.tar.gz", "a header, of more than")


def test_a_header_that_leads_backwards_is_refused(tmp_path: Path) -> None:
    buffer = bytearray(tarfile.TarInfo("x").tobuf())
    buffer[124:136] = b"\xff" * 8 + (-1024).to_bytes(4, "big", signed=True)
    buffer[148:156] = b" " * 8
    buffer[148:156] = f"{sum(buffer):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(bytes(buffer) + b"\0" * 2048)
    refused(tmp_path / "a.tar", "is damaged")


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_cut_off_leaves_nothing(tmp_path: Path, make: Callable[..., Path]) -> None:
    whole = make(tmp_path / "archive", {"a": os.urandom(5000), "b": os.urandom(5000)}).read_bytes()
    for length in (0, 10, 300, 5000, len(whole) - 30, len(whole) - 1):
        (tmp_path / "archive").write_bytes(whole[:length])
        refused(tmp_path / "archive", "")


def test_a_tar_that_ends_between_entries_is_not_taken_for_whole(tmp_path: Path) -> None:
    data = make_tar(tmp_path / "a.tar", {"a": b"x", "b": b"y"}, "w").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:1024])
    refused(tmp_path / "a.tar", "is damaged")
    (tmp_path / "a.tar").write_bytes(data[:1024] + b"?" * 512 + data[1024:])
    refused(tmp_path / "a.tar", "is damaged")


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<html>not found</html>")
    refused(tmp_path / "a.zip", "is neither a zip nor a tar")
    (tmp_path / "empty.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    refused(tmp_path / "empty.zip", "holds nothing")
    with pytest.raises(PalladionError):
        unpack(tmp_path / "missing.zip", tmp_path / "target")


def test_a_target_that_is_there_is_left_alone(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a": b"x"})
    (tmp_path / "target").symlink_to("/nowhere")
    with pytest.raises(InputError, match="is there already"):
        unpack(archive, tmp_path / "target")


NAMES = st.text(st.sampled_from("aB./\\:é\u0301\0\n~ ") | st.characters(), min_size=1, max_size=12)


@settings(max_examples=150)
@given(st.dictionaries(NAMES, st.binary(max_size=8), min_size=1, max_size=4), st.sampled_from(["zip", "tar"]))
def test_no_name_ever_lands_outside(contents: dict[str, bytes], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            make = make_zip if kind == "zip" else make_tar
            archive = make(root / "archive", contents)
        except (UnicodeEncodeError, ValueError):
            return  # no archive can hold such a name
        with contextlib.suppress(InputError):
            unpack(archive, root / "in" / "target")
        assert {path.name for path in root.iterdir()} <= {"archive", "in"}
        inside = list((root / "in").iterdir()) if (root / "in").exists() else []
        assert {path.name for path in inside} <= {"target"}
        for path in (root / "in").rglob("*"):
            assert path.is_file() or path.is_dir()
            assert not path.is_symlink()


@settings(max_examples=150)
@given(st.data())
def test_no_damage_raises_anything_else(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make = data.draw(st.sampled_from(MAKERS))
        archive = make(Path(folder) / "archive", {"a/entrypoint.py": b"x" * 50, "a/b": b"y"})
        content = bytearray(archive.read_bytes())
        if data.draw(st.booleans()) and make is make_tar:
            content = bytearray(gzip.decompress(content))
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        archive.write_bytes(content)
        with contextlib.suppress(InputError):
            unpack(archive, Path(folder) / "target")
        assert {path.name for path in Path(folder).iterdir()} <= {"archive", "target"}


def test_an_archive_is_opened_like_a_folder(tmp_path: Path, nist_submission: Path) -> None:
    contents = {
        f"mine/{path.relative_to(nist_submission).as_posix()}": path.read_bytes()
        for path in nist_submission.rglob("*")
        if path.is_file()
    }
    archive = make_zip(tmp_path / "my-detector.zip", {**contents, "mine/learned_parameters/x": b""})
    with opened(str(archive)) as submission:
        assert (submission.name, submission.kind) == ("my-detector", Kind.ENTRYPOINT)
        assert submission.directory is not None
        folder = submission.directory
        first = submission.digest()
    assert not folder.exists()
    (nist_submission / "learned_parameters" / "x").write_bytes(b"")
    with opened(nist_submission) as submission:
        assert submission.digest() == first
    with opened("constant") as submission:
        assert submission.kind is Kind.REFERENCE


# --- as it is ---------------------------------------------------------------------------------------------------------


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_as_it_is_no_folder_and_nothing_of_macos_is_left_out(tmp_path: Path) -> None:
    contents = {"around/a.csv": b"1", "around/.DS_Store": b"2", "__MACOSX/around/._a.csv": b"3"}
    path = make_zip(tmp_path / "a.zip", contents)
    assert unpack_as_it_is(path, tmp_path / "all") == []
    assert files_in(tmp_path / "all") == contents
    assert zip_names(path) == list(contents)
    single = make_zip(tmp_path / "b.zip", {"around/a.csv": b"1"})
    assert unpack_as_it_is(single, tmp_path / "single") == []
    assert files_in(tmp_path / "single") == {"around/a.csv": b"1"}


def test_as_it_is_every_entry_at_fault_is_told_and_the_others_are_there(tmp_path: Path) -> None:
    contents = {
        "a.csv": b"1",
        "../up": b"",
        "A.csv": b"",
        "a.csv/inside": b"",
        "b\\c": b"",
        "folder/": b"x",
        "d/e": b"5",
    }
    path = make_zip(tmp_path / "a.zip", contents)
    faults = unpack_as_it_is(path, tmp_path / "all")
    assert [fault.name for fault in faults] == ["../up", "A.csv", "a.csv/inside", "b\\c", "folder/"]
    assert all(fault.message.isprintable() for fault in faults)
    assert files_in(tmp_path / "all") == {"a.csv": b"1", "d/e": b"5"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "all"]


def test_as_it_is_a_damaged_entry_leaves_nothing_of_itself(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    path = make_zip(tmp_path / "a.zip", {"a.bin": content, "b.bin": b"whole"})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("a.bin").header_offset + 40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        unpack(path, tmp_path / "refused")
    faults = unpack_as_it_is(path, tmp_path / "all")
    assert [fault.name for fault in faults] == ["a.bin"]
    assert files_in(tmp_path / "all") == {"b.bin": b"whole"}


def test_as_it_is_an_empty_zip_is_an_empty_folder(tmp_path: Path) -> None:
    assert unpack_as_it_is(make_zip(tmp_path / "a.zip", {}), tmp_path / "all") == []
    assert files_in(tmp_path / "all") == {}
    with pytest.raises(InputError, match="holds nothing"):
        unpack(tmp_path / "a.zip", tmp_path / "refused")


def test_as_it_is_only_zips_are_taken_and_limits_hold(tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "a.tar.gz", {"a": b""})
    with pytest.raises(InputError, match="is no zip archive"):
        unpack_as_it_is(tar, tmp_path / "all")
    with pytest.raises(InputError):
        zip_names(tar)
    path = make_zip(tmp_path / "a.zip", {"a": b"12", "b": b"34"})
    for limits, words in (
        (Limits(total_bytes=3), "more than 3 bytes"),
        (Limits(entries=1), "holds 2 entries"),
        (Limits(directory_bytes=10), "table of contents"),
    ):
        with pytest.raises(InputError, match=words):
            unpack_as_it_is(path, tmp_path / "all", limits)
    with pytest.raises(InputError, match="table of contents"):
        zip_names(path, Limits(directory_bytes=10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "a.zip"]
