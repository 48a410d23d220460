"""Check the outputs that a submission to a language track consists of, before anything is uploaded.

A submission is a zip with one file for each output at its root, and perhaps ``code/``. Row order and count are all that
joins outputs to inputs, so both are checked as far as they can be. What is checked against: track files, or without
one the names of the public Anti-BAD challenge.

Every fault is told at once. An ``error`` would cost the submission its score, or part of it; a ``warning`` is what may
be meant. The faults' codes, beside those of :class:`palladion.tracks.outputs.OutputFault` for rows:

- ``archive``: it cannot be unpacked, or one of its entries may not be (a link, encrypted, there twice, …)
- ``size``: more bytes than the track allows
- ``empty``: no output at all
- ``nested``: an output is not at the root
- ``name``: nearly the name of an output
- ``stale``: what is no part of a submission
- ``missing``: an output is not there: a warning where all of its task are missing, which then counts 0
- ``code``: ``code/`` or its README
- ``more``: faults that are not listed
- ``degenerate``, ``jsonl``: warnings of empty or equal answers, and of JSONL where the public challenge has an array
"""

import difflib
import os
import re
import stat
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

from palladion.errors import InputError
from palladion.submissions.archive import EntryFault, Limits, unpack_as_it_is, zip_names
from palladion.submissions.checks import Fault, FaultSeverity, printable
from palladion.tracks.outputs import WARNINGS, OutputFault, read_generations, read_labels
from palladion.tracks.records import read_rows
from palladion.tracks.track_file import TrackFile, input_file

__all__ = [
    "CODE",
    "PUBLIC_LAYOUT",
    "CheckedFile",
    "ExpectedFile",
    "Layout",
    "OutputsCheck",
    "check_outputs",
    "examine_outputs",
    "looks_like_outputs",
]

CODE: Final = "code"
"""The folder of a submission that holds how its outputs were made."""

PUBLIC_LAYOUT: Final = {
    "gen_task1.json": "generation",
    "gen_task2.json": "generation",
    "cls_task1.csv": "classification",
    "cls_task2.csv": "classification",
    "mul_task1.csv": "classification",
    "mul_task2.csv": "classification",
}
"""The output files of the public Anti-BAD challenge, each with the kind of its track."""

