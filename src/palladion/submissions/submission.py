"""A detector that was submitted: its kind, its commands, its digest. Nothing of it is run or imported here.

Three kinds are known, and all are called with the arguments of NIST's harness:

- a folder with ``entrypoint.py``, as NIST's example detectors: ``python entrypoint.py [infer] --model_filepath …``
- a folder with ``detector.py``, which holds one class with :class:`palladion.detectors.Detector` as its base
- the name of a reference detector
"""

import ast
import hashlib
import importlib.util
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from palladion import __version__
from palladion.detectors.registry import reference_detectors
from palladion.errors import InputError

__all__ = [
    "ENTRYPOINT",
    "LEARNED_PARAMETERS",
    "METAPARAMETERS",
    "SCHEMA",
    "DataPointPaths",
    "Kind",
    "Submission",
    "digest_of",
]

ENTRYPOINT, DETECTOR = "entrypoint.py", "detector.py"
METAPARAMETERS, SCHEMA = "metaparameters.json", "metaparameters_schema.json"
LEARNED_PARAMETERS = "learned_parameters"

_MAXIMUM_SOURCE_BYTES = 4 << 20
_MAXIMUM_FILES = 100_000
# What editors and interpreters leave behind; no part of a submission.
_IGNORED = frozenset({"__pycache__", ".git", ".DS_Store", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


class Kind(StrEnum):
    """The kinds of submissions."""

    ENTRYPOINT = "entrypoint"
    DETECTOR = "detector"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class DataPointPaths:
    """Where a submission finds one data point, and where it leaves its answer."""

    model: Path
    examples: Path
    result: Path
    scratch: Path


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission. Made by :meth:`load`.

    Attributes:
        name: the folder's name, or the reference detector's.
        kind: what it is.
        directory: the folder, absolute; None for a reference detector.
        target: what the detectors' entry point loads; None for an ``entrypoint.py``.
        subcommands: of an ``entrypoint.py``, the words that it knows: none in NIST's older rounds.
    """

    name: str
    kind: Kind
    directory: Path | None
    target: str | None
    subcommands: frozenset[str] = frozenset()

    @classmethod
    def load(cls, submission: Path | str) -> "Submission":
        """The submission in a folder, or the reference detector of this name.

        A name with a slash in it, or that only a folder has, is a folder; ``./constant`` is one even where the name
        alone would be a reference detector.

        Raises:
            InputError: it is neither, or the folder lacks what it needs or holds what it may not.
        """
        text = str(submission)
        known = reference_detectors()
        if isinstance(submission, str) and "/" not in text and text in known:
            return cls(text, Kind.REFERENCE, None, known[text])
        directory = Path(submission)
        if not directory.exists():
            raise InputError(
                f"there is no such folder, nor a reference detector of this name ({', '.join(sorted(known))})",
                path=directory,
            )
        if not directory.is_dir():
            raise InputError("a submission is a folder that holds entrypoint.py or detector.py", path=directory)
        directory = directory.resolve()
        for _ in _files(directory):  # refuses links, sockets and the like
            pass
        present = [name for name in (ENTRYPOINT, DETECTOR) if (directory / name).is_file()]
        if not present:
            raise InputError(f"holds neither {ENTRYPOINT} nor {DETECTOR}", path=directory)
        _check_object(directory / METAPARAMETERS)
        if present[0] == DETECTOR:
            _parse(directory / DETECTOR)
            return cls(directory.name, Kind.DETECTOR, directory, str(directory / DETECTOR))
        for name in (METAPARAMETERS, SCHEMA):
            if not (directory / name).is_file():
                raise InputError(f"holds no {name}; NIST's contract asks for it beside {ENTRYPOINT}", path=directory)
        if not (directory / LEARNED_PARAMETERS).is_dir():
            raise InputError(
                f"holds no folder {LEARNED_PARAMETERS}/; NIST's contract asks for it, with a file in it if the "
                "detector learned nothing",
                path=directory,
            )
        subcommands = _subcommands(_parse(directory / ENTRYPOINT))
        return cls(directory.name, Kind.ENTRYPOINT, directory, None, subcommands)

    @property
    def learned_parameters(self) -> Path | None:
        """The folder of what it brings learned; None where there is nothing in it."""
        if self.directory is None:
            return None
        directory = self.directory / LEARNED_PARAMETERS
        return directory if directory.is_dir() and any(directory.iterdir()) else None

    def infer_command(self, paths: DataPointPaths, learned: Path | None) -> list[str]:
        """The command for one data point, arguments in the order in which NIST's harness passes them."""
        command = self._program("infer")
        command += ["--model_filepath", str(paths.model)]
        command += ["--result_filepath", str(paths.result)]
        command += ["--scratch_dirpath", str(paths.scratch)]
        command += ["--examples_dirpath", str(paths.examples)]
        command += self._parameters()
        return command + _option("--learned_parameters_dirpath", learned or self._own_learned_parameters())

    def configure_command(self, train_split: Path, scratch: Path, learned: Path, jobs: int = 1) -> list[str]:
        """The command that learns from a train split and writes into ``learned``."""
        command = self._program("configure")
        command += ["--scratch_dirpath", str(scratch)]
        command += ["--configure_models_dirpath", str(train_split)]
        command += self._parameters()
        command += ["--learned_parameters_dirpath", str(learned)]
        # NIST's arguments end here.
        return command if self.kind is Kind.ENTRYPOINT else [*command, "--jobs", str(jobs)]

    def describe_command(self, result: Path) -> list[str] | None:
        """The command that says whether it must be configured; None where the source says so."""
        if self.kind is Kind.ENTRYPOINT:
            return None
        command = [*self._program("describe"), "--result_filepath", str(result)]
        return command + _option("--metaparameters_filepath", self._file(METAPARAMETERS))

    def digest(self) -> str:
        """SHA-256 over what would run: names and contents of its files, in hexadecimal digits."""
        digest = hashlib.sha256(f"{self.kind} {__version__}\n".encode())
        if self.directory is not None:
            digest.update(digest_of(self.directory).encode())
        else:
            assert self.target is not None
            digest.update(self.target.encode())
            for path in _sources(self.target.partition(":")[0]):
                digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
        return digest.hexdigest()

    def _program(self, word: str) -> list[str]:
        if self.kind is Kind.ENTRYPOINT:
            assert self.directory is not None
            words = [word] if self.subcommands else []
            return [sys.executable, str(self.directory / ENTRYPOINT), *words]
        assert self.target is not None
        # -P: the working directory is the submission's to write, so no module may come from it.
        entrypoint = [sys.executable, "-P", "-m", "palladion.detectors.entrypoint"]
        return [*entrypoint, "--detector", self.target, word]

    def _parameters(self) -> list[str]:
        return [
            *_option("--metaparameters_filepath", self._file(METAPARAMETERS)),
            *_option("--schema_filepath", self._file(SCHEMA)),
        ]

    def _file(self, name: str) -> Path | None:
        if self.directory is None or not (self.directory / name).is_file():
            return None
        return self.directory / name

    def _own_learned_parameters(self) -> Path | None:
        """NIST's harness passes the folder even where it is empty."""
        if self.kind is Kind.ENTRYPOINT and self.directory is not None:
            return self.directory / LEARNED_PARAMETERS
        return self.learned_parameters


def digest_of(directory: Path) -> str:
    """SHA-256 over the relative names and the contents of all files in a folder.

    Raises:
        InputError: the folder holds a link or a special file, or cannot be read.
    """
    digest = hashlib.sha256()
    for path in _files(directory):
        name = path.relative_to(directory).as_posix()
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", path=path) from None
        digest.update(f"{content} {name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files(directory: Path) -> Iterator[Path]:
    """Every regular file below ``directory``, in the order of the names."""
    count = 0
    for root, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in _IGNORED)
        for name in sorted([*folders, *names]):
            path = Path(root, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise InputError("is a link; a submission holds plain files and folders only", path=path)
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise InputError("is no plain file; a submission holds plain files and folders only", path=path)
            if stat.S_ISREG(mode) and name not in _IGNORED:
                count += 1
                if count > _MAXIMUM_FILES:
                    raise InputError(f"holds more than {_MAXIMUM_FILES} files", path=directory)
                yield path


def _check_object(path: Path) -> None:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON: {error}", path=path, line=getattr(error, "lineno", None)) from None
    if not isinstance(value, dict):
        raise InputError("must be a JSON object: one value a name", path=path)


def _parse(path: Path) -> ast.Module:
    if path.stat().st_size > _MAXIMUM_SOURCE_BYTES:
        raise InputError("is larger than 4 MiB; this is no source file", path=path)
    try:
        return ast.parse(path.read_bytes(), filename=path.name)
    except SyntaxError as error:
        raise InputError(f"is not Python: {error.msg}", path=path, line=error.lineno) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"is not Python: {error}", path=path) from None


def _subcommands(module: ast.Module) -> frozenset[str]:
    """The words that the source gives to argparse's ``add_parser``, where it also answers to ``infer``."""
    words = frozenset(
        node.args[0].value
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "add_parser"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    )
    return words if "infer" in words else frozenset()


def _sources(module: str) -> list[Path]:
    """Source files of the package that holds the module."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise InputError(f"the reference detector's module {module} is not installed")
    return sorted(Path(spec.origin).parent.glob("*.py"))


def _option(name: str, value: Path | None) -> list[str]:
    return [] if value is None else [name, str(value)]
