"""Submissions that attack by their files alone: what reads them on the host is neither led astray nor kept busy."""

import gzip
import io
import json
import os
import pickle
import resource
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palladion.errors import InputError
from palladion.models.pickles import Severity, scan_file
from palladion.submissions import Submission, unpack
from palladion.submissions.checks import check_submission

_SOURCE = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--model_filepath')\n"


# --- archives ---------------------------------------------------------------------------------------------------------


def _zip(*entries: tuple[str, bytes], mode: int = 0o100644, **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", **options) as archive:
            archive.writestr("entrypoint.py", _SOURCE)
            for name, data in entries:
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                info.compress_type = options.get("compression", zipfile.ZIP_STORED)
                archive.writestr(info, data)

    return write


def _tar(change: Callable[[tarfile.TarInfo], None], data: bytes = b"") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for number in range(2):
                info = tarfile.TarInfo("entrypoint.py" if number == 0 else "x")
                if number:
                    change(info)
                content = _SOURCE.encode() if number == 0 else data
                info.size = len(content) if info.isreg() else 0
                archive.addfile(info, io.BytesIO(content))

    return write


def _set(**values: Any) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        for name, value in values.items():
            setattr(info, name, value)

    return change


def _bomb(path: Path) -> None:
    with gzip.open(path, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 64 << 20
        archive.addfile(info, io.BytesIO(bytes(64 << 20)))


def _many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"{n}"), b"")


