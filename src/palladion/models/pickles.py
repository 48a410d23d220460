"""What a pickled file would call if it were opened, found out without opening it.

A pickle is a program for a small stack machine. It is walked here instruction by instruction, with a stack that holds
only what decides what is imported and called: strings, imported names, and marks. Nothing is imported or called.

What cannot be followed counts against the file: a name that is put together while it runs, an instruction that is
none, an end that comes too early. ``safe`` means that nothing but tensors, arrays and plain containers is made.

Read are pickles of all protocols, both of torch's formats, NumPy's ``.npy`` and ``.npz``, files of joblib as far as
that goes, and safetensors, which hold no code at all.
"""

import ast
import gzip
import io
import os
import pickletools
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final, Protocol

from palladion.errors import InputError
from palladion.models.safetensors_header import read_header

__all__ = ["Finding", "Scan", "Severity", "Stream", "scan_file", "scan_paths", "scan_pickle"]

_MAXIMUM_OPERATIONS = 2_000_000
# Longer strings and lines name nothing; they are passed over, or refused where they must be read.
_MAXIMUM_KEPT, _MAXIMUM_KEPT_IN_ALL, _MAXIMUM_LINE = 4096, 64 << 20, 1 << 20
_MAXIMUM_FINDINGS = 500
_MAXIMUM_MEMBERS = 50_000
_MAXIMUM_DIRECTORY_BYTES = 16 << 20
_MAXIMUM_INFLATED = 1 << 30
_MAXIMUM_UNPACKED = 256 << 20
_MAXIMUM_FILES = 100_000
_MAXIMUM_PICKLES = 64
_CHUNK = 1 << 20

# The number that begins torch's older format; four pickles follow the one that holds it.
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PICKLES = 5

