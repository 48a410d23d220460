"""What was submitted: its kind, its commands, its digest. Nothing of it is run or imported here.

Five kinds are known, and all are called with the arguments of NIST's harness:

- a folder with ``entrypoint.py``, as NIST's example detectors: ``python entrypoint.py [infer] --model_filepath …``
- a folder with ``detector.py``, which holds one class with :class:`palladion.detectors.Detector` as its base
- a folder with another script, as in NIST's older rounds: ``python script.py --model_filepath …``
- an Apptainer image, a ``.sif`` file
- the name of a reference detector
"""

import hashlib
import importlib.util
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from palladion import __version__
from palladion.detectors.registry import reference_detectors
from palladion.errors import InputError
from palladion.submissions.families import DEFAULT_FAMILY, Family
from palladion.submissions.manifest import Manifest, load_manifest
from palladion.submissions.sources import declared_arguments, imported_modules, parse_source, preloaded, subcommands

__all__ = [
    "ENTRYPOINT",
    "LEARNED_PARAMETERS",
    "METAPARAMETERS",
    "SCHEMA",
    "DataPointPaths",
    "Kind",
    "Place",
    "Submission",
    "digest_of",
]

ENTRYPOINT, DETECTOR, IMAGE_SUFFIX = "entrypoint.py", "detector.py", ".sif"
METAPARAMETERS, SCHEMA = "metaparameters.json", "metaparameters_schema.json"
LEARNED_PARAMETERS = "learned_parameters"

_MAXIMUM_FILES = 100_000
_MAXIMUM_SCRIPTS = 100
_SCRIPT_MUST_TAKE = frozenset({"model_filepath", "result_filepath"})
# Where NIST's images hold what a folder has beside its entry point.
_IN_IMAGE = Path("/")
# What palladion.detectors.entrypoint takes; it stops at anything else.
_OWN_ARGUMENTS = frozenset(
    {
        "model_filepath",
        "result_filepath",
        "scratch_dirpath",
        "examples_dirpath",
        "metaparameters_filepath",
        "schema_filepath",
        "learned_parameters_dirpath",
        "round_training_dataset_dirpath",
        "source_dataset_dirpath",
        "configure_models_dirpath",
        "automatic_configuration",
        "jobs",
    }
)


