"""Pickles that would run something, built instruction by instruction; none of them is ever opened here."""

import functools
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import tarfile
import time
import warnings
import zipfile
import zlib
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from palladion.cli.inspect import inspect
from palladion.models.pickles import Finding, Scan, Severity, scan_file, scan_paths, scan_pickle

SAFE, CODE, DANGEROUS, UNREADABLE = Severity.SAFE, Severity.CODE, Severity.DANGEROUS, Severity.UNREADABLE
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def verdict(content: bytes, *, torch: bool = False) -> Severity:
    findings = scan_pickle(content, torch=torch)
    return Scan(Path("x"), "pickle", findings).verdict


def named(content: bytes, severity: Severity) -> list[str]:
    return [finding.name for finding in scan_pickle(content) if finding.severity is severity]


def text(word: str) -> bytes:
    """Push a string, as protocol 4 does."""
    return b"\x8c" + bytes([len(word)]) + word.encode()


# --- what is safe -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, 2.5, True, 10**30, -1], "b": ("x", b"y", "z" * 100_000), "c": {1, 2}, "d": frozenset({3})},
        OrderedDict(a=1),
        defaultdict(list, a=[1]),
        np.arange(6.0).reshape(2, 3),
        np.float32(3),
        np.array([{"a": 1}, None], dtype=object),
        [complex(1, 2), bytearray(b"abc"), range(3), slice(1, 2)],
        [[[["deep"]]]] * 3,
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_is_safe(value: object, protocol: int) -> None:
    assert verdict(pickle.dumps(value, protocol=protocol)) is SAFE


def test_values_that_are_shared_are_followed() -> None:
    shared = ["a"]
    assert verdict(pickle.dumps([shared, shared, (shared,) * 5])) is SAFE
    shared.append(shared)  # type: ignore[arg-type]
    assert verdict(pickle.dumps(shared)) is SAFE


# --- routes to a call -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "payload",
    [
        Calls(os.system, "x"),
        Calls(eval, "x"),
        Calls(exec, "x"),
        Calls(__import__, "os"),
        Calls(subprocess.Popen, ["x"]),
        Calls(functools.partial, print),
        Calls(pickle.loads, b"x"),
        Calls(open, "/etc/passwd"),
    ],
    ids=lambda payload: payload.call[0].__name__,
)
def test_calls_that_reach_out_are_dangerous(payload: Calls, protocol: int) -> None:
    for value in (payload, [payload], {"weights": (payload,)}):
        assert verdict(pickle.dumps(value, protocol=protocol)) is DANGEROUS


SYSTEM = b"cos\nsystem\n"