_PUBLIC_BYTES = 1 << 30
_MOST_ENTRIES, _MOST_STRANGERS, _MOST_FAULTS = 10_000, 100, 1000
_README = re.compile(r"readme(\.(md|txt|rst))?", re.IGNORECASE)
_CODE_SUFFIXES = (".py", ".ipynb")
_OUTPUT_LIKE = re.compile(r"[^/]*_task[^/]*\.(csv|json)", re.IGNORECASE)
_LEFT_BEHIND = re.compile(
    r"\..*|.*~|#.*#|.*\.(bak|orig|old|swp|swo|tmp|pyc)|__MACOSX|__pycache__|Thumbs\.db|desktop\.ini"
)
# What only detectors have, beside or instead of other scripts.
_DETECTOR_FILES = frozenset({"entrypoint.py", "detector.py", "submission.yaml"})
_BESIDE = frozenset({"__MACOSX", ".DS_Store"})


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """One output file that a submission may hold.

    Attributes:
        file: its name at the root.
        kind: ``classification`` or ``generation``.
        task: of the challenge, in words.
        rows: how many it must have; None where nobody says.
        classes: how many there are; None where nobody says, and for generation.
        inputs: the file with its inputs; None where nobody says.
    """

    file: str
    kind: str
    task: str
    rows: int | None = None
    classes: int | None = None
    inputs: Path | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What a submission may hold.

    Attributes:
        files: its outputs by their names.
        bytes: most that all its files may have, unpacked.
        code_required: whether it must hold ``code/`` with a README.
    """

    files: dict[str, ExpectedFile]
    bytes: int
    code_required: bool

    @classmethod
    def of(cls, tracks: Sequence[tuple[Path, TrackFile]], *, code_required: bool | None = None) -> "Layout":
        """What submissions to all of ``tracks`` together hold; without one, the public challenge's.

        Args:
            tracks: each with the folder of its track file.
            code_required: instead of what the tracks say; without a track, code is not required.

        Raises:
            InputError: two tracks name the same output, or a link among the inputs leads out of the track's folder.
        """
        if not tracks:
            public = {name: ExpectedFile(name, kind, PurePosixPath(name).stem) for name, kind in PUBLIC_LAYOUT.items()}
            return cls(public, _PUBLIC_BYTES, bool(code_required))
        files: dict[str, ExpectedFile] = {}
        for folder, track in tracks:
            for task, output in track.outputs:
                if any(output.file.casefold() == name.casefold() for name in files):
                    raise InputError(f"two tracks name the output {output.file}; check them one at a time")
                # Labels are compared with nothing.
                wanted = track.track == "generation" and (folder / output.inputs).exists()
                inputs = input_file(folder, output) if wanted else None
                files[output.file] = ExpectedFile(
                    output.file, track.track, f"{task.name} of {track.name}", output.rows, task.classes, inputs
                )
        required = any(track.code_required for _, track in tracks) if code_required is None else code_required
        return cls(files, sum(track.limits.bytes for _, track in tracks), required)

    @property
    def limits(self) -> Limits:
        """Of an archive: :attr:`bytes` is a fault among others; only at twice as much is it the only one."""
        return Limits(entries=_MOST_ENTRIES, total_bytes=2 * self.bytes, ratio_free_bytes=min(self.bytes, 1 << 30))

    def nearest(self, name: str) -> str | None:
        """The name of an output that ``name`` most likely should be; None where it is like none."""
        folded = {known.casefold(): known for known in self.files}
        near = difflib.get_close_matches(name[:255].casefold(), folded, n=1, cutoff=0.75)
        return folded[near[0]] if near else None


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """An output file that was found and read.

    Attributes:
        file: its name in the submission.
        task: that it is for.
        rows: how many it has.
        order: what became of its order: ``compared``, ``no key`` for labels, which carry none, or ``no inputs``.
    """

    file: str
    task: str
    rows: int
    order: str


@dataclass(slots=True)
class OutputsCheck:
    """What a check found.

    Attributes:
        faults: errors first.
        files: the outputs that were read.
    """

    faults: list[Fault] = field(default_factory=list)
    files: list[CheckedFile] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """How many faults are errors."""
        return sum(fault.severity is FaultSeverity.ERROR for fault in self.faults)


def check_outputs(
    path: Path, tracks: Sequence[tuple[Path, TrackFile]] = (), *, code_required: bool | None = None
) -> list[Fault]:
    """All faults of a zip, or a folder, of outputs; errors first. See :func:`examine_outputs`."""
    return examine_outputs(path, tracks, code_required=code_required).faults


def examine_outputs(
    path: Path, tracks: Sequence[tuple[Path, TrackFile]] = (), *, code_required: bool | None = None
) -> OutputsCheck:
    """Check a zip, or a folder, of outputs; nothing of it is run.

    Args:
        path: the zip, or the folder whose content would be at the root of one.
        tracks: the track files that it answers, each with its folder. Without one, the public challenge's names count,
            and neither counts of rows nor ranges of labels are known.
        code_required: whether ``code/`` must be there, instead of what the tracks say.

    Raises:
        InputError: there is no such file, or the tracks do not fit each other or their inputs.
        PalladionError: it cannot be unpacked here.
    """
    layout = Layout.of(tracks, code_required=code_required)
    if path.is_dir():
        return _Examination(layout, path.resolve().name).run(path, [], folder=True)
    if not path.is_file():
        raise InputError("there is no such file or folder", path=path)
    with tempfile.TemporaryDirectory(prefix="palladion-outputs-") as root:
        unpacked = Path(root) / "outputs"
        examination = _Examination(layout, path.name)
        try:
            refused = unpack_as_it_is(path, unpacked, layout.limits)
        except InputError as error:
            return OutputsCheck([Fault("archive", printable(path.name, 120), "", printable(error.problem, 400))])
        return examination.run(unpacked, refused, folder=False)


def looks_like_outputs(path: Path) -> bool:
    """Whether a zip or a folder seems to hold outputs, rather than a detector.

    It does where a name such as ``cls_task1.csv`` is at its root, or in a folder there, and no detector's program with
    it.
    """
    try:
        if path.is_dir():
            names = [found.relative_to(path).as_posix() for found in path.glob("*")]
            names += [found.relative_to(path).as_posix() for found in path.glob("*/*")]
        elif path.is_file() and path.name.lower().endswith(".zip"):
            names = [name.removeprefix("./") for name in zip_names(path)]
        else:
            # Somebody may have meant to check one output by itself.
            return path.is_file() and _OUTPUT_LIKE.fullmatch(path.name) is not None
    except (InputError, OSError):
        return False
    folders: dict[str, set[str]] = defaultdict(set)
    for name in names:
        folder, _, last = name.rpartition("/")
        if "/" not in folder:
            folders[folder].add(last)
    top = {name.partition("/")[0] for name in names} - _BESIDE
    around = next(iter(top)) if len(top) == 1 else ""
    if (folders[""] | folders[around]) & _DETECTOR_FILES:
        return False
    if any(_OUTPUT_LIKE.fullmatch(name) for name in folders[""]):
        return True
    # A detector's own data may be named like this, in a folder beside its script or with it.
    if any(name.endswith(".py") for name in folders[""]):
        return False
    return any(
        any(_OUTPUT_LIKE.fullmatch(name) for name in inside) and not any(name.endswith(".py") for name in inside)
        for inside in folders.values()
    )


class _Examination:
    """One submission, looked at from its root."""

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout, self._name = layout, printable(name, 120)
        self._faults: list[Fault] = []
        self._checked: list[CheckedFile] = []
        self._files: dict[str, Path] = {}
        self._folders: set[str] = set()
        # Names of outputs of which something was said: not missing, whatever else.
        self._met: set[str] = set()

    def run(self, root: Path, refused: Sequence[EntryFault], *, folder: bool) -> OutputsCheck:
        for entry in refused:
            self._add("archive", entry.name, entry.message)
            self._met.add(PurePosixPath(entry.name).name)
        self._list(root, hidden=not folder)
        self._check_size()
        base = self._base()
        self._check_files(base)
        self._check_code(base)
        self._check_missing()
        faults = [
            replace(
                fault,
                file=printable(fault.file, 120),
                where=printable(fault.where, 120),
                message=printable(fault.message, 400),
            )
            for fault in self._faults
        ]
        faults.sort(key=lambda fault: fault.severity is FaultSeverity.WARNING)
        if len(faults) > _MOST_FAULTS:
            more = Fault("more", self._name, "", f"and {len(faults) - _MOST_FAULTS} more faults", faults[0].severity)
            faults[_MOST_FAULTS:] = [more]
        return OutputsCheck(faults, self._checked)

    def _add(self, code: str, file: str, message: str, where: str = "", *, warning: bool = False) -> None:
        severity = FaultSeverity.WARNING if warning else FaultSeverity.ERROR
        self._faults.append(Fault(code, file, where, message, severity))

    # --- what is there ------------------------------------------------------------------------------------------------

    def _list(self, root: Path, *, hidden: bool) -> None:
        for directory, folders, names in os.walk(root, followlinks=False):
            at = Path(directory)
            names += [name for name in folders if (at / name).is_symlink()]
            folders[:] = sorted(set(folders) - set(names))
            if not hidden and at == root:  # nobody packs these from a folder
                names = [name for name in names if not name.startswith(".")]
                folders[:] = [name for name in folders if not name.startswith(".")]
            self._folders |= {(at / name).relative_to(root).as_posix() for name in folders}
            for name in sorted(names):
                path = at / name
                relative = path.relative_to(root).as_posix()
                if stat.S_ISREG(path.lstat().st_mode):
                    self._files[relative] = path
                else:
                    what = "a link" if path.is_symlink() else "no plain file"
                    self._add("archive", relative, f"is {what}; put the file itself there")
                    self._met.add(name)
            if len(self._files) + len(self._folders) > _MOST_ENTRIES:
                raise InputError(f"holds more than {_MOST_ENTRIES} files and folders", path=root)

    def _check_size(self) -> None:
        sizes = {name: path.stat().st_size for name, path in self._files.items()}
        whole = sum(sizes.values())
        if whole <= self._layout.bytes:
            return
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        shown = ", ".join(f"{name} ({sizes[name]:,})" for name in largest)
        self._add(
            "size",
            self._name,
            f"holds {whole:,} bytes when unpacked; {self._layout.bytes:,} are the most. The largest: {shown}",
        )

    def _base(self) -> str:
        """The folder around everything, with a slash at its end, where there is one; its fault is told."""
        if any(name in self._layout.files for name in self._files if "/" not in name):
            return ""
        holding = {
            name.partition("/")[0]
            for name in self._files
            if name.count("/") == 1 and (self._known(name) or _OUTPUT_LIKE.fullmatch(PurePosixPath(name).name))
        } - {CODE, *_BESIDE}
        if len(holding) != 1:
            return ""
        base = f"{next(iter(holding))}/"
        message = "lies around the outputs; they are looked for at the root: pack the files, not the folder around them"
        self._add("nested", base, message)
        return base

    def _known(self, name: str) -> ExpectedFile | None:
        return self._layout.files.get(PurePosixPath(name).name)

    # --- files --------------------------------------------------------------------------------------------------------

    def _check_files(self, base: str) -> None:
        code = {f"{CODE}/", f"{base}{CODE}/"}
        inner = [name for name in self._files if not any(name.startswith(prefix) for prefix in code)]
        root = {name.removeprefix(base) for name in inner if name.startswith(base) and "/" not in name[len(base) :]}
        for name in sorted(root & set(self._layout.files)):
            self._met.add(name)
            self._check_output(self._layout.files[name], base + name)
        strangers = [base + name for name in sorted(root - set(self._layout.files))]
        # Folders at the root, and in the one around everything; also those that hold nothing.
        outer = [folder for folder in self._folders if folder.count("/") == 0 and f"{folder}/" != base]
        inside = [folder for folder in self._folders if base and folder.startswith(base) and folder.count("/") == 1]
        strange = {f"{folder}/": 0 for folder in outer + inside if f"{folder}/" not in code}
        explained = set()
        for name in sorted(set(inner) - {base + name for name in root}):
            start = base if name.startswith(base) else ""
            folder = f"{start}{name[len(start) :].partition('/')[0]}/"
            expected = self._known(name)
            if "/" not in name:
                strangers.append(name)
            elif expected is not None and expected.file not in self._met:
                self._met.add(expected.file)
                explained.add(folder)
                self._add("nested", name, "lies in a folder; outputs are looked for at the root")
                self._check_output(expected, name)
            else:
                strange[folder] += 1
        for name in strangers[:_MOST_STRANGERS]:
            self._check_stranger(name)
        if len(strangers) > _MOST_STRANGERS:
            more = len(strangers) - _MOST_STRANGERS
            self._add("stale", self._name, f"holds {more} more files that are no part of a submission; leave them out")
        for folder, count in sorted(strange.items())[:_MOST_STRANGERS]:
            if count or folder not in explained:
                self._check_strange_folder(base, folder, count)

    def _check_stranger(self, file: str) -> None:
        name = PurePosixPath(file).name
        near = self._layout.nearest(name)
        if _LEFT_BEHIND.fullmatch(name):
            self._add("stale", file, "is what an editor, Python or the system left behind; leave it out")
        elif near is not None and near not in self._met and name not in PUBLIC_LAYOUT:
            self._met.add(near)
            self._add("name", file, f"is no output's name; did you mean {near}?")
            expected = self._layout.files[near]
            if PurePosixPath(name).suffix.lower() == PurePosixPath(near).suffix:
                self._check_output(expected, file)
        elif name in PUBLIC_LAYOUT or _OUTPUT_LIKE.fullmatch(name):
            known = ", ".join(sorted(self._layout.files))
            message = f"is an output of another track, task or phase; the outputs here are {known}"
            self._add("stale", file, message)
        elif _README.fullmatch(name) or name == "requirements.txt" or name.endswith(_CODE_SUFFIXES):
            self._add("stale", file, f"is no output; put it into {CODE}/")
        else:
            hint = f" (the nearest is {near})" if near is not None else ""
            self._add("stale", file, f"is no output{hint}; leave it out")

    def _check_strange_folder(self, base: str, folder: str, count: int) -> None:
        name = folder.removeprefix(base).rstrip("/")
        holds = "" if count == 0 else f" with {count} file{'s' if count > 1 else ''}"
        if _LEFT_BEHIND.fullmatch(name):
            self._add("stale", folder, f"is what an editor, Python or the system left behind{holds}; leave it out")
        elif difflib.get_close_matches(name.casefold(), [CODE], n=1, cutoff=0.6):
            self._add("stale", folder, f"is no part of a submission{holds}; did you mean {CODE}/?")
        else:
            self._add("stale", folder, f"is no part of a submission{holds}; leave it out, or put it into {CODE}/")

    def _check_output(self, expected: ExpectedFile, file: str) -> None:
        path = self._files[file]
        values: Sequence[int | str | None]
        if expected.kind == "classification":
            order = "no key"
            values, faults = read_labels(path, rows=expected.rows, classes=expected.classes)
            self._take(file, faults)
            self._check_labels(file, values)
        else:
            inputs = None if expected.inputs is None else [row.values for row in read_rows(expected.inputs)]
            if inputs is not None and len(inputs) != expected.rows:
                raise InputError(
                    f"holds {len(inputs)} rows, where the track file says {expected.rows}", path=expected.inputs
                )
            order = "no inputs" if inputs is None else "compared"
            values, faults = read_generations(path, rows=expected.rows, inputs=inputs)
            self._take(file, faults)
            if inputs is None and expected.rows is not None:
                message = "its inputs are not beside the track file; the order of its rows is not compared"
                self._add("no_input", file, message, warning=True)
            if not faults and not _begins_array(path):
                message = "has one object a line; the public challenge asks for one JSON array"
                self._add("jsonl", file, message, warning=True)
            self._check_texts(file, values)
        self._checked.append(CheckedFile(printable(file, 120), expected.task, len(values), order))

    def _take(self, file: str, faults: Sequence[OutputFault]) -> None:
        for fault in faults:
            where = "" if fault.row is None else f"row {fault.row}"
            self._add(fault.code, file, fault.message, where, warning=fault.code in WARNINGS)

    def _check_labels(self, file: str, values: Sequence[int | str | None]) -> None:
        known = [value for value in values if value is not None]
        if len(known) > 1 and len(set(known)) == 1:
            self._add("degenerate", file, f"has the label {known[0]} in every row", warning=True)

    def _check_texts(self, file: str, values: Sequence[int | str | None]) -> None:
        known = [value for value in values if isinstance(value, str)]
        empty = sum(not value.strip() for value in known)
        if empty:
            share = 100 * empty / len(known)
            self._add(
                "degenerate",
                file,
                f"has {empty} empty outputs of {len(known)} ({share:.1f} %); they count as answers",
                warning=True,
            )
        if len(known) > 1 and not empty and len(set(known)) == 1:
            self._add("degenerate", file, "has the same output in every row", warning=True)

    # --- code and what is not there -----------------------------------------------------------------------------------

    def _check_code(self, base: str) -> None:
        prefix = next((p for p in (f"{base}{CODE}", CODE) if p in self._folders), None)
        inside = [] if prefix is None else [name for name in self._files if name.startswith(f"{prefix}/")]
        required = self._layout.code_required
        file = f"{CODE}/" if prefix is None else f"{prefix}/"
        if not inside:
            if required:
                what = "is missing" if prefix is None else "holds nothing"
                self._add("code", file, f"{what}; the phase asks for the code that made the outputs, and a README")
            return
        readmes = [name for name in inside if _README.fullmatch(name[len(file) :])]
        if not readmes:
            message = "has no README.md at its top, which says how to make the outputs anew"
            self._add("code", file, message, warning=not required)
        elif not any(self._files[name].stat().st_size for name in readmes):
            self._add("code", readmes[0], "is empty; say how to make the outputs anew", warning=not required)
        if required and not any(name.endswith(_CODE_SUFFIXES) for name in inside):
            self._add("code", file, "holds neither a .py nor an .ipynb file", warning=True)

    def _check_missing(self) -> None:
        files = self._layout.files
        if not self._met & set(files):
            known = ", ".join(sorted(files))
            self._add("empty", self._name, f"holds no output at all; outputs are named {known}")
            return
        tasks: dict[str, list[str]] = defaultdict(list)
        for name, expected in files.items():
            tasks[expected.task].append(name)
        for task, names in tasks.items():
            there = [name for name in names if name in self._met]
            for name in names:
                if name in self._met:
                    continue
                if there:
                    self._add("missing", name, f"is missing; {task} needs it beside {', '.join(there)}")
                else:
                    self._add("missing", name, f"is missing; {task} counts 0", warning=True)


def _begins_array(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