class Kind(StrEnum):
    """The kinds of submissions."""

    ENTRYPOINT = "entrypoint"
    DETECTOR = "detector"
    SCRIPT = "script"
    IMAGE = "image"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class DataPointPaths:
    """Where a submission finds one data point, and where it leaves its answer.

    Attributes:
        model: the model's file or directory, as the family of rounds has it.
        examples: the folder of example data.
        result: the file for the answer.
        scratch: an empty folder to write in.
        extra: what else this round has, by the argument's name without dashes. An argument that takes no value is
            passed where its name is here, whatever the path.
    """

    model: Path
    examples: Path
    result: Path
    scratch: Path
    extra: Mapping[str, Path] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a submission's program runs, as that program sees it.

    Attributes:
        python: the interpreter.
        directory: the submission's folder; None for where it lies here.
    """

    python: Path
    directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission. Made by :meth:`load`.

    Attributes:
        name: the folder's name, the image's without its suffix, or the reference detector's.
        kind: what it is.
        directory: the folder, absolute; None for an image and for a reference detector.
        target: what the detectors' entry point loads; None where another program is called.
        subcommands: the words that its program knows: none in NIST's older rounds.
        program: the file that is called, by its name in the folder; None where there is none of its own.
        arguments: the options that its program knows, without dashes; None where the source does not tell.
        manifest: what its ``submission.yaml`` says.
        image: the file of an image.
    """

    name: str
    kind: Kind
    directory: Path | None
    target: str | None
    subcommands: frozenset[str] = frozenset()
    program: str | None = None
    arguments: frozenset[str] | None = None
    manifest: Manifest = field(default_factory=Manifest)
    image: Path | None = None

    @classmethod
    def load(cls, submission: Path | str) -> "Submission":
        """The submission in a folder or an image, or the reference detector of this name.

        A name with a slash in it, or that only a folder has, is a folder; ``./constant`` is one even where the name
        alone would be a reference detector.

        Raises:
            InputError: it is none of these, or the folder lacks what it needs or holds what it may not.
        """
        text = str(submission)
        known = reference_detectors()
        if isinstance(submission, str) and "/" not in text and text in known:
            return cls(text, Kind.REFERENCE, None, known[text], arguments=_OWN_ARGUMENTS)
        path = Path(submission)
        if not path.exists():
            raise InputError(
                f"there is no such folder, nor a reference detector of this name ({', '.join(sorted(known))})",
                path=path,
            )
        if path.is_file() and path.suffix == IMAGE_SUFFIX:
            return cls(path.stem, Kind.IMAGE, None, None, image=path.resolve())
        if not path.is_dir():
            raise InputError(
                f"a submission is a folder that holds {ENTRYPOINT} or {DETECTOR}, or an Apptainer image "
                f"({IMAGE_SUFFIX})",
                path=path,
            )
        return _load_folder(path.resolve())

    @property
    def learned_parameters(self) -> Path | None:
        """The folder of what it brings learned; None where there is nothing in it."""
        if self.directory is None:
            return None
        directory = self.directory / LEARNED_PARAMETERS
        return directory if directory.is_dir() and any(directory.iterdir()) else None

    @property
    def configurable(self) -> bool | None:
        """Whether it can learn from a train split; None where only :meth:`describe_command` tells.

        An image counts as one that cannot: its source is not seen, and NIST's harness never asks images to.
        """
        if self.target is not None:
            return None
        return self.kind is not Kind.IMAGE and self._configure_word() is not None

    def infer_command(
        self,
        paths: DataPointPaths,
        learned: Path | None,
        *,
        place: Place | None = None,
        family: Family = DEFAULT_FAMILY,
    ) -> list[str]:
        """The command for one data point, arguments in the order in which NIST's harness passes them.

        The command of an image lacks the program, which is whatever starts images.

        Args:
            paths: the data point.
            learned: the folder of what it learned; its own by default.
            place: where it runs; by default with this interpreter, from its own folder.
            family: the rounds that the data point is of.
        """
        place = place or Place(Path(sys.executable))
        values: dict[str, Path | None] = {
            **paths.extra,
            "model_filepath": paths.model,
            "result_filepath": paths.result,
            "scratch_dirpath": paths.scratch,
            "examples_dirpath": paths.examples,
            **self._parameters(place),
            "learned_parameters_dirpath": learned or self._own_learned_parameters(place),
        }
        word = ["infer"] if self.target is not None or "infer" in self.subcommands else []
        return [*self._program(place), *word, *self._options(family.infer, values, family)]

    def configure_command(
        self,
        train_split: Path,
        scratch: Path,
        learned: Path,
        jobs: int = 1,
        *,
        extra: Mapping[str, Path] | None = None,
        place: Place | None = None,
        family: Family = DEFAULT_FAMILY,
    ) -> list[str]:
        """The command that learns from a train split and writes into ``learned``.

        Args:
            train_split: the labelled models.
            scratch: a folder to write in.
            learned: where it leaves what it learned.
            jobs: models to learn from at a time; NIST's contract does not know this.
            extra: what else this round has, as in :class:`DataPointPaths`.
            place: see :meth:`infer_command`.
            family: see :meth:`infer_command`.
        """
        place = place or Place(Path(sys.executable))
        values: dict[str, Path | None] = {
            **(extra or {}),
            "scratch_dirpath": scratch,
            "configure_models_dirpath": train_split,
            **self._parameters(place),
            "learned_parameters_dirpath": learned,
        }
        word = family.configure_by if self.kind is Kind.IMAGE else self._configure_word()
        if word is None and self.subcommands:
            word = "configure"  # it knows words, so it will say itself that it does not know this one
        command = [*self._program(place), *([] if word is None else [word])]
        command += self._options(family.configure or DEFAULT_FAMILY.configure, values, family)
        return command if self.target is None else [*command, "--jobs", str(jobs)]

    def describe_command(self, result: Path, *, place: Place | None = None) -> list[str] | None:
        """The command that says whether it must be configured; None where :attr:`configurable` does."""
        if self.target is None:
            return None
        place = place or Place(Path(sys.executable))
        command = [*self._program(place), "describe", "--result_filepath", str(result)]
        path = self._parameters(place)["metaparameters_filepath"]
        return command if path is None else [*command, "--metaparameters_filepath", str(path)]

    def imports(self) -> tuple[str, ...]:
        """Modules that its program will import, sorted, as far as the source tells: worth importing beforehand.

        Its own modules are left out. Empty for an image.
        """
        if self.directory is not None:
            return tuple(sorted(preloaded(imported_modules(self.directory))))
        if self.target is not None:
            return tuple(sorted(preloaded({self.target.partition(":")[0]})))
        return ()

    def digest(self) -> str:
        """SHA-256 over what would run: names and contents of its files, in hexadecimal digits.

        Raises:
            InputError: a file cannot be read.
        """
        digest = hashlib.sha256(f"{self.kind} {__version__}\n".encode())
        if self.directory is not None:
            digest.update(digest_of(self.directory).encode())
        elif self.image is not None:
            digest.update(_digest_of_file(self.image).encode())
        else:
            assert self.target is not None
            digest.update(self.target.encode())
            for path in _sources(self.target.partition(":")[0]):
                digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
        return digest.hexdigest()

    def _program(self, place: Place) -> list[str]:
        if self.kind is Kind.IMAGE:
            return []
        if self.target is None:
            assert self.program is not None
            return [str(place.python), str(self._seen_from(place) / self.program)]
        target = self.target if self.directory is None else str(self._seen_from(place) / DETECTOR)
        # -P: the working directory is the submission's to write, so no module may come from it.
        return [str(place.python), "-P", "-m", "palladion.detectors.entrypoint", "--detector", target]

    def _seen_from(self, place: Place) -> Path:
        if self.kind is Kind.IMAGE:
            return _IN_IMAGE
        directory = place.directory or self.directory
        assert directory is not None
        return directory

    def _configure_word(self) -> str | None:
        """How its program is told to learn; None where it knows no way."""
        if self.target is not None or "configure" in self.subcommands:
            return "configure"
        return "--configure_mode" if "configure_mode" in (self.arguments or ()) else None

    def _parameters(self, place: Place) -> dict[str, Path | None]:
        return {
            "metaparameters_filepath": self._file(METAPARAMETERS, place),
            "schema_filepath": self._file(SCHEMA, place),
        }

    def _file(self, name: str, place: Place) -> Path | None:
        present = self.kind is Kind.IMAGE or (self.directory is not None and (self.directory / name).is_file())
        return self._seen_from(place) / name if present else None

    def _own_learned_parameters(self, place: Place) -> Path | None:
        """NIST's harness passes the folder even where it is empty."""
        nist = self.kind in (Kind.ENTRYPOINT, Kind.IMAGE)
        return self._seen_from(place) / LEARNED_PARAMETERS if nist or self.learned_parameters else None

    def _options(self, names: Sequence[str], values: Mapping[str, Path | None], family: Family) -> list[str]:
        options = []
        for name in names:
            value = values.get(name)
            if value is not None and self._takes(name, family):
                options += [f"--{name}"] if name in family.flags else [f"--{name}", str(value)]
        return options

    def _takes(self, name: str, family: Family) -> bool:
        """Argparse stops at an option that it does not know, so what the source does not know is not passed."""
        if self.arguments is None or name in self.arguments:
            return True
        # NIST's contract promises the others; without them, the fault is worth seeing.
        return self.kind is Kind.ENTRYPOINT and name not in family.optional


