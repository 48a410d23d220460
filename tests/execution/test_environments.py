import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.testing

from palladion.cli import environment as command_line
from palladion.errors import InputError, PalladionError
from palladion.execution import environments as module
from palladion.execution.environments import (
    Environment,
    build,
    environments,
    environments_directory,
    find,
    own_environment,
    remove,
)
from palladion.execution.interpreter import own

RELEASE = ".".join(map(str, sys.version_info[:3]))
SOURCE = Path(module.__file__).parents[2]


def wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """Write a wheel of one module, so that nothing has to be built or fetched."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": metadata + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        for path, text in files.items():
            file.writestr(path, text)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "1.1"):
        wheel(folder, "tiny_tool", version, needs="helper>=2")
    for version in ("2.0", "2.5"):
        wheel(folder, "helper", version)
    return folder


@pytest.fixture(scope="module")
def built_once(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments with one built, ``first``; to be copied only."""
    store = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALLADION_ENVIRONMENTS", str(store))
        text = f"--no-index\n--find-links {wheels}\nTiny.Tool==1.0  # an old one\n"
        assert build("first", write(store / "first.txt", text)).fresh
    return store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "environments"
    monkeypatch.setenv("PALLADION_ENVIRONMENTS", str(directory))
    return directory


@pytest.fixture
def with_first(store: Path, built_once: Path) -> Path:
    """The file of requirements of ``first``, which is there."""
    shutil.copytree(built_once, store, symlinks=True)
    return store / "first.txt"


@pytest.fixture
def requirements(tmp_path: Path, wheels: Path) -> Callable[[str], Path]:
    return lambda text: write(tmp_path / "requirements.txt", f"--no-index\n--find-links {wheels}\n{text}\n")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def without_tools(packages: dict[str, str]) -> dict[str, str]:
    """Without what every virtual environment comes with."""
    return {name: version for name, version in packages.items() if name not in ("pip", "setuptools")}


