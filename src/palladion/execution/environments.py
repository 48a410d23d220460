"""Named virtual environments, which an organiser declares by a file of requirements.

::

    <environments>/<name>/environment.json       what it holds; written last, names the folder in use
    <environments>/<name>/build-1a2b3c4d/
        requirements.txt, constraints.txt        what was asked for
        packages.txt                             what came of it: exact versions
        venv/

``<environments>`` is ``$PALLADION_ENVIRONMENTS``, ``$XDG_DATA_HOME/palladion/environments`` or
``~/.local/share/palladion/environments``. The environment ``default`` is the one that Palladion itself runs in.

A virtual environment names its own folder in many of its files, so it is built where it stays, and not elsewhere and
then renamed. Instead each build has a folder of its own, and ``environment.json`` says, from one moment to the next,
which of them counts. What a killed build leaves is named nowhere, and the next one removes it.
"""

import contextlib
import datetime
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palladion.errors import InputError, PalladionError
from palladion.execution.interpreter import Interpreter, own
from palladion.execution.processes import Processes
from palladion.execution.staging import remove_tree
from palladion.files import exclusive, write_atomically
from palladion.progress import progress

__all__ = [
    "DEFAULT",
    "Environment",
    "build",
    "environments",
    "environments_directory",
    "find",
    "own_environment",
    "remove",
]

DEFAULT = "default"
"""The environment that Palladion itself runs in."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_BUILD = re.compile(r"build-[0-9a-f]{8}")
_RECORD, _REQUIREMENTS, _CONSTRAINTS, _PACKAGES, _VENV = (
    "environment.json",
    "requirements.txt",
    "constraints.txt",
    "packages.txt",
    "venv",
)
_IN_USE = "building or using an environment"
_KEPT_LINES = 15
_MAXIMUM_BYTES = 1 << 20
# What one looks for first in the environment that nobody has declared.
_WELL_KNOWN = ("torch", "transformers", "scikit-learn", "numpy")

_REQUIREMENT = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?) *(?:\[[^\]]*\])? *(?P<rest>|[(<>=!~;].*|--.*|@ *(?:git\+)?https?://.*)",
    re.IGNORECASE,
)
_ARCHIVE = re.compile(r"\.(?:whl|zip|tgz|tar(?:\.[a-z0-9]+)?)$", re.IGNORECASE)
_OPTIONS = {
    *("-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host"),
    *("--pre", "--prefer-binary", "--only-binary", "--no-binary", "--require-hashes"),
}
# With these, pip would install elsewhere, or nothing.
_WITHHELD = {"VIRTUAL_ENV", "PIP_DRY_RUN", "PIP_PREFIX", "PIP_PYTHON", "PIP_ROOT", "PIP_TARGET", "PIP_USER"}
# Into a file: what packages print when Python starts is not mixed in, however many packages there are.
_LIST = """
import importlib.metadata, json, sys
found = [(d.metadata["Name"], d.version) for d in importlib.metadata.distributions()]
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with a name.

    Attributes:
        name: its name.
        directory: its folder.
        python: its program.
        release: the version of Python in full.
        packages: exact versions by name; names in lower case with hyphens.
        digest: a name for the version of Python and of all packages together: 64 hexadecimal digits.
        requested: the packages that were asked for by name; of ``default`` the well-known ones that it holds.
        created: when it was built, in UTC; None for ``default``.
        fresh: it was built by the call that has returned it.
    """

    name: str
    directory: Path
    python: Path
    release: str
    packages: dict[str, str]
    digest: str
    requested: tuple[str, ...]
    created: str | None
    fresh: bool = field(default=False, compare=False)

    def interpreter(self) -> Interpreter:
        """What must go along when it is moved. Raises as :meth:`Interpreter.of`."""
        return own() if self.name == DEFAULT else Interpreter.of(self.python)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep it from being replaced or removed; any number of processes may.

        Raises:
            PalladionError: it is being replaced or removed just now, or was since it was found.
        """
        if self.name == DEFAULT:
            yield
            return
        changed = PalladionError(f"the environment {self.name} is being built anew or removed; try again later")
        try:
            handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            raise changed from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise changed from None
            if not self.python.exists():
                raise changed
            yield
        finally:
            os.close(handle)