ROUTES = {
    "GLOBAL": b"cos\nsystem\n(S'x'\ntR.",
    "GLOBAL that is never called": b"cos\nsystem\n.",
    "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93" + text("x") + b"\x85R.",
    "INST": b"(S'x'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'x'\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\n)}\x92.",
    "names through BINPUT and BINGET": b"\x80\x04" + text("os") + b"q\x07" + text("system") + b"q\x0900h\x07h\x09\x93.",
    "names through LONG_BINPUT": b"\x80\x04"
    + text("os")
    + b"r\0\1\0\0"
    + text("system")
    + b"r\0\2\0\0"
    + b"00j\0\1\0\0j\0\2\0\0\x93.",
    "names through MEMOIZE": b"\x80\x04" + text("os") + b"\x94" + text("system") + b"\x9400h\0h\1\x93.",
    "names through PUT and GET": b"Vos\np3\n0Vsystem\np4\n0g3\ng4\n\x93.",
    "the name twice through DUP": b"\x80\x04" + text("os") + text("os") + b"02" + b"\x93.",
    "names after a mark that is dropped": b"\x80\x04(K\x01K\x021" + text("os") + text("system") + b"\x93.",
    "names after POP of a mark": b"\x80\x04(0" + text("os") + text("system") + b"\x93.",
    "an escape in the string": b"V\\u006fs\nVsyst\\u0065m\n\x93.",
    "the function from the memo": b"cos\nsystem\nq\x000h\x00(S'x'\ntR.",
    "the name of Python 2": b"ccommands\ngetoutput\n(S'x'\ntR.",
    "builtins of Python 2": b"c__builtin__\neval\n(S'x'\ntR.",
    "a rename of Python 2": b"c__builtin__\nreduce\n.",
    "getattr of getattr": b"cbuiltins\ngetattr\n(cbuiltins\ngetattr\n(ccollections\nabc\nS'sys'\ntRS'modules'\ntR.",
    "a path through a harmless module": b"\x80\x04" + text("collections") + text("abc.sys.modules") + b"\x93.",
    "a path in GLOBAL": b"ccollections\nabc.sys.modules\n.",
    "operator.attrgetter": b"coperator\nattrgetter\n(S'system'\ntR.",
    "codecs by name": b"ccodecs\nopen\n.",
    "importlib": b"cimportlib\nimport_module\n(S'os'\ntR.",
    "runpy": b"crunpy\nrun_path\n.",
    "torch.hub": b"ctorch.hub\nload\n.",
    "torch within torch": b"ctorch.storage\n_load_from_bytes\n(C\x01xtR.",
    "ctypes": b"cctypes\nCDLL\n.",
    "pty": b"cpty\nspawn\n.",
    "socket": b"csocket\ncreate_connection\n.",
    "shutil": b"cshutil\nrmtree\n.",
    "sys": b"csys\nmodules\n.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "a name that is no string": b"\x80\x04K\x01K\x02\x93.",
    "a name that a call returns": b"\x80\x04cbuiltins\nstr\n(tR" + text("system") + b"\x93.",
    "a call of what a call returns": b"cbuiltins\ndict\n(tR(tR.",
    "a call of what asks for an object": b"Pname\n(tR.",
    "a change of an imported class": b"ccollections\nOrderedDict\n}S'get'\ncbuiltins\nlist\nsb.",
    "no name of Python's": b"ctorch nn\nx\n.",
    "in a second frame": b"\x80\x04\x95\x02\0\0\0\0\0\0\0]0\x95\x0b\0\0\0\0\0\0\0" + SYSTEM + b".",
}


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_to_a_program_is_seen(route: str) -> None:
    assert verdict(ROUTES[route]) is DANGEROUS


def test_findings_say_what_and_where() -> None:
    (finding,) = scan_pickle(b"]0cos\nsystem\n(S'x'\ntR.")
    assert finding == Finding(DANGEROUS, finding.message, "os.system", "GLOBAL", 2)
    assert scan_pickle(ROUTES["STACK_GLOBAL"])[0].position == 14


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_classes_of_libraries_are_code(protocol: int) -> None:
    content = pickle.dumps(Path("x"), protocol=protocol)
    assert verdict(content) is DANGEROUS
    content = pickle.dumps(Finding(SAFE, "x"), protocol=max(protocol, 2))
    assert verdict(content) is CODE
    assert "palladion.models.pickles.Finding" in named(content, CODE)


def test_persistent_ids_are_for_torch() -> None:
    content = b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ."
    assert verdict(content, torch=True) is SAFE
    assert verdict(content) is CODE
    assert verdict(b"Pname\n.", torch=True) is CODE


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [{"a": [1, "x"]}, np.arange(3.0)], ids=["dict", "array"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_cut_off_is_unreadable(value: object, protocol: int) -> None:
    content = pickle.dumps(value, protocol=protocol)
    for length in range(len(content)):
        assert verdict(content[:length]) is UNREADABLE


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x04X" + struct.pack("<I", 1 << 30) + b"abc.", "is cut off"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"abc.", "is cut off"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 63) + b".", "is cut off"),
        (b"T" + struct.pack("<i", -5) + b".", "negative length"),
        (b"S" + b"a" * (2 << 20) + b"\n.", "a line of more than"),
        (b"0.", "empty stack"),
        (b".", "empty stack"),
        (b"(.", "empty stack"),
        (b"(R.", "empty stack"),
        (b"K\x01t.", "lacks the mark"),
        (b"h\x05.", "has not stored"),
        (b"\xff.", "no instruction"),
        (b"c\xff\xfe\nx\n.", "cannot be followed"),
        (b"Iabc\n.", "cannot be followed"),
    ],
    ids=lambda value: value[:6].hex() if isinstance(value, bytes) else "",
)
def test_what_contradicts_itself_is_unreadable(content: bytes, words: str) -> None:
    findings = scan_pickle(content)
    assert findings[-1].severity is UNREADABLE
    assert words in findings[-1].message


