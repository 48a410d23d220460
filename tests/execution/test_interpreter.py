import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from palladion.errors import InputError
from palladion.execution import interpreter as module
from palladion.execution.interpreter import Interpreter, Link, own

BASE, ENVIRONMENT = PurePosixPath("/opt/python"), PurePosixPath("/opt/environment")
SYSTEM = Path("/usr/bin/python3")
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")

needs_system = pytest.mark.skipif(not SYSTEM.exists(), reason="this system has no Python of its own")


def pyenv(version: str) -> Path:
    """A Python that pyenv has built; links to its library where it was installed."""
    found = sorted(PYENV.glob(f"{version}.*/bin/python"))
    if not found:
        pytest.skip(f"there is no Python {version} of pyenv")
    return found[-1]


@functools.cache
def sandbox_works() -> bool:
    program = shutil.which("bwrap")
    return program is not None and subprocess.run([program, "--ro-bind", "/", "/", "true"]).returncode == 0


def virtual(python: Path, directory: Path, *options: str) -> Path:
    """Make a virtual environment with one package; its program."""
    subprocess.run([python, "-I", "-m", "venv", "--without-pip", *options, directory], check=True)
    (folder,) = directory.glob("lib/python3.*/site-packages")
    (folder / "marked.py").write_text("WHERE = __file__\n")
    return directory / "bin" / "python"