_SUFFIXES = frozenset(
    {".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".p", ".pickle", ".pkl", ".pt", ".pth", ".safetensors", ".th"}
)
_PICKLE = re.compile(rb"\x80[\x00-\x05]")
_ZIP, _NPY, _GZIP = b"PK\x03\x04", b"\x93NUMPY", b"\x1f\x8b"
_ZLIB = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
_OTHER_PACKED = (b"BZh", b"\xfd7zXZ", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd", b"\x5d\x00\x00\x80")


class Stream(Protocol):
    """What a pickle is read from: a buffered reader of any kind."""

    def read(self, size: int, /) -> bytes:
        """As many bytes, or fewer at the end."""

    def readline(self, size: int, /) -> bytes:
        """The bytes up to the end of a line, or as many."""

    def peek(self, size: int, /) -> bytes:
        """Some of the bytes that come next, without moving."""


class Severity(StrEnum):
    """What a finding means, the worse the later."""

    SAFE = "safe"
    CODE = "code"
    UNREADABLE = "unreadable"
    DANGEROUS = "dangerous"


_ORDER: Final = list(Severity)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a file would do, or that keeps it from being read.

    Attributes:
        severity: what it means.
        message: in words; printable.
        name: the imported name, as in ``os.system``; empty where there is none.
        opcode: the pickle's instruction; empty where there is none.
        position: of that instruction, in bytes from the start of the pickle's file or member.
        member: the part of an archive that it is in; empty for the file itself.
    """

    severity: Severity
    message: str
    name: str = ""
    opcode: str = ""
    position: int = 0
    member: str = ""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in one file.

    Attributes:
        path: the file.
        form: what kind of file it is, in words.
        findings: in the order of their places, each name once a part of the file.
    """

    path: Path
    form: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Severity:
        """The worst of the findings."""
        return max((finding.severity for finding in self.findings), key=_ORDER.index, default=Severity.SAFE)


def scan_paths(paths: Sequence[Path]) -> Iterator[Scan]:
    """Scan files, and in folders every file that could be opened as one of the known forms.

    Never raises for what a file holds; a path that is not there is an ``unreadable`` scan.
    """
    for path in paths:
        if not path.is_dir():
            yield scan_file(path)
            continue
        count = 0
        for root, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                count += 1
                if count > _MAXIMUM_FILES:
                    found = Finding(Severity.UNREADABLE, f"the folder holds more than {_MAXIMUM_FILES:,} files")
                    yield Scan(path, "folder", (found,))
                    return
                inside = Path(root, name)
                if inside.suffix.lower() in _SUFFIXES or _looks_pickled(inside):
                    yield scan_file(inside)


def scan_file(path: Path) -> Scan:
    """Find out what a file would call. Never raises for what the file holds."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return _unreadable(path, "no file", "is no plain file")
        with path.open("rb") as file:
            return _scan_open(path, file)
    except OSError as error:
        return _unreadable(path, "no file", f"cannot be read: {error.strerror or error}")
    except RecursionError:
        return _unreadable(path, "unknown", "is nested too deeply")


def scan_pickle(pickle: bytes | Stream, *, torch: bool = False) -> tuple[Finding, ...]:
    """What a pickle would call. Never raises for what it holds.

    Args:
        pickle: the pickle, or a stream that stands at its beginning. What follows its end is not looked at.
        torch: it is opened by torch, which has a use for persistent ids.
    """
    stream = io.BufferedReader(io.BytesIO(pickle)) if isinstance(pickle, bytes) else pickle
    return tuple(_walk(stream, _Budget(), torch=torch).findings)


def _scan_open(path: Path, file: io.BufferedReader) -> Scan:
    start = file.read(512)
    file.seek(0)
    if path.suffix.lower() == ".safetensors":
        try:
            read_header(path)
        except InputError as error:
            return _unreadable(path, "safetensors", error.problem)
        return Scan(path, "safetensors", ())
    if start.startswith(_ZIP):
        return _scan_zip(path, file)
    if start.startswith(_NPY):
        return Scan(path, "NumPy array", tuple(_scan_npy(file, _Budget(), "")))
    if start.startswith(_GZIP) or start[:2] in _ZLIB:
        return _scan_packed(path, file)
    if start.startswith(_OTHER_PACKED):
        return _unreadable(path, "packed", "is packed by bzip2, xz, lz4 or zstd; unpack it first")
    if _is_tar(start):
        return _unreadable(path, "tar archive", "is a tar archive, as the oldest files of torch; it is not looked into")
    return _scan_stream(path, file, "pickle")


def _scan_stream(path: Path, stream: Stream, form: str) -> Scan:
    """All pickles of a file, one after another."""
    findings: list[Finding] = []
    budget = _Budget()
    count, wanted = 0, 1
    while count < _MAXIMUM_PICKLES:
        torch = wanted == _TORCH_PICKLES
        walk = _walk(stream, budget, torch=torch, member="" if count == 0 else f"pickle {count + 1}")
        findings += walk.findings
        count += 1
        if not walk.ended:
            if count == 1 and walk.position == 0:
                return _unreadable(path, "unknown", "is neither a pickle nor a file of torch, NumPy or safetensors")
            return Scan(path, form, tuple(findings))
        if count == 1 and walk.magic:
            wanted, form = _TORCH_PICKLES, "torch, older format"
        if torch and count == wanted:
            # The tensors' bytes follow.
            return Scan(path, form, tuple(findings))
        if not stream.peek(1):
            if count < wanted:
                findings.append(Finding(Severity.UNREADABLE, "is cut off: pickles of torch's older format are missing"))
            return Scan(path, form, tuple(findings))
    findings.append(Finding(Severity.UNREADABLE, f"holds more than {_MAXIMUM_PICKLES} pickles"))
    return Scan(path, form, tuple(findings))


def _scan_packed(path: Path, file: io.BufferedReader) -> Scan:
    packed = file.read(1) == b"x"
    file.seek(0)
    try:
        if packed:
            inflator = zlib.decompressobj()
            content = bytearray()
            while (data := file.read(1 << 16)) and len(content) <= _MAXIMUM_UNPACKED and not inflator.eof:
                content += inflator.decompress(data, _MAXIMUM_UNPACKED + 1 - len(content))
            data = bytes(content)
        else:
            with gzip.GzipFile(fileobj=file) as inflated:
                data = inflated.read(_MAXIMUM_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        return _unreadable(path, "packed", f"is damaged: {_printable(str(error))}")
    if len(data) > _MAXIMUM_UNPACKED:
        return _unreadable(path, "packed", f"holds more than {_MAXIMUM_UNPACKED >> 20} MiB when unpacked")
    return _scan_stream(path, io.BufferedReader(io.BytesIO(data)), "packed pickle")


def _scan_zip(path: Path, file: io.BufferedReader) -> Scan:
    findings: list[Finding] = []
    form = "zip archive"
    try:
        # The table of contents is read at once, whatever size it says it has.
        with zipfile.ZipFile(_Capped(file, _MAXIMUM_DIRECTORY_BYTES)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > _MAXIMUM_MEMBERS:
                return _unreadable(path, form, f"holds more than {_MAXIMUM_MEMBERS:,} members")
            names = [member.filename for member in members]
            if len({name.casefold() for name in names}) < len(names):
                # Programs differ in which of two members with one name they take.
                return _unreadable(path, form, "holds two members of one name")
            torch = any(name.casefold().endswith("data.pkl") for name in names)
            form = "torch" if torch else "NumPy archive" if all(name.endswith(".npy") for name in names) else form
            budget = _Budget()
            for member in members:
                findings += _scan_member(archive, member, budget, torch=torch)
                if len(findings) > _MAXIMUM_FINDINGS:
                    findings.append(Finding(Severity.UNREADABLE, "holds more than can be told"))
                    break
    except Exception as error:  # a strange file can make zipfile raise anything
        findings.append(Finding(Severity.UNREADABLE, f"is a damaged zip archive: {_printable(str(error))}"))
    return Scan(path, form, tuple(findings))


def _scan_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: "_Budget", *, torch: bool) -> list[Finding]:
    name, shown = member.filename, _printable(member.filename)
    low = name.casefold()
    with archive.open(member) as raw:
        stream = io.BufferedReader(_Counted(raw, budget))
        start = stream.peek(512)[:512]
        if low.endswith((".pkl", ".pickle", ".p")):
            return _walk(stream, budget, torch=torch, member=shown).findings
        if start.startswith(_NPY):
            # Also among the tensors of torch: NumPy opens any archive, and unpickles whatever begins like this.
            return list(_scan_npy(stream, budget, shown))
        if torch and "/data/" in f"/{low}" and not low.endswith(".py"):
            return []  # a tensor's bytes
        if torch and "/code/" in f"/{low}" and low.endswith((".py", ".py.debug_pkl")):
            message = "TorchScript: a program in torch's own language"
            return [Finding(Severity.CODE, message, member=shown)]
        if start.startswith((_ZIP, _GZIP)) or _is_tar(start):
            return [Finding(Severity.UNREADABLE, "is an archive within an archive; unpack it first", member=shown)]
        if _PICKLE.match(start):
            return _walk(stream, budget, torch=torch, member=shown).findings
        if torch:
            return []  # version, byteorder and the like, which torch reads as text
        what = "is no NumPy array" if low.endswith(".npy") else "is none of the known forms"
        return [Finding(Severity.UNREADABLE, what, member=shown)]


def _scan_npy(stream: Stream, budget: "_Budget", member: str) -> Iterator[Finding]:
    start = stream.read(8)
    width = 2 if start[6:7] == b"\x01" else 4
    length = int.from_bytes(stream.read(width), "little")
    if len(start) < 8 or length > 1 << 16:
        yield Finding(Severity.UNREADABLE, "is cut off, or has too long a header", member=member)
        return
    try:
        header = ast.literal_eval(stream.read(length).decode("latin-1").strip())
        plain = _is_plain(header["descr"], 8)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        yield Finding(Severity.UNREADABLE, "has a header that cannot be read", member=member)
        return
    if not plain:
        # Arrays of objects are followed by a pickle.
        yield from _walk(stream, budget, member=member).findings


def _is_plain(description: object, depth: int) -> bool:
    """Whether a NumPy type holds numbers and texts only."""
    if isinstance(description, str):
        return re.fullmatch(r"[<>=|]?(?:[biufcSUVmM?]\d{0,9})(?:\[\d{0,9}\w{1,3}\])?", description) is not None
    if not isinstance(description, list) or depth == 0:
        return False
    return all(isinstance(part, tuple) and len(part) > 1 and _is_plain(part[1], depth - 1) for part in description)


def _is_tar(start: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _looks_pickled(path: Path) -> bool:
    """Whether a file begins like something that holds a pickle, whatever it is called."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return False
    return start.startswith((_ZIP, _NPY)) or _PICKLE.match(start) is not None


def _unreadable(path: Path, form: str, message: str) -> Scan:
    return Scan(path, form, (Finding(Severity.UNREADABLE, message),))


def _printable(text: str) -> str:
    """Names come from the file: no control characters reach a terminal, and no walls of text."""
    return ascii(text if len(text) <= 200 else text[:197] + "...")[1:-1]


# --- streams ----------------------------------------------------------------------------------------------------------


class _Budget:
    """What may still be done for one file."""

    def __init__(self) -> None:
        self.operations = _MAXIMUM_OPERATIONS
        self.inflated = _MAXIMUM_INFLATED
        self.kept = _MAXIMUM_KEPT_IN_ALL


class _Counted(io.RawIOBase):
    """A member of an archive, read within the budget."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        super().__init__()
        self._stream, self._budget = stream, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(len(buffer))
        self._budget.inflated -= len(data)
        if self._budget.inflated < 0:
            raise _UnreadableError(f"holds more than {_MAXIMUM_INFLATED >> 20} MiB of pickles when unpacked")
        buffer[: len(data)] = data
        return len(data)


class _Capped(io.RawIOBase):
    """A file that refuses to be read in pieces larger than a limit."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        super().__init__()
        self._file, self._most = file, most

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(min(size, self._most + 1) if size >= 0 else self._most + 1)
        if len(data) > self._most:
            raise _UnreadableError("has too long a table of contents")
        return data


# --- the stack machine ------------------------------------------------------------------------------------------------


class _UnreadableError(Exception):
    pass


class _Mark:
    """Where a list of arguments begins."""


class _Made:
    """What a call returned."""


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


_MARK, _MADE = _Mark(), _Made()
_OPCODES = {operation.code.encode("latin-1"): operation for operation in pickletools.opcodes}
_STRINGS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
)
_PUT = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GET = frozenset({"GET", "BINGET", "LONG_BINGET"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MAXIMUM_TUPLE = 8
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


def _walk(stream: Stream, budget: _Budget, *, torch: bool = False, member: str = "") -> "_Walk":
    walk = _Walk(budget, torch=torch, member=member)
    walk.run(stream)
    return walk


class _Walk:
    """One pickle, followed without doing what it says."""

    def __init__(self, budget: _Budget, *, torch: bool, member: str) -> None:
        self.findings: list[Finding] = []
        self.ended = False
        self.magic = False
        self.position = 0
        self._budget, self._torch, self._member = budget, torch, member
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._told: set[tuple[Severity, str, str]] = set()
        self._name, self._start = "", 0

    def run(self, stream: Stream) -> None:
        """Walk to the end, or as far as it can be followed."""
        try:
            while not self.ended:
                self._step(stream)
        except _UnreadableError as error:
            self._tell(Severity.UNREADABLE, str(error))
        except Exception as error:  # decoders and decompressors below raise many things
            self._tell(Severity.UNREADABLE, f"cannot be followed: {_printable(str(error))}")

    def _step(self, stream: Stream) -> None:
        self._start, self._name = self.position, ""
        code = self._read(stream, 1)
        operation = _OPCODES.get(code)
        if operation is None:
            self.position = self._start
            raise _UnreadableError(f"has a byte {code[0]:#04x} that is no instruction of a pickle")
        self._name = operation.name
        argument = self._argument(stream, operation)
        self._budget.operations -= 1
        if self._budget.operations < 0:
            raise _UnreadableError(f"has more than {_MAXIMUM_OPERATIONS:,} instructions")
        self._do(operation, argument)

    def _read(self, stream: Stream, size: int) -> bytes:
        data = stream.read(size)
        if len(data) < size:
            raise _UnreadableError("is cut off")
        self.position += size
        return data

    def _argument(self, stream: Stream, operation: Any) -> Any:
        """The instruction's argument; None for none, and for what is too long to name anything."""
        argument = operation.arg
        if argument is None:
            return None
        if argument.n >= 0:
            return argument.reader(io.BytesIO(self._read(stream, argument.n)))
        if argument.n == pickletools.UP_TO_NEWLINE:
            lines = [self._line(stream) for _ in range(2 if operation.name in ("GLOBAL", "INST") else 1)]
            if len(lines) == 2:
                return tuple(line.decode("utf-8") for line in lines)
            if len(lines[0]) > _MAXIMUM_KEPT:
                return None
            return argument.reader(io.BytesIO(lines[0] + b"\n"))
        head = self._read(stream, _LENGTHS[argument.n])
        length = int.from_bytes(head, "little", signed=argument.n == pickletools.TAKEN_FROM_ARGUMENT4)
        if length < 0:
            raise _UnreadableError("has a text of negative length")
        if length > _MAXIMUM_KEPT:
            self._skip(stream, length)
            return None
        return argument.reader(io.BytesIO(head + self._read(stream, length)))

    def _line(self, stream: Stream) -> bytes:
        line = stream.readline(_MAXIMUM_LINE + 1)
        self.position += len(line)
        if len(line) > _MAXIMUM_LINE:
            raise _UnreadableError(f"has a line of more than {_MAXIMUM_LINE:,} bytes")
        if not line.endswith(b"\n"):
            raise _UnreadableError("is cut off")
        return line[:-1]

    def _skip(self, stream: Stream, length: int) -> None:
        while length:
            length -= len(self._read(stream, min(length, _CHUNK)))

    def _do(self, operation: Any, argument: Any) -> None:
        name = operation.name
        if name in _STRINGS:
            self._budget.kept -= len(argument or "")
            # Past the budget, a text is one that is not known: whatever is imported by it then counts as dangerous.
            self._stack.append(argument if self._budget.kept > 0 else None)
        elif name == "MARK":
            self._stack.append(_MARK)
        elif name in _PUT:
            self._memo[int(argument)] = self._top()
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._top()
        elif name in _GET:
            if int(argument) not in self._memo:
                raise _UnreadableError("recalls what it has not stored")
            self._stack.append(self._memo[int(argument)])
        elif name == "DUP":
            self._stack.append(self._top())
        elif name == "POP":
            self._pop(mark=True)
        elif name == "POP_MARK":
            self._pop_to_mark()
        elif name == "STOP":
            self._pop()
            self.ended = True
        elif name == "GLOBAL":
            self._stack.append(self._import(*argument))
        elif name == "STACK_GLOBAL":
            attribute, module = self._pop(), self._pop()
            if isinstance(attribute, str) and isinstance(module, str):
                self._stack.append(self._import(module, attribute))
            else:
                self._tell(Severity.DANGEROUS, "imports a name that it puts together while it runs")
                self._stack.append(None)
        elif name in _EXTENSIONS:
            self._tell(Severity.DANGEROUS, f"calls for the extension {argument} of whoever opens it")
            self._stack.append(None)
        elif name == "INST":
            self._pop_to_mark()
            self._import(*argument)
            self._stack.append(_MADE)
        elif name == "OBJ":
            arguments = self._pop_to_mark()
            self._call(arguments[0] if arguments else None)
        elif name == "TUPLE":
            self._stack.append(self._small(self._pop_to_mark()))
        elif name in _TUPLES:
            self._stack.append(self._small([self._pop() for _ in range(_TUPLES[name])][::-1]))
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            for _ in range(2 if name == "NEWOBJ_EX" else 1):
                self._pop()
            self._call(self._pop())
        elif name == "BUILD":
            self._pop()
            if isinstance(self._top(), _Global):
                self._tell(Severity.DANGEROUS, "changes what it imported, instead of something that it made")
        elif name in ("PERSID", "BINPERSID"):
            identity = self._pop() if name == "BINPERSID" else None
            if not self._torch or name == "PERSID":
                self._tell(Severity.CODE, "asks whoever opens it for an object, which may be anything")
            # In torch's older format, classes come with their source beside them.
            module = self._torch and isinstance(identity, tuple) and len(identity) > 1 and identity[0] == "module"
            self._stack.append(identity[1] if module and isinstance(identity, tuple) else None)
        else:
            if name in ("LONG", "LONG1", "LONG4") and argument == _TORCH_MAGIC:
                self.magic = True
            self._plain(operation)

    @staticmethod
    def _small(parts: list[object]) -> tuple[object, ...] | None:
        """A tuple, where it is worth remembering: tuples of tuples would keep everything."""
        kept = len(parts) <= _MAXIMUM_TUPLE and not any(isinstance(part, tuple) for part in parts)
        return tuple(parts) if kept else None

    def _plain(self, operation: Any) -> None:
        """Any other instruction: only the height of the stack matters."""
        before = list(operation.stack_before)
        if pickletools.markobject in before:
            self._pop_to_mark()
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            self._pop()
        for made in operation.stack_after:
            self._stack.append(None if made is not pickletools.markobject else _MARK)

    def _top(self) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise _UnreadableError("takes from an empty stack")
        return self._stack[-1]

    def _pop(self, *, mark: bool = False) -> object:
        if not self._stack or (self._stack[-1] is _MARK and not mark):
            raise _UnreadableError("takes from an empty stack")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[object]:
        taken: list[object] = []
        while self._stack:
            value = self._stack.pop()
            if value is _MARK:
                return taken[::-1]
            taken.append(value)
        raise _UnreadableError("lacks the mark at which its arguments begin")

    def _call(self, function: object) -> None:
        if not isinstance(function, _Global):
            self._tell(Severity.DANGEROUS, "calls something that it made while it ran")
        self._stack.append(_MADE)

    def _import(self, module: str, attribute: str) -> _Global:
        severity, message = _judge(module, attribute)
        name = f"{module}.{attribute}"
        self._tell(severity, message, name)
        if module.split(".")[0] == "joblib" and attribute.endswith("Wrapper"):
            raise _UnreadableError("is a file of joblib: its arrays lie between the instructions, and are not followed")
        return _Global(name)

    def _tell(self, severity: Severity, message: str, name: str = "") -> None:
        key = (severity, message, name)
        if key in self._told:
            return
        self._told.add(key)
        if len(self.findings) >= _MAXIMUM_FINDINGS:
            self.ended = True
            severity, message, name = Severity.UNREADABLE, f"names more than {_MAXIMUM_FINDINGS} things", ""
        self.findings.append(Finding(severity, message, _printable(name), self._name, self._start, self._member))


# --- names ------------------------------------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BUILTINS = frozenset({"builtins", "__builtin__"})
_SAFE_BUILTINS = _words(
    "bool bytearray bytes complex dict float frozenset int list long object range set slice str tuple unicode xrange"
)
_NUMPY_TYPES = _words(
    """
    bool bool_ bytes_ complex128 complex64 datetime64 dtype float16 float32 float64 int16 int32 int64 int8 longdouble
    ndarray object_ str_ timedelta64 uint16 uint32 uint64 uint8 void
    """
)
_TORCH_TYPES = _words(
    """
    Size Tensor device dtype BFloat16Storage BoolStorage ByteStorage CharStorage ComplexDoubleStorage
    ComplexFloatStorage DoubleStorage FloatStorage HalfStorage IntStorage LongStorage ShortStorage QInt8Storage
    QInt32Storage QUInt8Storage bfloat16 bool complex128 complex64 contiguous_format channels_last float16 float32
    float64 float8_e4m3fn float8_e5m2 int16 int32 int64 int8 per_channel_affine per_tensor_affine preserve_format
    qint32 qint8 quint8 sparse_coo sparse_csr strided uint16 uint32 uint64 uint8
    """
)
_REBUILD = _words(
    """
    _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state
    _rebuild_sparse_tensor _rebuild_meta_tensor_no_storage _rebuild_qtensor _rebuild_device_tensor_from_numpy
    _rebuild_device_tensor_from_cpu_tensor _rebuild_nested_tensor
    """
)
_SAFE: dict[str, frozenset[str]] = {
    "collections": _words("Counter OrderedDict defaultdict deque"),
    "_codecs": _words("encode"),
    "copyreg": _words("_reconstructor"),
    "copy_reg": _words("_reconstructor"),
    "numpy": _NUMPY_TYPES,
    "numpy.core.multiarray": _words("_reconstruct scalar"),
    "numpy._core.multiarray": _words("_reconstruct scalar"),
    "numpy.core.numeric": _words("_frombuffer"),
    "numpy._core.numeric": _words("_frombuffer"),
    "torch": _TORCH_TYPES,
    "torch._tensor": _words("Tensor _rebuild_from_type_v2"),
    "torch._utils": _REBUILD,
    "torch.nn.parameter": _words("Buffer Parameter"),
    "torch.nn": _words("Parameter"),
    "torch.serialization": _words("_get_layout"),
    "torch.storage": _words("TypedStorage UntypedStorage"),
}
# Packages whose names run programs, open files or connections, or lead to those that do.
_DANGEROUS = _words(
    """
    __builtin__ _ctypes _io _pickle _posixsubprocess _socket _thread aiohttp asyncio bdb builtins cPickle
    cProfile cffi cloudpickle code codecs codeop commands concurrent ctypes dbm dill distutils doctest ensurepip
    fileinput ftplib functools gc getpass glob http httplib httpx idlelib imaplib imp importlib inspect io jsonpickle
    lib2to3 linecache logging mailcap marshal mmap multiprocessing netrc nt ntpath operator os pathlib pdb pickle
    pickletools pip pkg_resources pkgutil platform poplib popen2 posix posixpath profile pstats pty pydoc py_compile
    readline requests resource runpy select setuptools shelve shutil signal site smtplib socket socketserver sqlite3
    ssl subprocess sys sysconfig tarfile tempfile test threading timeit tkinter trace traceback tty types unittest
    urllib urllib2 urllib3 uuid venv webbrowser winreg xmlrpc yaml zipapp zipfile zipimport
    """
)
_DANGEROUS_BELOW = (
    "joblib.load",
    "numpy.f2py",
    "numpy.load",
    "numpy.testing",
    "numpy.distutils",
    "numpy.loads",
    "pandas.read_",
    "pandas.io",
    "pandas.eval",
    "torch._C",
    "torch._dynamo",
    "torch._inductor",
    "torch.compile",
    "torch.distributed",
    "torch.fx",
    "torch.hub",
    "torch.jit",
    "torch.load",
    "torch.multiprocessing",
    "torch.ops",
    "torch.package",
    "torch.serialization",
    "torch.storage",
    "torch.testing",
    "torch.utils",
)


def _judge(module: str, attribute: str) -> tuple[Severity, str]:
    """What importing and calling a name means."""
    if attribute in _SAFE.get(module, ()) or (module in _BUILTINS and attribute in _SAFE_BUILTINS):
        return Severity.SAFE, "plain data"
    if re.fullmatch(r"numpy\.dtypes?\.\w+DType", f"{module}.{attribute}"):
        return Severity.SAFE, "plain data"
    for known_module, known in {(module, attribute), _renamed(module, attribute)}:
        full = f"{known_module}.{known}"
        if known_module.partition(".")[0] in _DANGEROUS or full.startswith(_DANGEROUS_BELOW):
            return Severity.DANGEROUS, "runs programs or code, reaches files or the network, or leads to what does"
    if "." in attribute or not module or not attribute:
        return Severity.DANGEROUS, "reaches through one object for another, which may be anything"
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        return Severity.DANGEROUS, "is not a name of Python's"
    return Severity.CODE, "a class or function, whose code runs when the file is opened"


def _renamed(module: str, attribute: str) -> tuple[str, str]:
    """What Python 3 makes of names of Python 2, as it does when it opens an old pickle."""
    import _compat_pickle as renamed

    found: tuple[str, str] = renamed.NAME_MAPPING.get((module, attribute), (module, attribute))
    return renamed.IMPORT_MAPPING.get(found[0], found[0]), found[1]