def environments_directory() -> Path:
    """Where the environments of this user lie."""
    chosen = os.environ.get("PALLADION_ENVIRONMENTS")
    if chosen:
        return Path(chosen).absolute()
    root = Path(os.environ.get("XDG_DATA_HOME", ""))
    # By the specification, a relative path there is to be ignored.
    return (root if root.is_absolute() else Path.home() / ".local" / "share") / "palladion" / "environments"


def build(
    name: str,
    requirements: Path,
    *,
    python: Path | None = None,
    constraints: Path | None = None,
    replace: bool = False,
) -> Environment:
    """Build an environment, unless it is there already from the same requirements and the same Python.

    pip installs the packages, with whatever indexes it is configured for. It may run code of the packages, as the user
    who calls.

    Args:
        name: lower-case letters, digits, and ``.``, ``_``, ``-`` after the first; not ``default``.
        requirements: a file as pip reads it: packages by name, or by name with an address.
        python: the Python to build it with, by default the one that Palladion runs on. Of a virtual environment, the
            one that it was made from.
        constraints: versions of packages that nobody has asked for, as pip reads them.
        replace: it may be there from other requirements or another Python. It stays until the new one is complete.

    Raises:
        InputError: the name, a file or the Python cannot be used, or it is there otherwise and ``replace`` is not set.
        PalladionError: it is in use, or pip fails.
    """
    _check_name(name)
    wanted = _Wanted.read(requirements, constraints, own() if python is None else Interpreter.of(python))
    directory = environments_directory() / name
    # Without the lock first: whoever only asks does not disturb those who use it.
    if present := _present(directory, wanted, replace):
        return present
    directory.mkdir(parents=True, exist_ok=True)
    with exclusive(directory, _IN_USE):
        if present := _present(directory, wanted, replace):
            return present
        _remove_leftovers(directory)
        # Not mkdtemp's: who runs submissions may be another user, who must be able to read this.
        folder = directory / f"build-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
            environment = _build(name, folder, wanted)
        finally:
            _remove_leftovers(directory)
            if _read(directory) is None:
                with contextlib.suppress(OSError):
                    directory.rmdir()
    return environment


def find(name: str) -> Environment:
    """The environment of this name.

    Raises:
        InputError: there is none, or the Python that it was built with is gone.
    """
    if name == DEFAULT:
        return own_environment()
    _check_name(name)
    present = _read(environments_directory() / name)
    if present is None:
        known = ", ".join([DEFAULT, *(environment.name for environment in environments())])
        raise InputError(
            f"there is no environment {name}; known: {known}; to build it: "
            f"palladion environment build {name} --requirements FILE"
        )
    environment = present[0]
    if not environment.python.exists():
        raise InputError(
            f"the Python that the environment {name} was built with is gone ({present[1]['base']}); build it again: "
            f"palladion environment build {name} --requirements FILE --replace"
        )
    return environment


