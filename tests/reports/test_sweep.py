import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from palladion.errors import InputError, PalladionError
from palladion.reports.sweep import draw_sweep, write_sweep
from palladion.scoring import PrevalenceSweep, prevalence_sweep


@pytest.fixture(scope="module")
def sweep() -> PrevalenceSweep:
    generator = np.random.default_rng(0)
    poisoned = np.arange(60) % 2 == 0
    return prevalence_sweep(np.clip(generator.normal(0.3 + 0.4 * poisoned, 0.2), 0.01, 0.99), poisoned, seed=3)


def test_the_file_has_a_row_for_each_level_and_subset(sweep: PrevalenceSweep, tmp_path: Path) -> None:
    write_sweep(sweep, tmp_path / "sweep.csv")
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 99 * 10
    assert {"level", "repeat", "cross_entropy", "expected_cross_entropy", "success_target"} <= set(rows[0])
    # Written so that nothing is lost.
    assert [float(row["cross_entropy"]) for row in rows] == sweep.cross_entropy.ravel().tolist()
    assert float(rows[0]["success_target"]) == float(rows[0]["base_rate_cross_entropy"]) / 2


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")])
def test_the_figure_is_what_its_name_says(sweep: PrevalenceSweep, tmp_path: Path, name: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    draw_sweep(sweep, tmp_path / name, title="a $ \\ detector")
    assert (tmp_path / name).read_bytes().startswith(start)
    assert "matplotlib.pyplot" not in sys.modules


def test_an_unknown_kind_of_figure_is_refused(sweep: PrevalenceSweep, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in one of \.png, \.pdf, \.svg"):
        draw_sweep(sweep, tmp_path / "a.xyz")


def test_without_matplotlib_it_says_what_to_install(
    sweep: PrevalenceSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PalladionError, match=r"pip install 'palladion\[figures\]'"):
        draw_sweep(sweep, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