def imported(environment: Environment) -> str:
    code = "import tiny_tool; print(tiny_tool.VERSION)"
    return subprocess.run([environment.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def builds(name: str) -> list[Path]:
    return sorted(environments_directory().glob(f"{name}/build-*"))


def test_an_environment_has_what_was_asked_for_in_exact_versions(with_first: Path) -> None:
    environment = find("first")
    assert without_tools(environment.packages) == {"tiny-tool": "1.0", "helper": "2.5"}
    assert list(environment.packages) == sorted(environment.packages)
    assert environment.requested == ("tiny-tool",)
    assert environment.release == RELEASE
    assert imported(environment) == "1.0"
    assert environment.interpreter().base_prefix == own().base_prefix
    assert environment.interpreter().site_packages[0][0].is_relative_to(builds("first")[0] / "venv")
    assert environments() == [environment]


def test_the_digest_names_python_and_every_version(with_first: Path) -> None:
    environment = find("first")
    lines = [f"python=={RELEASE}", *(f"{name}=={version}" for name, version in environment.packages.items())]
    assert environment.digest == hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_what_was_asked_for_and_what_came_of_it_lie_beside_it(with_first: Path) -> None:
    (folder,) = builds("first")
    assert (folder / "requirements.txt").read_text() == with_first.read_text()
    listed = dict(line.split("==") for line in (folder / "packages.txt").read_text().split())
    assert listed == find("first").packages
    # Another user, who runs the submissions, can read all of it.
    assert all(path.stat().st_mode & 0o005 == 0o005 for path in (folder, folder / "venv"))


@pytest.mark.slow
def test_it_works_from_where_it_is_built(
    store: Path, requirements: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Settings with which pip would install elsewhere, or Python find packages elsewhere.
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    constraints = write(tmp_path / "constraints.txt", "helper==2.0\n")
    environment = build("second", requirements("tiny-tool"), constraints=constraints)
    assert without_tools(environment.packages) == {"tiny-tool": "1.1", "helper": "2.0"}
    pip = environment.python.with_name("pip")
    monkeypatch.delenv("PYTHONHOME")
    assert "tiny" in subprocess.run([pip, "list"], check=True, capture_output=True, text=True).stdout
    assert not build("second", requirements("tiny-tool"), constraints=constraints).fresh
    with pytest.raises(InputError, match=r"second is there already, from other constraints; --replace builds it anew"):
        build("second", requirements("tiny-tool"))


@pytest.mark.slow
def test_another_python_can_be_named(store: Path, requirements: Callable[[str], Path]) -> None:
    roots = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    others = [path for path in sorted(roots.glob("3.*/bin/python")) if path.parts[-3].startswith(("3.8", "3.9"))]
    if not others:
        pytest.skip("there is no other Python here")
    environment = build("old", requirements("tiny-tool"), python=others[0])
    assert environment.release == others[0].parts[-3]
    assert environment.interpreter().version < sys.version_info[:2]
    assert imported(environment) == "1.1"
    with pytest.raises(InputError, match=rf"from Python {environment.release} .* instead of {RELEASE}"):
        build("old", requirements("tiny-tool"))


def test_the_same_requirements_again_do_nothing(with_first: Path) -> None:
    before = builds("first"), find("first")
    again = build("first", with_first)
    assert not again.fresh
    assert (builds("first"), again) == before


@pytest.mark.slow
def test_other_requirements_are_only_built_when_told_to(with_first: Path, requirements: Callable[[str], Path]) -> None:
    before, digest = builds("first"), find("first").digest
    with pytest.raises(InputError, match="first is there already, from other requirements; --replace builds it anew"):
        build("first", requirements("tiny-tool==1.1"))
    assert builds("first") == before
    environment = build("first", requirements("tiny-tool==1.1"), replace=True)
    assert environment.fresh
    assert environment == find("first")
    assert environment.digest != digest
    assert imported(environment) == "1.1"
    assert len(builds("first")) == 1
    assert builds("first") != before


@pytest.mark.slow
def test_where_pip_fails_its_last_words_are_told_and_the_old_one_stays(
    with_first: Path, requirements: Callable[[str], Path]
) -> None:
    before = builds("first")
    with pytest.raises(PalladionError, match=r"pip could not install the packages \(exit code 1\)") as caught:
        build("first", requirements("tiny-tool==7"), replace=True)
    assert "tiny-tool==7" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 16
    assert builds("first") == before
    assert imported(find("first")) == "1.0"


@pytest.mark.slow
@pytest.mark.parametrize(("how", "name"), [(signal.SIGINT, "new"), (signal.SIGKILL, "first")])
def test_a_build_that_is_stopped_leaves_what_was_there(
    how: signal.Signals, name: str, tmp_path: Path, with_first: Path
) -> None:
    before = builds("first")
    code = (
        "import sys; from pathlib import Path; from palladion.execution.environments import build\n"
        "build(sys.argv[1], Path(sys.argv[2]), replace=True)"
    )
    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(60)
        address = f"127.0.0.1:{index.getsockname()[1]}"
        path = write(tmp_path / "silent.txt", f"--index-url http://{address}/\n--trusted-host {address}\ntiny-tool\n")
        process = subprocess.Popen(
            [sys.executable, "-c", code, name, path],
            env={**os.environ, "PYTHONPATH": str(SOURCE), "PIP_NO_INDEX": "0"},
            stderr=subprocess.DEVNULL,
        )
        connection, _ = index.accept()  # so pip runs, and gets no answer
        with connection:
            assert environments() == [find("first")]
            (folder,) = set(builds(name)) - set(before)
            process.send_signal(how)
            assert process.wait(timeout=30) != 0
            end = time.monotonic() + 15
            while folder.exists() and time.monotonic() < end:
                time.sleep(0.05)
    assert not folder.exists()
    assert builds("first") == before
    assert imported(find("first")) == "1.0"
    assert [path.name for path in with_first.parent.iterdir() if path.is_dir()] == ["first"]


@pytest.mark.slow
def test_what_a_killed_build_has_left_is_no_environment_and_is_removed(
    store: Path, requirements: Callable[[str], Path]
) -> None:
    left = store / "new" / "build-0123abcd"
    (left / "venv" / "bin").mkdir(parents=True)
    (left / "venv" / "bin" / "python").symlink_to(sys.executable)
    assert environments() == []
    with pytest.raises(InputError, match="there is no environment new"):
        find("new")
    assert build("new", requirements("helper")).fresh
    assert not left.exists()


def test_an_environment_in_use_is_neither_replaced_nor_removed(
    with_first: Path, requirements: Callable[[str], Path]
) -> None:
    with find("first").held(), find("first").held():
        assert not build("first", with_first).fresh
        with pytest.raises(PalladionError, match="another process is building or using an environment here"):
            build("first", requirements("helper"), replace=True)
        with pytest.raises(PalladionError, match="another process is building or using an environment here"):
            remove("first")
    assert imported(find("first")) == "1.0"
    environment = find("first")
    remove("first")
    with pytest.raises(PalladionError, match="first is being built anew or removed"), environment.held():
        pass


def test_an_environment_that_was_replaced_since_it_was_found_is_not_taken(with_first: Path) -> None:
    environment = find("first")
    (folder,) = builds("first")
    folder.rename(folder.with_name("build-0123abcd"))
    with pytest.raises(PalladionError, match="first is being built anew or removed; try again"), environment.held():
        pass


def test_a_removed_environment_is_gone(with_first: Path, store: Path) -> None:
    remove("first")
    assert not (store / "first").exists()
    assert environments() == []
    with pytest.raises(InputError, match="there is no environment first"):
        remove("first")


def test_what_is_left_of_a_build_can_be_removed(store: Path) -> None:
    (store / "new" / "build-0123abcd").mkdir(parents=True)
    remove("new")
    assert list(store.iterdir()) == []


def test_an_unknown_name_is_answered_with_the_known_ones(with_first: Path) -> None:
    with pytest.raises(InputError) as caught:
        find("third")
    assert str(caught.value) == (
        "there is no environment third; known: default, first; to build it: "
        "palladion environment build third --requirements FILE"
    )


@pytest.mark.parametrize("name", ["../x", "/x", "x/y", "..", ".", "", "-x", ".x", "X", "x y", "x\n", "ä", "x" * 65])
def test_a_name_that_is_no_name_is_refused(name: str, store: Path, tmp_path: Path) -> None:
    for attempt in (lambda: build(name, write(tmp_path / "r.txt", "")), lambda: find(name), lambda: remove(name)):
        with pytest.raises(InputError, match="is no name for an environment"):
            attempt()
    assert not store.exists()


def test_default_is_palladions_own(store: Path, tmp_path: Path) -> None:
    environment = find("default")
    assert environment == own_environment()
    assert environment.packages["numpy"] == importlib.metadata.version("numpy")
    assert "pydantic-core" in environment.packages
    assert (environment.release, environment.created) == (RELEASE, None)
    assert environment.interpreter() is own()
    assert len(environment.digest) == 64
    with environment.held():
        pass
    for attempt in (lambda: build("default", write(tmp_path / "r.txt", "")), lambda: remove("default")):
        with pytest.raises(InputError, match="default is the environment that Palladion itself runs in"):
            attempt()


@pytest.mark.parametrize(
    "line",
    [
        "../x",
        "./x",
        "/srv/x",
        ".",
        "x/y",
        "file:///srv/x",
        "https://example.org/x-1.0-py3-none-any.whl",
        "git+https://example.org/x",
        "x @ file:///srv/x",
        "x @ ../x",
        "x-1.0-py3-none-any.whl",
        "x.tar.gz",
        "x.zip",
        "$(touch x)",
        "${HOME}",
        "x y",
        "x, y",
        "-r other.txt",
        "-rother.txt",
        "--requirement=other.txt",
        "--req other.txt",
        "-c other.txt",
        "-e .",
        "--editable ../x",
        "--target /tmp",
        "-f wheels",
        "--find-links=../wheels",
    ],
)
def test_requirements_that_say_not_what_they_mean_are_refused(line: str, store: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "requirements.txt", f"# packages\nnumpy\n{line}\n")
    with pytest.raises(InputError) as caught:
        build("new", path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    with pytest.raises(InputError, match="line 3"):
        build("new", write(tmp_path / "none.txt", ""), constraints=path)
    assert not store.exists()


def test_requirements_are_read_as_pip_reads_them(tmp_path: Path) -> None:
    text = """
    # comment
    --index-url=https://example.org/simple
    --extra-index-url https://example.org/more  # the same
    --find-links https://example.org/wheels.html
    --only-binary :all:
    Scikit_Learn[tests, docs] >=1.2, <1.3 ; python_version < "3.12"
    numpy<2
    a.b == 1.*   # comment
    c (>=1)
    d @ https://example.org/d-1.0-py3-none-any.whl
    e @ git+https://example.org/e.git@v1
    f==1.0 \\
        --hash=sha256:0123 \\
        --hash=sha256:4567
    NumPy
    g~=1.0
    """
    names = module._check_requirements(text, tmp_path / "requirements.txt")
    assert names == ("scikit-learn", "numpy", "a-b", "c", "d", "e", "f", "g")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no such file"), (b"\xff\xfe", "cannot be read as text"), (b"#" * (2 << 20), "larger than 1 MiB")],
)
def test_a_file_that_is_no_list_is_refused(content: bytes | None, said: str, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        build("new", path)
    assert caught.value.path == path


def test_what_is_no_python_is_refused_before_anything_is_made(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such program"):
        build("new", write(tmp_path / "requirements.txt", ""), python=tmp_path / "python")
    assert not store.exists()


def test_an_environment_whose_python_is_gone_is_told_from_a_whole_one(with_first: Path) -> None:
    python = find("first").python
    for path in python.parent.glob("python*"):
        path.unlink()
    python.symlink_to("/no/such/python")
    with pytest.raises(InputError, match="the Python that the environment first was built with is gone"):
        find("first")
    with pytest.raises(InputError, match="first is there already, from a Python that is gone; --replace"):
        build("first", with_first)


@pytest.mark.parametrize(
    "changed",
    [
        {"folder": "../elsewhere"},
        {"packages": {"helper": "2.5"}},
        {"python": "3.8.1"},
        {"packages": None},
        {"digest": None},
        {"base": ...},
        [],
    ],
)
def test_a_record_that_does_not_hold_together_is_none(
    changed: dict[str, object] | list[object], with_first: Path
) -> None:
    path = with_first.parent / "first" / "environment.json"
    record = json.loads(path.read_text())
    if isinstance(changed, dict):
        record = {key: value for key, value in {**record, **changed}.items() if value is not ...}
    else:
        record = changed
    path.write_text(json.dumps(record))
    assert environments() == []
    with pytest.raises(InputError, match="there is no environment first"):
        find("first")


def test_environments_lie_where_the_user_keeps_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PALLADION_ENVIRONMENTS", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert environments_directory() == tmp_path / ".local" / "share" / "palladion" / "environments"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert environments_directory() == tmp_path / ".local" / "share" / "palladion" / "environments"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert environments_directory() == Path("/data/palladion/environments")
    monkeypatch.setenv("PALLADION_ENVIRONMENTS", "here")
    assert environments_directory() == Path.cwd() / "here"
    assert environments() == []


def command(*arguments: object) -> str:
    result = typer.testing.CliRunner().invoke(command_line.app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.slow
def test_the_command_line_builds_lists_shows_and_removes(with_first: Path, requirements: Callable[[str], Path]) -> None:
    assert command("build", "second", "--requirements", requirements("helper")).startswith(
        f"second: Python {RELEASE}, "
    )
    assert "nothing to do" in command("build", "second", "--requirements", requirements("helper"))
    rows = [line.split(None, 3) for line in command("list").splitlines()]
    assert [cell.strip() for cell in rows[0]] == ["name", "python", "packages", "among them"]
    assert [row[:2] for row in rows[1:]] == [[name, RELEASE] for name in ("default", "first", "second")]
    assert "numpy" in rows[1][3]
    assert [cell.strip() for cell in rows[2][2:]] == [str(len(find("first").packages)), "tiny-tool 1.0"]
    shown = command("show", "first").splitlines()
    assert f"digest: {find('first').digest}" in shown
    assert [line for line in shown if "==" in line] == [f"{k}=={v}" for k, v in find("first").packages.items()]
    document = json.loads(command("show", "first", "--json"))
    assert document["packages"] == find("first").packages
    assert (document["name"], document["python"], document["digest"]) == ("first", RELEASE, find("first").digest)
    assert command("remove", "second") == "second: removed\n"
    assert "second" not in command("list")
    assert json.loads(command("show", "default", "--json"))["created"] is None