def run_elsewhere(interpreter: Interpreter, code: str, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python where nothing of this machine's folders exists but /usr, from the interpreter's own instructions."""
    if not sandbox_works():
        pytest.skip("bubblewrap is not installed, or may not be used here")
    arguments = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for name in ("bin", "lib", "lib64"):
        arguments += ["--symlink", f"usr/{name}", f"/{name}"]
    for source, place in interpreter.mounts(BASE, ENVIRONMENT):
        arguments += ["--ro-bind", str(source), str(place)]
    for i, (place, content) in enumerate(interpreter.files(BASE, ENVIRONMENT).items()):
        if isinstance(content, Link):
            arguments += ["--symlink", str(content.target), str(place)]
        else:
            (tmp_path / f"file-{i}").write_text(content)
            arguments += ["--ro-bind", str(tmp_path / f"file-{i}"), str(place)]
    arguments += ["--unshare-all", "--clearenv"]
    for name, value in interpreter.variables(BASE).items():
        arguments += ["--setenv", name, value]
    program = str(interpreter.executable(BASE, ENVIRONMENT))
    return subprocess.run(["bwrap", *arguments, program, "-I", "-c", code], capture_output=True, text=True, timeout=60)


LOOK = """
import json, os, subprocess, sys
child = [sys.executable, "-I", "-c", "import sys; print(sys.prefix)"]
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3], "prefix": sys.prefix, "base": sys.base_prefix, "os": os.__file__,
    "child": subprocess.run(child, stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout.strip(),
}))
"""


def look(interpreter: Interpreter, tmp_path: Path, code: str = "") -> None:
    done = run_elsewhere(interpreter, f"{LOOK}\n{code}", tmp_path)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[0])
    base = "/usr" if interpreter.is_system else "/opt/python"
    major, minor = interpreter.version
    assert seen == {
        "version": interpreter.release,
        "prefix": "/opt/environment",
        "base": base,
        "os": f"{base}/lib/python{major}.{minor}/os.py",
        "child": "/opt/environment",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_virtual_environment_runs_elsewhere(version: str, tmp_path: Path) -> None:
    interpreter = Interpreter.of(virtual(pyenv(version), tmp_path / "venv"))
    assert ".".join(map(str, interpreter.version)) == version
    assert interpreter.variables(BASE) == {"LD_LIBRARY_PATH": "/opt/python/lib"}
    place = f"/opt/environment/lib/python{version}/site-packages/marked.py"
    look(interpreter, tmp_path, f"import marked, hashlib, ctypes; assert marked.WHERE == {place!r}, marked.WHERE")


@needs_system
def test_a_virtual_environment_of_the_systems_python_runs_elsewhere(tmp_path: Path) -> None:
    interpreter = Interpreter.of(virtual(SYSTEM, tmp_path / "venv"))
    assert interpreter.is_system
    assert interpreter.variables(BASE) == {}
    assert [place for _, place in interpreter.mounts(BASE, ENVIRONMENT)] == [
        ENVIRONMENT / "lib" / "python{}.{}".format(*interpreter.version) / "site-packages"
    ]
    look(interpreter, tmp_path, "import marked, ssl")


def test_what_is_installed_beside_these_tests_runs_elsewhere(tmp_path: Path) -> None:
    look(own(), tmp_path, "import numpy; assert numpy.arange(3).sum() == 3; import pydantic, yaml")


@needs_system
def test_a_python_without_a_virtual_environment_runs_elsewhere(tmp_path: Path) -> None:
    interpreter = Interpreter.of(SYSTEM)
    assert (interpreter.site_packages, interpreter.system_site_packages) == ((), True)
    assert interpreter.mounts(BASE, ENVIRONMENT) == []
    look(interpreter, tmp_path)


def test_packages_of_the_base_count_where_there_is_no_virtual_environment(tmp_path: Path) -> None:
    interpreter = Interpreter.of(pyenv("3.11"))
    assert interpreter.mounts(BASE, ENVIRONMENT) == [(pyenv("3.11").parents[1].resolve(), BASE)]
    look(interpreter, tmp_path, "import pip; assert pip.__file__.startswith('/opt/python/')")


@pytest.mark.parametrize("options", [(), ("--system-site-packages",)])
def test_packages_of_the_base_count_as_the_virtual_environment_says(options: tuple[str, ...], tmp_path: Path) -> None:
    interpreter = Interpreter.of(virtual(pyenv("3.11"), tmp_path / "venv", *options))
    assert interpreter.system_site_packages is bool(options)
    done = run_elsewhere(interpreter, "import marked, pip", tmp_path)
    assert (done.returncode == 0) is bool(options), done.stderr


@pytest.mark.parametrize("options", [(), ("--copies",)])
def test_the_base_of_a_virtual_environment_in_another_is_the_first(options: tuple[str, ...], tmp_path: Path) -> None:
    outer = virtual(Path(sys.executable), tmp_path / "outer", *options)
    inner = Interpreter.of(virtual(outer, tmp_path / "inner", *options))
    assert (inner.base_prefix, inner.base_executable) == (own().base_prefix, own().base_executable)
    assert [source for source, _ in inner.site_packages] == [
        tmp_path / "inner" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    ]
    look(inner, tmp_path, "import marked")


def test_what_packages_print_when_python_starts_does_no_harm(tmp_path: Path) -> None:
    python = virtual(Path(sys.executable), tmp_path / "venv")
    (folder,) = (tmp_path / "venv").glob("lib/python3.*/site-packages")
    (folder / "noise.pth").write_text("import sys; sys.stdout.write('noise' * 100_000)\n/nowhere/at/all\n")
    assert Interpreter.of(python).release == own().release


def test_the_files_are_those_of_a_virtual_environment() -> None:
    files = own().files(BASE, ENVIRONMENT)
    text = files.pop(ENVIRONMENT / "pyvenv.cfg")
    major, minor = sys.version_info[:2]
    assert isinstance(text, str)
    assert "include-system-site-packages = " in text
    names = ("python", f"python{major}", f"python{major}.{minor}")
    assert list(files) == [ENVIRONMENT / "bin" / name for name in names]
    assert all(isinstance(link, Link) and link.target.name.startswith("python3") for link in files.values())


def test_own_asks_only_once() -> None:
    assert own() is own()
    assert own().python == Path(sys.executable)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def answering(tmp_path: Path, **changed: object) -> Path:
    """A program that answers as a Python in a conda-like folder does, but for what is changed."""
    base = tmp_path / "base"
    for folder in ("bin", "lib/python3.11", "lib64/python3.11"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    script(base / "bin" / "python3.11", "true")
    answers = {
        "version": [3, 11, 9],
        "prefix": str(base),
        "base_prefix": str(base),
        "executables": [str(base / "bin/python3.11")],
        "libraries": [str(base / "lib/python3.11"), str(base / "lib64/python3.11")],
        "packages": [str(base / "lib/python3.11/site-packages")] * 2,
        "system": True,
        "shared": None,
        "shared_in": None,
        **changed,
    }
    return script(tmp_path / "python", f"cat <<'EOF'\n{json.dumps(answers)}\nEOF")


def test_a_conda_environment_is_a_base_of_its_own(tmp_path: Path) -> None:
    interpreter = Interpreter.of(answering(tmp_path))
    assert interpreter.mounts(BASE, ENVIRONMENT) == [(tmp_path / "base", BASE)]
    assert interpreter.files(BASE, ENVIRONMENT)[ENVIRONMENT / "bin" / "python"] == Link(BASE / "bin" / "python3.11")
    assert interpreter.standard_library == PurePosixPath("lib/python3.11")


def test_a_copied_program_below_the_base_is_not_taken_for_the_bases(tmp_path: Path) -> None:
    environment = tmp_path / "base" / "envs" / "own"
    (environment / "bin").mkdir(parents=True)
    copied = script(environment / "bin" / "python", "true")
    python = answering(tmp_path, prefix=str(environment), executables=[str(copied), str(copied)])
    assert Interpreter.of(python).base_executable == PurePosixPath("bin/python3.11")


def test_packages_may_lie_in_two_folders(tmp_path: Path) -> None:
    folders = [tmp_path / "venv" / lib / "python3.11" / "site-packages" for lib in ("lib", "lib64")]
    for folder in folders:
        folder.mkdir(parents=True)
    python = answering(tmp_path, prefix=str(tmp_path / "venv"), packages=[str(folder) for folder in folders])
    assert Interpreter.of(python).mounts(BASE, ENVIRONMENT)[1:] == [
        (folder, ENVIRONMENT / folder.relative_to(tmp_path / "venv")) for folder in folders
    ]


def test_packages_in_one_folder_with_two_names_are_mounted_once(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (venv / "lib64").symlink_to("lib")
    folders = [str(venv / lib / "python3.11" / "site-packages") for lib in ("lib", "lib64")]
    interpreter = Interpreter.of(answering(tmp_path, prefix=str(venv), packages=folders))
    assert [place for _, place in interpreter.site_packages] == [PurePosixPath("lib/python3.11/site-packages")]


def test_the_library_is_found_where_a_moved_python_has_it(tmp_path: Path) -> None:
    python = answering(tmp_path, shared="libpython3.11.so.1.0", shared_in="/built/elsewhere/lib")
    assert Interpreter.of(python).variables(BASE) == {}
    (tmp_path / "base" / "lib" / "libpython3.11.so.1.0").touch()
    assert Interpreter.of(python).variables(BASE) == {"LD_LIBRARY_PATH": "/opt/python/lib"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": [3, 7, 16]}, "is Python 3.7.16, which is too old; name the program of a Python 3.8"),
        ({"version": "3.11"}, "is no Python"),
        ({"version": [3, 11]}, "is no Python"),
        ({"prefix": None}, "does not answer as a Python does"),
        ({"executables": ["/bin/sh"], "base_prefix": "/nowhere"}, "has no program of its own"),
        ({"libraries": ["/lib", "/lib"]}, "has a standard library outside"),
        ({"base_prefix": "/"}, "together with all else"),
    ],
)
def test_what_cannot_be_moved_is_refused(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    python = answering(tmp_path, **changed)
    with pytest.raises(InputError, match=said) as caught:
        Interpreter.of(python)
    assert str(caught.value).startswith(f"{python}: ")


def test_a_python_that_holds_the_home_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = answering(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "base" / "me"))
    with pytest.raises(InputError, match="together with all else; take one with a folder of its own"):
        Interpreter.of(python)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("true", "is no Python"),
        ("echo '[1]'", "is no Python"),
        ("echo >&2 no such option; exit 3", r"does not start as a Python 3 does \(exit code 3\): no such option"),
        ("kill -11 $$", r"does not start as a Python 3 does \(signal 11\): it says nothing"),
        ("yes", "did not answer in 0 s"),
    ],
)
def test_what_is_no_python_is_refused(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = script(tmp_path / "python", text)
    if text == "yes":
        monkeypatch.setattr(module, "_SECONDS_TO_ANSWER", 0.3)
    with pytest.raises(InputError, match=f"{said}.*name the program of a Python 3.8 or newer"):
        Interpreter.of(python)


def test_a_program_that_cannot_be_started_is_refused(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("no program")
    for path, said in [
        (tmp_path / "python", "Permission denied"),
        (tmp_path, "is a folder"),
        (tmp_path / "none", "there is no such program"),
        (Path("no-such-python-anywhere"), "there is no such program on the PATH"),
    ]:
        with pytest.raises(InputError, match=said):
            Interpreter.of(path)


def test_a_name_is_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(tmp_path).rename(tmp_path / "some-python")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert Interpreter.of(Path("some-python")).python == tmp_path / "some-python"