def _overlapping(path: Path) -> None:
    """Many names for one stream of zeros, so that the whole is far more than the parts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", bytes(9 << 20))
        first = archive.filelist[0]
        for n in range(1, 1000):
            again = zipfile.ZipInfo(str(n))
            for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type", "flag_bits"):
                setattr(again, name, getattr(first, name))
            archive.filelist.append(again)


def _lying(path: Path) -> None:
    """A table of contents that says 1 byte of a file that inflates to 64 MiB."""
    _zip(("zeros", bytes(64 << 20)), compression=zipfile.ZIP_DEFLATED)(path)
    data = bytearray(path.read_bytes())
    place = data.rfind(b"PK\x01\x02")
    struct.pack_into("<I", data, place + 24, 1)
    path.write_bytes(bytes(data))


def _noise(path: Path) -> None:
    path.write_bytes(os.urandom(4096))


_ARCHIVES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "absolute": ("a.zip", _zip(("/etc/cron.d/x", b"x"))),
    "upwards": ("a.zip", _zip(("../../x", b"x"))),
    "upwards-in-the-middle": ("a.zip", _zip(("a/../../x", b"x"))),
    "backslashes": ("a.zip", _zip(("..\\..\\x", b"x"))),
    "drive": ("a.zip", _zip(("C:x", b"x"))),
    "link": ("a.zip", _zip(("x", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777)),
    "pipe": ("a.zip", _zip(("x", b""), mode=stat.S_IFIFO | 0o644)),
    "device": ("a.zip", _zip(("x", b""), mode=stat.S_IFBLK | 0o644)),
    "twice": ("a.zip", _zip(("x", b"1"), ("x", b"2"))),
    "twice-by-case": ("a.zip", _zip(("x", b"1"), ("X", b"2"))),
    "file-and-folder": ("a.zip", _zip(("x", b"1"), ("x/y", b"2"))),
    "newline": ("a.zip", _zip(("a\nb", b"1"))),
    "right-to-left": ("a.zip", _zip(("a\u202ebc", b"1"))),
    "deep": ("a.zip", _zip(("d/" * 200 + "x", b"1"))),
    "bomb": ("a.zip", _zip(("zeros", bytes(64 << 20)), compression=zipfile.ZIP_DEFLATED)),
    "overlapping": ("a.zip", _overlapping),
    "lying": ("a.zip", _lying),
    "100000-entries": ("a.zip", _many),
    "tar-absolute": ("a.tar", _tar(_set(name="/etc/x"))),
    "tar-upwards": ("a.tar", _tar(_set(name="../x"))),
    "tar-link": ("a.tar", _tar(_set(type=tarfile.SYMTYPE, linkname="/etc/passwd"))),
    "tar-hard-link": ("a.tar", _tar(_set(type=tarfile.LNKTYPE, linkname="../../etc/passwd"))),
    "tar-device": ("a.tar", _tar(_set(type=tarfile.CHRTYPE))),
    "tar-pipe": ("a.tar", _tar(_set(type=tarfile.FIFOTYPE))),
    "tar-bomb": ("a.tar.gz", _bomb),
    "no-archive": ("a.zip", _noise),
}


@pytest.mark.parametrize("name", _ARCHIVES)
def test_archive_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    suffix, write = _ARCHIVES[name]
    box = tmp_path / "box"
    box.mkdir()
    (tmp_path / "canary").write_text("as it was")
    archive = tmp_path / suffix
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # zipfile remarks on names that are there twice
        write(archive)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as refused:
        unpack(archive, box / "target")
    assert str(refused.value).replace("\n", "").isprintable()
    assert list(box.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["box", "canary", archive.name])
    assert (tmp_path / "canary").read_text() == "as it was"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # in KiB


def test_unpacked_files_have_no_rights_of_their_own(tmp_path: Path) -> None:
    _zip(("tool", b"x"), mode=0o104777 | stat.S_IFREG)(tmp_path / "a.zip")
    unpack(tmp_path / "a.zip", tmp_path / "target")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "target").iterdir()} == {0o644}


# --- folders ----------------------------------------------------------------------------------------------------------


def _folder(tmp_path: Path, **files: str) -> Path:
    folder = tmp_path / "submission"
    (folder / "learned_parameters").mkdir(parents=True)
    found = {"entrypoint.py": _SOURCE, "metaparameters.json": "{}", "metaparameters_schema.json": "{}"}
    for name, text in {**found, **{name.replace("__", "."): text for name, text in files.items()}}.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("kind", ["link", "link-to-folder", "pipe", "socket"])
def test_folder_with_special_files_is_refused(kind: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    match kind:
        case "link":
            (folder / "x").symlink_to("/etc/passwd")
        case "link-to-folder":
            (folder / "learned_parameters" / "x").symlink_to("/etc")
        case "pipe":
            os.mkfifo(folder / "x")
        case "socket":
            import socket

            with socket.socket(socket.AF_UNIX) as sock:
                os.chdir(folder)
                sock.bind("x")
    with pytest.raises(InputError):
        Submission.load(folder)


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "-" * 200_000 + "1",
        "x = " + "(" * 20_000 + ")" * 20_000,
        "x = " + "1 + " * 200_000 + "1",
        "x = a" + ".a" * 200_000,
        "x = " + "9" * 100_000,
        "# -*- coding: zip_codec -*-\nx",
        "if a: pass\n" + "elif a: pass\n" * 50_000,
        "\0",
    ],
    ids=["minus", "brackets", "sum", "attributes", "digits", "coding", "elif", "zero"],
)
def test_source_that_parsers_choke_on_is_an_error(source: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "entrypoint.py").write_text(source)
    with pytest.raises(InputError):
        Submission.load(folder)


def _load_within(folder: Path, seconds: int, memory: int) -> "subprocess.CompletedProcess[str]":
    """Load a submission in a process that is stopped where it takes too much."""
    code = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))\n"
        f"resource.setrlimit(resource.RLIMIT_DATA, ({memory}, {memory}))\n"
        "from palladion.errors import InputError\n"
        "from palladion.submissions import Submission\n"
        "try:\n    Submission.load(sys.argv[1]).imports()\n"
        "except InputError as error:\n    print('refused', error)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_manifest_that_grows_is_refused_at_once(tmp_path: Path) -> None:
    """YAML's merge keys multiply: 16 KiB of them stand for more keys than there is memory."""
    text = "x0: &x0 {" + ", ".join(f"k{n}: 1" for n in range(50)) + "}\n"
    for n in range(1, 9):
        text += f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 10)}]}}\n"
    folder = _folder(tmp_path, submission__yaml=text + "<<: *x8\n")
    done = _load_within(folder, seconds=3, memory=1 << 30)
    assert done.returncode == 0, done.stderr[-300:]
    assert "refused" in done.stdout