def _load_folder(directory: Path) -> Submission:
    for _ in _files(directory):  # refuses links, sockets and the like
        pass
    manifest = load_manifest(directory)
    program = _program_of(directory, manifest.script)
    _check_object(directory / METAPARAMETERS)
    source = parse_source(directory / program)
    if program == DETECTOR:
        return Submission(
            directory.name,
            Kind.DETECTOR,
            directory,
            str(directory / DETECTOR),
            arguments=_OWN_ARGUMENTS,
            manifest=manifest,
        )
    declared = declared_arguments(source)
    if program != ENTRYPOINT:
        return Submission(
            directory.name,
            Kind.SCRIPT,
            directory,
            None,
            subcommands(source),
            program,
            declared.names if declared.complete else None,
            manifest,
        )
    for name in (METAPARAMETERS, SCHEMA):
        if not (directory / name).is_file():
            raise InputError(f"holds no {name}; NIST's contract asks for it beside {ENTRYPOINT}", path=directory)
    if not (directory / LEARNED_PARAMETERS).is_dir():
        raise InputError(
            f"holds no folder {LEARNED_PARAMETERS}/; NIST's contract asks for it, with a file in it if the "
            "detector learned nothing",
            path=directory,
        )
    # A source that is not seen to take the model leaves its arguments to another module.
    complete = declared.complete and declared.names >= _SCRIPT_MUST_TAKE
    return Submission(
        directory.name,
        Kind.ENTRYPOINT,
        directory,
        None,
        subcommands(source),
        program,
        declared.names if complete else None,
        manifest,
    )