def test_neither_time_nor_memory_goes_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palladion.models.pickles._MAXIMUM_OPERATIONS", 200_000)
    start = time.monotonic()
    for flood in (b"]", b"K\x01", b"(", b"\x8c\x01x\x94", b"I1\n"):
        content = b"\x80\x04" + flood * 300_000
        findings = scan_pickle(content)
        assert "instructions" in findings[-1].message
    assert time.monotonic() - start < 60


def test_a_flood_of_names_is_cut_short() -> None:
    content = b"".join(b"ca\nx%d\n0" % i for i in range(100_000)) + b"N."
    findings = scan_pickle(content)
    assert len(findings) < 1000
    assert findings[-1].severity is UNREADABLE


def test_names_reach_a_terminal_without_their_tricks() -> None:
    for finding in scan_pickle("cos\x1b[2K\nsys\u202etem\u0007\n.".encode()):
        assert finding.name.isascii()
        assert finding.name.isprintable()


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything(content: bytes) -> None:
    scan_pickle(content)


OPCODES = st.sampled_from(
    [b"]", b"}", b"(", b"t", b"0", b"1", b"2", b"R", b"\x81", b"b", b"\x93", b"\x94", b"h\0", b"q\0"]
)
PUSHES = st.sampled_from(
    [b"cos\nsystem\n", b"ccollections\nOrderedDict\n", text("os"), text("system"), b"K\1", b"N", b")"]
)


