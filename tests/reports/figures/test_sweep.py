import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from palladion.errors import InputError, PalladionError
from palladion.reports.figures.sweep import draw_sweep, sweep_csv, sweep_figure, sweep_image, write_sweep
from palladion.scoring import PrevalenceSweep, prevalence_sweep

from .made import axis_titles, check_figure


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


def test_the_figure_has_a_row_a_level_and_draws_every_subset(sweep: PrevalenceSweep) -> None:
    figure = sweep_figure(sweep)
    check_figure(figure)
    assert [row["level"] for row in figure.rows] == list(range(1, 100))
    for i, row in enumerate(figure.rows):
        assert row["lowest"] == sweep.cross_entropy[i].min()
        assert row["success_target"] == float(row["base_rate_cross_entropy"] or 0) / 2
        assert (row["reached"] == "yes") == (sweep.expected_cross_entropy[i] <= sweep.success_target[i])
    assert figure.drawing is not None
    subsets, expected, guess, target, aucs, _ = figure.drawing["data"]
    assert len(subsets["x"]) == len(subsets["y"]) == len(aucs["y"]) == 990
    assert [len(line["y"]) for line in (expected, guess, target)] == [99] * 3
    # Told apart by more than colour.
    assert len({line["line"].get("dash", "solid") for line in (expected, guess, target)}) == 3
    assert axis_titles(figure) == ["poisoned models (%)", "cross-entropy (nats)", "ROC AUC"]


def test_the_note_says_where_the_target_is_reached() -> None:
    poisoned = np.arange(40) % 2 == 0
    perfect = sweep_figure(prevalence_sweep(poisoned.astype(float), poisoned))
    assert "reached at 99 of 99 levels, from 1 % to 99 %." in perfect.notes[1]
    wrong = sweep_figure(prevalence_sweep(1.0 - poisoned, poisoned))
    assert "reached at 0 of 99 levels." in wrong.notes[1]


def test_what_is_written_is_what_is_served(sweep: PrevalenceSweep, tmp_path: Path) -> None:
    write_sweep(sweep, tmp_path / "sweep.csv")
    assert (tmp_path / "sweep.csv").read_text() == sweep_csv(sweep)
    pytest.importorskip("matplotlib")
    assert sweep_image(sweep, "png").startswith(b"\x89PNG")
