"""What a Python needs, so that it runs where this machine's folders have other names.

In a sandbox, the folder that a Python was installed in lies elsewhere, and a virtual environment is made anew around
it: its ``bin`` and its ``pyvenv.cfg`` name folders of this machine, only its packages are of use there. So three things
are enough::

    <base>/                                             the Python itself, as it was installed
    <environment>/pyvenv.cfg, <environment>/bin/python  written anew; they point at <base>
    <environment>/lib/python3.11/site-packages/         the packages

The system's Python needs no base: whoever mounts ``/usr`` at ``/usr`` has it. What a ``.pth`` file of an editable
installation names does not exist there, and Python passes over it. The same holds for the packages of ``pip install
--user``: a Python is taken without them.
"""

import functools
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from palladion.errors import ExecutionError, InputError
from palladion.execution.processes import Processes

__all__ = ["OLDEST", "Interpreter", "Link", "own"]

OLDEST = (3, 8)
"""The oldest Python that is supported."""

_SECONDS_TO_ANSWER = 20.0
_SYSTEM = Path("/usr")
_ADVICE = f"name the program of a Python {OLDEST[0]}.{OLDEST[1]} or newer, such as /usr/bin/python3"
# Old versions run this as well, as far as they must to say how old they are. What the packages print on the way, as
# some do from a .pth file, stands on lines before the last.
_QUESTIONS = """
import json, sys
answers = {"version": sys.version_info[:3]}
if sys.version_info >= (3, 8):
    import site, sysconfig
    variables = sysconfig.get_config_vars()
    answers.update(
        prefix=sys.prefix,
        base_prefix=sys.base_prefix,
        executables=[getattr(sys, "_base_executable", None), sys.executable],
        libraries=[
            sysconfig.get_path(name, vars={"platbase": sys.base_exec_prefix}) for name in ("stdlib", "platstdlib")
        ],
        packages=[sysconfig.get_path(name) for name in ("purelib", "platlib")],
        system=sys.base_prefix in site.PREFIXES,
        shared=variables.get("INSTSONAME") if variables.get("Py_ENABLE_SHARED") else None,
        shared_in=variables.get("LIBDIR"),
    )
print("\\n" + json.dumps(answers))
"""


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link.

    Attributes:
        target: where it points.
    """

    target: PurePosixPath


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python, alone or in a virtual environment, and what must go along when it is moved.

    Attributes:
        python: the program that was asked.
        release: its version in full, such as ``3.11.7``.
        base_prefix: the folder that the Python was installed in, without links.
        base_executable: its program, below ``base_prefix``.
        standard_library: the folder of the standard library, below ``base_prefix``.
        site_packages: the folders of the virtual environment's packages, without links, each with its place below the
            environment; none where there is no virtual environment.
        system_site_packages: the packages of the base count as well. So they do where there is no virtual environment.
        shared_library: the folder of ``libpython``, below ``base_prefix``; None where the program holds all of it, or
            the system finds it. Such a program only knows where the library was when it was installed.
    """

    python: Path
    release: str
    base_prefix: Path
    base_executable: PurePosixPath
    standard_library: PurePosixPath
    site_packages: tuple[tuple[Path, PurePosixPath], ...]
    system_site_packages: bool
    shared_library: PurePosixPath | None

    @classmethod
    def of(cls, python: Path) -> "Interpreter":
        """Ask a Python about itself.

        Args:
            python: its program; a name without a folder is looked for on the ``PATH``.

        Raises:
            InputError: it is no Python, is too old, does not start, or cannot be moved.
        """
        path = _program(python)
        answers = _ask(path)
        version = tuple(answers["version"])
        release = ".".join(map(str, version))
        if version < OLDEST:
            raise InputError(f"is Python {release}, which is too old; {_ADVICE}", path=path)
        try:
            return _interpreter(path, release, answers)
        except (KeyError, TypeError, ValueError):
            raise InputError(f"does not answer as a Python does; {_ADVICE}", path=path) from None

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version."""
        major, minor, *_ = self.release.split(".")
        return int(major), int(minor)

    @property
    def is_system(self) -> bool:
        """Whether it is the Python of ``/usr``, so that nothing of the base needs a mount besides ``/usr`` itself."""
        return self.base_prefix == _SYSTEM

    def mounts(self, base: PurePosixPath, environment: PurePosixPath) -> list[tuple[Path, PurePosixPath]]:
        """What to mount, read-only: folders of this machine, and where they must lie. ``/usr`` is not named.

        Args:
            base: where the Python itself is to lie.
            environment: where the virtual environment is to lie.
        """
        return [
            *([] if self.is_system else [(self.base_prefix, base)]),
            *((folder, environment / place) for folder, place in self.site_packages),
        ]

    def files(self, base: PurePosixPath, environment: PurePosixPath) -> dict[PurePosixPath, str | Link]:
        """What to write: paths, each with the text or the link that it must be. Arguments as :meth:`mounts`."""
        executable = self._base(base) / self.base_executable
        names = ("python", "python{}".format(*self.version), "python{}.{}".format(*self.version))
        settings = {
            "home": executable.parent,
            "include-system-site-packages": str(self.system_site_packages).lower(),
            "version": self.release,
        }
        text = "".join(f"{key} = {value}\n" for key, value in settings.items())
        return {environment / "pyvenv.cfg": text, **{environment / "bin" / name: Link(executable) for name in names}}

    def executable(self, base: PurePosixPath, environment: PurePosixPath) -> PurePosixPath:
        """The program to run. Arguments as :meth:`mounts`."""
        del base
        return environment / "bin" / "python"

    def variables(self, base: PurePosixPath) -> dict[str, str]:
        """Environment variables without which it does not start. ``base`` as in :meth:`mounts`."""
        return {} if self.shared_library is None else {"LD_LIBRARY_PATH": str(self._base(base) / self.shared_library)}

    def _base(self, base: PurePosixPath) -> PurePosixPath:
        return PurePosixPath(_SYSTEM) if self.is_system else base


@functools.cache
def own() -> Interpreter:
    """The Python that runs this. Raises as :meth:`Interpreter.of`."""
    if not sys.executable:
        raise InputError("this Python does not know its own program; run Palladion as `python -m palladion`")
    return Interpreter.of(Path(sys.executable))


def _program(python: Path) -> Path:
    """The absolute path of a program. Links stay: by its own path, a Python knows its virtual environment."""
    if len(python.parts) == 1 and not python.exists():
        found = shutil.which(python.name)
        if found is None:
            raise InputError(f"there is no such program on the PATH; {_ADVICE}", path=python)
        return Path(found).absolute()
    path = python.absolute()
    if path.is_dir():
        raise InputError(f"is a folder; {_ADVICE}", path=python)
    if not path.exists():
        raise InputError(f"there is no such program; {_ADVICE}", path=python)
    return path


def _ask(path: Path) -> dict[str, Any]:
    """What the Python answers, as it stands."""
    try:
        # With site, without which a virtual environment does not know that it is one.
        finished = Processes().run(
            [str(path), "-I", "-c", _QUESTIONS],
            environment=dict(os.environ),
            directory=Path.cwd(),
            time_limit=_SECONDS_TO_ANSWER,
        )
    except ExecutionError as error:
        raise InputError(f"{error}; {_ADVICE}") from None
    if finished.timed_out:
        raise InputError(f"did not answer in {_SECONDS_TO_ANSWER:.0f} s; {_ADVICE}", path=path)
    if finished.exit_code != 0:
        complaint = (finished.stderr.strip().splitlines() or ["it says nothing"])[0]
        how = f"signal {finished.signal}" if finished.exit_code is None else f"exit code {finished.exit_code}"
        raise InputError(f"does not start as a Python 3 does ({how}): {complaint}; {_ADVICE}", path=path)
    try:
        answers = json.loads(finished.stdout.strip().splitlines()[-1])
        if [type(part) for part in answers["version"]] == [int, int, int]:
            return dict(answers)
    except (ValueError, IndexError, KeyError, TypeError, RecursionError):
        pass
    raise InputError(f"is no Python; {_ADVICE}", path=path)


def _interpreter(path: Path, release: str, answers: dict[str, Any]) -> Interpreter:
    prefix, base = Path(answers["prefix"]).resolve(), Path(answers["base_prefix"]).resolve()
    version = release.rpartition(".")[0]
    if _holds_everything(base):
        raise InputError(f"is installed in {base} together with all else; take one with a folder of its own", path=path)
    programs = [Path(name) for name in answers["executables"] if name]
    if prefix != base:
        # What lies in the virtual environment without being a link is a copy, also where that lies below the base.
        programs = [program for program in programs if not program.resolve().is_relative_to(prefix)]
    programs.append(base / "bin" / f"python{version}")
    executable = next((place for program in programs if (place := _below(base, program))), None)
    if executable is None:
        raise InputError(f"has no program of its own in {base / 'bin'}; take another Python", path=path)
    libraries = [_below(base, Path(name)) for name in answers["libraries"]]
    if libraries[0] is None or libraries[1] is None:
        raise InputError(f"has a standard library outside of {base}; take another Python", path=path)
    packages: dict[Path, PurePosixPath] = {}
    if prefix != base:
        for name in answers["packages"]:
            folder = Path(name)
            if folder.is_dir():
                place = _below(prefix, folder.parent) or PurePosixPath("lib", f"python{version}")
                packages.setdefault(folder.resolve(), place / folder.name)
    return Interpreter(
        python=path,
        release=release,
        base_prefix=base,
        base_executable=executable,
        standard_library=libraries[0],
        site_packages=tuple(packages.items()),
        system_site_packages=bool(answers["system"]),
        shared_library=None if base == _SYSTEM else _shared_library(base, answers),
    )


def _holds_everything(base: Path) -> bool:
    """Whether a base is far more than a Python: all of it is mounted, and then would be all that the user has."""
    try:
        return base == Path("/") or Path.home().resolve().is_relative_to(base)
    except RuntimeError:
        return False  # this user has no home


def _shared_library(base: Path, answers: dict[str, Any]) -> PurePosixPath | None:
    if not answers["shared"]:
        return None
    # A Python that was moved after it was built names a folder that is not there.
    for folder in (Path(answers["shared_in"] or base), base / "lib", base / "lib64"):
        if (folder / answers["shared"]).is_file() and (place := _below(base, folder)):
            return place
    return None


def _below(folder: Path, path: Path) -> PurePosixPath | None:
    """Where an existing path lies below ``folder``, links followed; None where it does not."""
    resolved = path.resolve()
    if not resolved.exists() or not resolved.is_relative_to(folder):
        return None
    return PurePosixPath(resolved.relative_to(folder))