def _program_of(directory: Path, script: str | None) -> str:
    """Name of the file that is called."""
    if script is not None:
        if not (directory / script).is_file():
            raise InputError(f"submission.yaml names the script {script}, but there is no such file", path=directory)
        return script
    for name in (ENTRYPOINT, DETECTOR):
        if (directory / name).is_file():
            return name
    found = []
    for path in sorted(directory.glob("*.py"))[:_MAXIMUM_SCRIPTS]:
        try:
            declared = declared_arguments(parse_source(path))
        except InputError:
            continue  # not what is looked for, whatever it is
        if path.is_file() and declared.names >= _SCRIPT_MUST_TAKE:
            found.append(path.name)
    if not found:
        raise InputError(
            f"holds neither {ENTRYPOINT} nor {DETECTOR}, nor a script that takes --model_filepath and "
            "--result_filepath",
            path=directory,
        )
    if len(found) > 1:
        raise InputError(
            f"holds {len(found)} scripts that take --model_filepath ({', '.join(found[:5])}); "
            f"name the one to call in submission.yaml: script: {found[0]}",
            path=directory,
        )
    return found[0]


def digest_of(directory: Path) -> str:
    """SHA-256 over the relative names and the contents of all files in a folder.

    Raises:
        InputError: the folder holds a link or a special file, or cannot be read.
    """
    digest = hashlib.sha256()
    for path in _files(directory):
        name = path.relative_to(directory).as_posix()
        digest.update(f"{_digest_of_file(path)} {name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _digest_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from None


def _files(directory: Path) -> Iterator[Path]:
    """Every regular file below ``directory``, in the order of the names."""
    count = 0
    for root, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted([*folders, *names]):
            path = Path(root, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise InputError("is a link; a submission holds plain files and folders only", path=path)
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise InputError("is no plain file; a submission holds plain files and folders only", path=path)
            if stat.S_ISREG(mode):
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


def _sources(module: str) -> list[Path]:
    """Source files of the package that holds the module."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise InputError(f"the reference detector's module {module} is not installed")
    return sorted(Path(spec.origin).parent.glob("*.py"))