def environments() -> list[Environment]:
    """All that were built to the end, by name; without ``default``."""
    try:
        directories = sorted(environments_directory().iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    named = [path for path in directories if _NAME.fullmatch(path.name) and path.name != DEFAULT]
    return [present[0] for path in named if (present := _read(path))]


def remove(name: str) -> None:
    """Remove an environment, or what is left of one.

    Raises:
        InputError: there is none.
        PalladionError: it is in use, or cannot be removed.
    """
    _check_name(name)
    directory = environments_directory() / name
    if not directory.is_dir():
        find(name)
    with exclusive(directory, _IN_USE):
        # First what makes it one: a half-removed environment is none.
        (directory / _RECORD).unlink(missing_ok=True)
        remove_tree(directory)
    if directory.exists():
        raise PalladionError(f"{directory}: cannot be removed; see to whom it belongs")


def own_environment() -> Environment:
    """The environment that Palladion itself runs in. Raises as :meth:`Interpreter.of`."""
    release = ".".join(map(str, sys.version_info[:3]))
    found = [(d.metadata["Name"], d.version) for d in importlib.metadata.distributions()]
    packages = _packages(found)
    return Environment(
        name=DEFAULT,
        directory=Path(sys.prefix),
        python=own().python,
        release=release,
        packages=packages,
        digest=_digest(release, packages),
        requested=tuple(package for package in _WELL_KNOWN if package in packages),
        created=None,
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What an environment is to be built from."""

    requirements: str
    constraints: str | None
    requested: tuple[str, ...]
    base: Path
    release: str

    @classmethod
    def read(cls, requirements: Path, constraints: Path | None, interpreter: Interpreter) -> "_Wanted":
        text = _read_text(requirements)
        requested = _check_requirements(text, requirements)
        limits = None
        if constraints is not None:
            limits = _read_text(constraints)
            _check_requirements(limits, constraints)
        base = interpreter.base_prefix / interpreter.base_executable
        return cls(text, limits, requested, base, interpreter.release)

    def record(self) -> dict[str, str | None]:
        """What is kept of it, to know it again."""
        return {
            "python": self.release,
            "base": str(self.base),
            "requirements": hashlib.sha256(self.requirements.encode()).hexdigest(),
            "constraints": None if self.constraints is None else hashlib.sha256(self.constraints.encode()).hexdigest(),
        }

    def is_what(self, record: Mapping[str, Any]) -> bool:
        return self.record().items() <= record.items()


def _present(directory: Path, wanted: _Wanted, replace: bool) -> Environment | None:
    """The environment, where it is there as wanted; None where it is to be built."""
    present = _read(directory)
    if present is None:
        return None
    environment, record = present
    if wanted.is_what(record) and environment.python.exists():
        return environment
    if replace:
        return None
    raise InputError(
        f"the environment {environment.name} is there already, from {_difference(wanted, record)}; --replace builds it "
        "anew, another name builds one beside it"
    )


def _difference(wanted: _Wanted, record: Mapping[str, Any]) -> str:
    changed = [key for key, value in wanted.record().items() if record[key] != value]
    parts = [f"other {key}" for key in ("requirements", "constraints") if key in changed]
    if {"python", "base"} & set(changed):
        parts.append(f"Python {record['python']} ({record['base']}) instead of {wanted.release} ({wanted.base})")
    # Nothing has changed, but its Python is gone.
    return ", ".join(parts) or "a Python that is gone"


def _build(name: str, folder: Path, wanted: _Wanted) -> Environment:
    """Build it in the folder and make that the one that counts."""
    write_atomically(folder / _REQUIREMENTS, wanted.requirements)
    pip = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-r", _REQUIREMENTS]
    if wanted.constraints is not None:
        write_atomically(folder / _CONSTRAINTS, wanted.constraints)
        pip += ["-c", _CONSTRAINTS]
    venv = folder / _VENV
    python = venv / "bin" / "python"
    count = len(wanted.requested)
    # One item, not one a step: the steps take so unequal times that an estimate from them would mislead.
    with progress(1, name) as shown:
        shown.say(f"{name}: making a virtual environment of Python {wanted.release}")
        _run(folder, "the virtual environment could not be made", wanted.base, "-m", "venv", venv)
        shown.say(f"{name}: pip installs {count} package{'' if count == 1 else 's'} and what they need")
        _run(folder, "pip could not install the packages", python, *pip)
        listed = folder / "packages.json"
        _run(folder, "the packages could not be listed", python, "-c", _LIST, listed)
        packages = _packages(json.loads(listed.read_text(encoding="utf-8")))
        listed.unlink()
        release = Interpreter.of(python).release
        shown.advance()
    write_atomically(folder / _PACKAGES, "".join(f"{package}=={packages[package]}\n" for package in packages))
    record = {
        "name": name,
        **wanted.record(),
        "digest": _digest(release, packages),
        "folder": folder.name,
        "requested": list(wanted.requested),
        "packages": packages,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    write_atomically(folder.parent / _RECORD, json.dumps(record, indent=2) + "\n")
    return _environment(folder.parent, record, fresh=True)


def _run(folder: Path, failure: str, program: Path, *arguments: str | Path) -> None:
    """Run a Python, isolated from the user's settings of Python, but not of pip."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON") and key not in _WITHHELD}
    finished = Processes().run(
        [str(program), "-I", *map(str, arguments)], environment=kept, directory=folder, remove=[folder]
    )
    if finished.exit_code != 0:
        how = f"signal {finished.signal}" if finished.exit_code is None else f"exit code {finished.exit_code}"
        said = (finished.stderr.strip() or finished.stdout.strip()).splitlines()[-_KEPT_LINES:]
        raise PalladionError("\n  ".join([f"{failure} ({how}){':' if said else ''}", *said]))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for an environment; take lower-case letters, digits, and '.', '_', '-' after the "
            "first, at most 64"
        )
    if name == DEFAULT:
        raise InputError(f"{DEFAULT} is the environment that Palladion itself runs in; take another name")


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAXIMUM_BYTES:
            raise InputError("is larger than 1 MiB; this is no list of packages", path=path)
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError("there is no such file", path=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text: {error}", path=path) from None


def _check_requirements(text: str, path: Path) -> tuple[str, ...]:
    """The names of the packages, in order.

    What the text does not say, such as the contents of another file or of a folder on this machine, may change while
    the text stays: then the same requirements would not be the same environment.
    """
    requested: list[str] = []
    for number, line in _logical_lines(text):
        if line.startswith("-"):
            _check_option(line, number, path)
            continue
        found = _REQUIREMENT.fullmatch(line)
        if found is None or _ARCHIVE.search(found["name"]):
            raise InputError(
                f"{line!r} names no package; write NAME, NAME==VERSION or NAME @ https://…; files and folders of this "
                "machine are not taken",
                path=path,
                line=number,
            )
        requested.append(_normalised(found["name"]))
    return tuple(dict.fromkeys(requested))


def _check_option(line: str, number: int, path: Path) -> None:
    option, *values = line.replace("=", " ", 1).split()
    if option not in _OPTIONS:
        raise InputError(
            f"the option {option} is not taken here; write all packages into this file, and constraints into the file "
            "of --constraints",
            path=path,
            line=number,
        )
    if option in {"-f", "--find-links"} and not all("://" in value or value.startswith("/") for value in values):
        raise InputError(f"{option} needs an address or an absolute path", path=path, line=number)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, without comments, each with the number of its first one."""
    parts: list[str] = []
    for number, raw in enumerate([*text.splitlines(), ""], start=1):
        line = re.sub(r"(?:^|\s)#.*$", "", raw).strip()
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            if joined := " ".join(filter(None, parts)):
                yield number - len(parts) + 1, joined
            parts = []


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages(found: Iterable[tuple[str | None, str | None]]) -> dict[str, str]:
    """Versions by name, sorted. Of two with one name, the first is the one that Python imports."""
    packages: dict[str, str] = {}
    for name, version in found:
        if name and version:  # else a folder that an aborted installation has left
            packages.setdefault(_normalised(name), version)
    return dict(sorted(packages.items()))


def _digest(release: str, packages: Mapping[str, str]) -> str:
    lines = [f"python=={release}", *(f"{name}=={packages[name]}" for name in sorted(packages))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read(directory: Path) -> tuple[Environment, Mapping[str, Any]] | None:
    """An environment that was built to the end, with its record."""
    try:
        record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
        environment = _environment(directory, record)
        whole = (
            _BUILD.fullmatch(record["folder"])
            and {"base", "requirements", "constraints"} <= record.keys()
            and environment.digest == _digest(environment.release, environment.packages)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (environment, record) if whole else None


def _environment(directory: Path, record: Mapping[str, Any], *, fresh: bool = False) -> Environment:
    return Environment(
        name=directory.name,
        directory=directory,
        python=directory / record["folder"] / _VENV / "bin" / "python",
        release=record["python"],
        packages=dict(record["packages"]),
        digest=record["digest"],
        requested=tuple(record["requested"]),
        created=record["created"],
        fresh=fresh,
    )


def _remove_leftovers(directory: Path) -> None:
    """Remove the builds that do not count. To be called by whoever holds the folder."""
    present = _read(directory)
    for path in directory.iterdir():
        if _BUILD.fullmatch(path.name) and (present is None or path.name != present[1]["folder"]):
            remove_tree(path)