@settings(max_examples=300)
@given(st.lists(OPCODES | PUSHES, max_size=25).map(b"".join))
def test_what_python_would_import_is_always_found(content: bytes) -> None:
    """Held against the real machine, with imports that only take notes."""
    imported = []

    class Notes(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            imported.append(f"{module}.{name}")
            return dict

    content = b"\x80\x04" + content + b"."
    try:
        Notes(io.BytesIO(content)).load()
    except Exception:
        ended = False
    else:
        ended = True
    findings = scan_pickle(content)
    assert set(imported) <= {finding.name for finding in findings}
    if ended and not imported:
        assert all(finding.severity is not UNREADABLE for finding in findings)


# --- files ------------------------------------------------------------------------------------------------------------


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_state_dict_of_torch_is_safe_and_a_whole_module_is_code(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimiser = torch.optim.Adam(module.parameters())
    others = {
        "half": torch.ones(2).half(),
        "brain": torch.ones(2).bfloat16(),
        "size": torch.Size([1]),
        "type": torch.int8,
    }
    for new in (True, False):
        path = tmp_path / f"model-{new}.pt"
        for value in (module.state_dict(), optimiser.state_dict(), others, torch.nn.Parameter(torch.ones(1))):
            torch.save(value, path, _use_new_zipfile_serialization=new)
            scan = scan_file(path)
            assert (scan.verdict, scan.form) == (SAFE, "torch" if new else "torch, older format")
        torch.save(module, path, _use_new_zipfile_serialization=new)
        scan = scan_file(path)
        assert scan.verdict is CODE
        assert "torch.nn.modules.conv.Conv2d" in {f.name for f in scan.findings if f.severity is CODE}
        torch.save({"a": torch.ones(1), "b": Calls(os.system, "x")}, path, _use_new_zipfile_serialization=new)
        assert scan_file(path).verdict is DANGEROUS


def make_torch_zip(path: Path, data: bytes, **more: bytes) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", data)
            archive.writestr("model/version", "3\n")
            archive.writestr("model/data/0", b"PK\x03\x04 only looks like an archive")
            for name, content in more.items():
                archive.writestr(name, content)
    return path


def test_every_pickle_of_an_archive_is_looked_at(tmp_path: Path) -> None:
    plain, evil = pickle.dumps({}), ROUTES["GLOBAL"]
    assert scan_file(make_torch_zip(tmp_path / "a.pt", plain)).verdict is SAFE
    scan = scan_file(make_torch_zip(tmp_path / "a.pt", evil))
    assert scan.verdict is DANGEROUS
    assert scan.findings[0].member == "model/data.pkl"
    for name in ("other/data.pkl", "model/DATA.PKL2.pkl", "model/extra/x.pickle", "model/data/evil.pkl"):
        assert scan_file(make_torch_zip(tmp_path / "a.pt", plain, **{name: evil})).verdict is DANGEROUS
    assert scan_file(make_torch_zip(tmp_path / "a.pt", plain, unknown=b"\x80\x02" + evil)).verdict is DANGEROUS


def test_an_array_of_objects_does_not_hide_among_tensors(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.array([Calls(os.system, "x")], dtype=object), allow_pickle=True)
    scan = scan_file(make_torch_zip(tmp_path / "a.npz", pickle.dumps({}), **{"model/data/1": file.getvalue()}))
    assert scan.verdict is DANGEROUS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model/data.pkl", b"N.", "two members of one name"),
        ("MODEL/data.pkl", b"N.", "two members of one name"),
        ("model/inner", b"PK\x03\x04", "an archive within an archive"),
        ("model/inner.pkl", b"", "is cut off"),
    ],
)
def test_archives_that_programs_read_differently_are_unreadable(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    scan = scan_file(make_torch_zip(tmp_path / "a.pt", pickle.dumps({}), **{name: content}))
    assert scan.verdict is UNREADABLE
    assert any(words in finding.message for finding in scan.findings)


def test_damaged_archives_are_unreadable(tmp_path: Path) -> None:
    whole = make_torch_zip(tmp_path / "a.pt", pickle.dumps({"a": "x" * 500})).read_bytes()
    for length in (4, 40, 200, len(whole) - 5):
        assert scan_file(write(tmp_path / "a.pt", whole[:length])).verdict is UNREADABLE
    flipped = bytearray(whole)
    flipped[300] ^= 1
    assert scan_file(write(tmp_path / "a.pt", bytes(flipped))).verdict is UNREADABLE
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    assert scan_file(write(tmp_path / "a.pt", bytes(encrypted))).verdict is UNREADABLE


def test_an_archive_that_unpacks_without_an_end_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palladion.models.pickles._MAXIMUM_INFLATED", 1 << 20)
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"\x80\x04B" + struct.pack("<I", 50 << 20) + b"\0" * (50 << 20) + b".")
    scan = scan_file(tmp_path / "a.pt")
    assert (tmp_path / "a.pt").stat().st_size < 1 << 20
    assert scan.verdict is UNREADABLE
    assert "when unpacked" in scan.findings[0].message


def test_arrays_of_numpy(tmp_path: Path) -> None:
    structured = np.zeros(2, dtype=[("a", "<f4"), ("b", "U5"), ("c", [("d", "i2", (2,))])])
    for array in (np.arange(3.0), structured, np.array(["2020-01-01"], dtype="M8[D]"), np.array(["x"])):
        np.save(tmp_path / "a.npy", array)
        assert scan_file(tmp_path / "a.npy").verdict is SAFE
    for value, expected in (({"a": 1}, SAFE), (Calls(os.system, "x"), DANGEROUS)):
        objects = np.array([value, None], dtype=object)
        np.save(tmp_path / "a.npy", objects, allow_pickle=True)
        np.savez(tmp_path / "a.npz", plain=np.arange(3.0), objects=objects)
        assert scan_file(tmp_path / "a.npy").verdict is expected
        assert scan_file(tmp_path / "a.npz").verdict is expected
    for header in (b"{'descr': 'O', ", b"__import__('os')", b"(" * 5000):
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        assert scan_file(write(tmp_path / "a.npy", content)).verdict is UNREADABLE


def test_an_unusual_name_of_the_object_type_does_not_hide_the_pickle(tmp_path: Path) -> None:
    for name in ("|O", "object", "O8", "i4,O"):
        header = f"{{'descr': {name!r}, 'fortran_order': False, 'shape': (1,)}}".encode()
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + ROUTES["GLOBAL"]
        assert scan_file(write(tmp_path / "a.npy", content)).verdict is DANGEROUS


