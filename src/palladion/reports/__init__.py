"""Scores as people read them: tables, figures, files."""

__all__: list[str] = []
