"""``palladion round publish``, as an organiser types it."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import Palladion
from tests.rounds.small import small_spec, write_spec


@pytest.mark.slow
def test_a_round_is_built_published_and_looked_at_by_its_participants(palladion: Palladion, tmp_path: Path) -> None:
    spec = write_spec(small_spec(train=2, test=2, images=64, steps=2), tmp_path / "spec.yaml")
    assert palladion("round", "build", spec, "--out", "built", "--jobs", 1).returncode == 0
    done = palladion("round", "publish", "built", "--out", "public/round.zip")
    assert done.returncode == 0
    content = (tmp_path / "public" / "round.zip").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with zipfile.ZipFile(tmp_path / "public" / "round.zip") as archive:
        count = len(archive.namelist())
        archive.extractall(tmp_path / "given")
    assert done.stdout == f"public/round.zip: {count} files, {len(content):,} bytes, SHA-256 {digest}\n"
    assert "its seed is small enough to be guessed" in done.stderr
    again = palladion("round", "publish", "built", "--out", "public/round.zip")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "palladion: public/round.zip: is there already; --force replaces it\n"
    assert palladion("round", "publish", "built", "--out", "public/round.zip", "--force").stdout == done.stdout

    assert palladion("round", "check", "given").stdout == "given: no faults found\n"
    assert "as participants have it" in palladion("round", "show", "given").stdout
    evaluated = palladion("evaluate", "constant", "--round", "given", "--split", "train", "--sandbox", "none")
    assert evaluated.returncode == 0
    sealed = palladion("evaluate", "constant", "--round", "given", "--sandbox", "none")
    assert sealed.returncode == 2
    assert "this round has no test split" in sealed.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nowhere", "--out", "a.zip"), "nowhere: there is no such directory"),
        ((".", "--out", "../a.zip"), "holds no round.yaml; is this a round?"),
        ((".", "--out", "a.tar"), "a.tar: must end in .zip"),
    ],
)
def test_what_cannot_be_published_is_told(palladion: Palladion, options: tuple[str, ...], message: str) -> None:
    done = palladion("round", "publish", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