def test_files_of_joblib_as_far_as_it_goes(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    for compress in (0, 3, ("gzip", 3)):
        for value, expected in (({"a": 1}, SAFE), (Calls(os.system, "x"), DANGEROUS), (np.ones(3), UNREADABLE)):
            joblib.dump(value, tmp_path / "a.joblib", compress=compress)
            assert scan_file(tmp_path / "a.joblib").verdict is expected


def test_what_is_packed_is_unpacked_within_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palladion.models.pickles._MAXIMUM_UNPACKED", 1 << 20)
    for pack in (gzip.compress, zlib.compress):
        assert scan_file(write(tmp_path / "a.pkl", pack(ROUTES["GLOBAL"]))).verdict is DANGEROUS
        assert scan_file(write(tmp_path / "a.pkl", pack(b"\0" * (2 << 20)))).verdict is UNREADABLE
        assert scan_file(write(tmp_path / "a.pkl", pack(pickle.dumps({}) * 3)[:-9])).verdict is UNREADABLE


def test_pickles_one_after_another_are_all_looked_at(tmp_path: Path) -> None:
    plain = pickle.dumps({})
    assert scan_file(write(tmp_path / "a.pkl", plain * 3)).verdict is SAFE
    assert scan_file(write(tmp_path / "a.pkl", plain * 3 + ROUTES["GLOBAL"])).verdict is DANGEROUS
    assert scan_file(write(tmp_path / "a.pkl", plain + b"\xff\xff")).verdict is UNREADABLE
    assert scan_file(write(tmp_path / "a.pkl", plain * 70)).verdict is UNREADABLE


def test_a_tar_that_begins_like_a_pickle_is_not_taken_for_one(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("N."))
    assert scan_file(tmp_path / "a.pt").verdict is UNREADABLE


def test_safetensors_hold_no_code(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    content = struct.pack("<Q", len(header)) + header + b"\0" * 4
    scan = scan_file(write(tmp_path / "a.safetensors", content))
    assert (scan.verdict, scan.form) == (SAFE, "safetensors")
    assert scan_file(write(tmp_path / "a.safetensors", content[:-1])).verdict is UNREADABLE
    assert scan_file(write(tmp_path / "a.safetensors", ROUTES["GLOBAL"])).verdict is UNREADABLE
    # Under another name it is opened as something else.
    assert scan_file(write(tmp_path / "a.pt", content)).verdict is UNREADABLE


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "missing.pt", write(tmp_path / "a.png", b"\x89PNG\r\n"), tmp_path):
        assert scan_file(path).verdict is UNREADABLE


def test_folders_are_searched_by_names_and_by_contents(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "weights.txt", pickle.dumps({}))
    write(tmp_path / "model.pkl", ROUTES["GLOBAL"])
    write(tmp_path / "config.json", b"{}")
    os.mkfifo(tmp_path / "pipe")
    found = {scan.path.name: scan.verdict for scan in scan_paths([tmp_path])}
    assert found == {"model.pkl": DANGEROUS, "weights.txt": SAFE}


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(inspect)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_a_verdict_a_file(tmp_path: Path) -> None:
    safe, evil = write(tmp_path / "a.pkl", pickle.dumps({})), write(tmp_path / "[b].pkl", ROUTES["GLOBAL"])
    done = run(safe)
    assert done.exit_code == 0
    assert "safe" in done.output
    done = run(safe, evil)
    assert done.exit_code == 1
    assert "dangerous" in done.output
    assert "os.system" in done.output
    assert "[b].pkl" in "".join(done.output.split())


def test_the_command_prints_json(tmp_path: Path) -> None:
    done = run("--json", write(tmp_path / "b.pkl", ROUTES["GLOBAL"]))
    assert done.exit_code == 1
    (file,) = json.loads(done.output)["files"]
    assert file["verdict"] == "dangerous"
    assert file["findings"][0]["name"] == "os.system"


def test_a_folder_without_models_is_said_to_be_one(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.exit_code == 0
    assert "no file here" in done.output