def test_source_that_grows_is_refused_at_once(tmp_path: Path) -> None:
    """A syntax tree takes 700 times the bytes of a source like this."""
    folder = _folder(tmp_path)
    (folder / "entrypoint.py").write_text("x = [" + "a," * 1_900_000 + "]\n")
    done = _load_within(folder, seconds=3, memory=8 << 30)
    assert done.returncode == 0, done.stderr[-300:]


def test_code_hidden_from_the_digest_is_not_shown_to_the_sandbox(tmp_path: Path) -> None:
    """What would run is what the digest is of: else two submissions could be one."""
    folder = _folder(tmp_path)
    before = Submission.load(folder).digest()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "helper.cpython-311.pyc").write_bytes(b"other code")
    from palladion.execution.staging import copy_open

    copy_open(folder, tmp_path / "copy")
    seen = (tmp_path / "copy" / "__pycache__").exists()
    assert not seen or Submission.load(folder).digest() != before


# --- schemas ----------------------------------------------------------------------------------------------------------


def _schema(**parts: Any) -> str:
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", **parts})


@pytest.mark.parametrize(
    ("schema", "parameters"),
    [
        (_schema(properties={"a": {"$ref": "http://127.0.0.1:9/schema.json"}}), '{"a": 1}'),
        (_schema(properties={"a": {"$ref": "file:///etc/passwd"}}), '{"a": 1}'),
        (_schema(properties={"a": {"$ref": "#/properties/a"}}), '{"a": 1}'),
        (_schema(properties={"a": {"type": "string", "pattern": "^(a+)+$"}}), json.dumps({"a": "a" * 40 + "!"})),
        (_schema(**{"$id": "http://127.0.0.1:9/", "$ref": "other.json"}), "{}"),
        ("[" * 100_000, "{}"),
        ('{"a": ' * 5000 + "1" + "}" * 5000, "{}"),
        (_schema(x="y" * (2 << 20)), "{}"),
        ('{"a": 1e999, "a": 2}', "{}"),
        (_schema(description="\x1b[2J\x1b]0;x\x07", technique="\u202e"), "{}"),
    ],
    ids=["remote", "file", "circular", "regex", "id", "brackets", "nested", "large", "numbers", "escapes"],
)
def test_schema_is_faulted_in_time(schema: str, parameters: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path, metaparameters_schema__json=schema, metaparameters__json=parameters)
    faults = check_submission(Submission.load(folder))
    assert any(fault.severity == "error" for fault in faults)
    assert all(str(fault).isprintable() for fault in faults)


# --- pickles ----------------------------------------------------------------------------------------------------------


class _Call:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._what = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._what


@pytest.mark.parametrize("function", [os.system, eval, exec, subprocess.call, __import__, getattr, open])
@pytest.mark.parametrize("protocol", range(6))
def test_pickle_that_runs_code_is_dangerous_and_is_not_run(
    function: Callable[..., object], protocol: int, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps([1.0, _Call(function, f"touch {canary}")], protocol))
    assert scan_file(path).verdict is Severity.DANGEROUS
    assert not canary.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04" + b"(" * 1_000_000 + b".",
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
        b"cos\nsystem\n(S'true'\ntR" + b"0" * 10,
        b"c__builtin__\neval\n.",
        os.urandom(10_000),
    ],
    ids=["marks", "length", "cut", "old", "noise"],
)
def test_pickle_that_cannot_be_followed_is_never_safe(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(data)
    assert scan_file(tmp_path / "model.pkl").verdict is not Severity.SAFE
