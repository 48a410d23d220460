import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.errors import InputError
from palladion.submissions.manifest import Manifest, load_manifest, parse_size


def load(folder: Path, text: str) -> Manifest:
    (folder / "submission.yaml").write_text(text)
    return load_manifest(folder)


def test_without_a_file_there_are_the_defaults(tmp_path: Path) -> None:
    assert load_manifest(tmp_path) == Manifest(environment=None, script=None, cpus=1, memory=None, gpus=0)
    assert load(tmp_path, "\n") == Manifest()


def test_all_keys_are_read(tmp_path: Path) -> None:
    text = "environment: torch-2.6\nscript: detect.py\ncpus: 4\nmemory: 8G\ngpus: 1\n"
    manifest = load(tmp_path, text)
    assert (manifest.environment, manifest.script, manifest.cpus, manifest.gpus) == ("torch-2.6", "detect.py", 4, 1)
    assert manifest.memory == 8 << 30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cpu: 4", "line 1: there is no key 'cpu'; did you mean 'cpus'?"),
        ("\nenvironment: ../venv", "line 2: environment"),
        ("environment: Torch", "environment"),
        (f"environment: {'a' * 65}", "environment"),
        ("environment: 'a\\n'", "environment"),
        ("script: ../x.py", "script"),
        ("script: run.sh", "script"),
        ("cpus: 0", "cpus"),
        ("cpus: true", "cpus"),
        ("cpus: 1.5", "cpus"),
        ("gpus: -1", "gpus"),
        ("memory: lots", "'lots' is not a size; write a whole number with K, M, G or T"),
        ("memory: 4 GB", "is not a size"),
        ("memory: [1]", "is not a size"),
        ("memory: 0", "a size must be more than 0"),
        ("memory: 99999T", "a size must be more than 0 and at most 1024T"),
        ("cpus: " + "9" * 5000, "is not YAML"),
        ("cpus: 2001-99-99", "is not YAML"),
        ("- a", "must hold keys and values"),
        ("{", "is not YAML"),
        ("a: " + "x" * 20_000, "is larger than 16 KiB"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, text)
    assert words in str(error.value)
    assert "submission.yaml" in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("text", "size"), [("1K", 1 << 10), ("512M", 512 << 20), ("4G", 4 << 30), ("1T", 1 << 40), ("7", 7), (123, 123)]
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@given(st.text() | st.integers() | st.booleans())
def test_a_size_is_positive_or_refused(text: str | int) -> None:
    with contextlib.suppress(InputError):
        assert 0 < parse_size(text) <= 1 << 50
        assert not isinstance(text, bool)


@given(st.binary(max_size=60) | st.text("{}[]&*!?:-,'\"|>%@`#ab1 \n").map(str.encode))
def test_no_file_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    (folder / "submission.yaml").write_bytes(content)
    with contextlib.suppress(InputError):
        assert isinstance(load_manifest(folder), Manifest)
