import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palladion import __version__

Palladion = Callable[..., "subprocess.CompletedProcess[str]"]


def test_help_names_every_command(palladion: Palladion) -> None:
    for arguments in (["--help"], ["-h"]):
        done = palladion(*arguments)
        assert done.returncode == 0
        assert all(f"\n  {name} " in done.stdout for name in ("evaluate", "round", "score"))


@pytest.mark.parametrize("command", [["evaluate"], ["score"], ["score", "detection"], ["score", "sweep"], ["round"]])
def test_every_command_has_help(palladion: Palladion, command: list[str]) -> None:
    done = palladion(*command, "--help")
    assert done.returncode == 0
    assert " ".join(["palladion", *command]) in done.stdout


def test_help_needs_neither_models_nor_numpy() -> None:
    code = (
        "import sys; sys.argv = ['palladion', '--help']\nfrom palladion.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=source).stdout
    assert "evaluate" in output
    assert not {"torch", "transformers", "numpy", "yaml", "palladion.cli.round"} & set(output.split())


def test_the_version_is_printed(palladion: Palladion) -> None:
    assert palladion("--version").stdout == f"palladion {__version__}\n"


def test_an_unknown_command_is_refused(palladion: Palladion) -> None:
    done = palladion("evaluat")
    assert done.returncode == 2
    assert "No such command 'evaluat'" in done.stderr


def test_whoever_reads_no_further_gets_no_complaint(environment: dict[str, str], tmp_path: Path) -> None:
    rows = "".join(f"m{i},True\n" for i in range(20_000))
    (tmp_path / "m.csv").write_text(f"model_name,poisoned\n{rows}")
    (tmp_path / "p.csv").write_text("model_name,probability\nm0,0.5\n")
    command = f"{sys.executable} -m palladion score detection p.csv --truth m.csv --json | head -c 100"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert len(done.stdout) == 100
    assert done.stderr == ""
