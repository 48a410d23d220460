"""Where things lie in a round of a language track."""

from pathlib import Path

from palladion.rounds.language import layout


def test_a_round_is_told_by_what_lies_in_it(tmp_path: Path) -> None:
    assert not layout.is_language_round(tmp_path / "absent")
    (tmp_path / "phases").mkdir()
    assert not layout.is_language_round(tmp_path)
    (tmp_path / "sealed").mkdir()
    (tmp_path / "sealed" / "round.yaml").write_text("")
    assert layout.is_language_round(tmp_path)
    (tmp_path / "phases").rmdir()
    assert not layout.is_language_round(tmp_path)


def test_what_is_sealed_lies_beside_what_is_published_and_never_in_it(tmp_path: Path) -> None:
    phase = layout.phase_folder(tmp_path, "test")
    inside = [
        layout.models_folder(tmp_path, "test", "task1"),
        layout.validation_folder(tmp_path, "test", "task1"),
        layout.test_folder(tmp_path, "test", "task1"),
    ]
    assert all(path.is_relative_to(phase) for path in inside)
    sealed = layout.sealed_folder(tmp_path, "test", "task1")
    assert not sealed.is_relative_to(phase)
    assert not phase.is_relative_to(tmp_path / layout.SEALED)
    assert sealed.is_relative_to(tmp_path / layout.SEALED)
