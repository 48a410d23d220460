"""Rounds and models as they lie on disk, opened without running anything that they hold."""

from palladion.models.round_directory import ModelEntry, RoundDirectory, SplitDirectory, read_labels

__all__ = ["ModelEntry", "RoundDirectory", "SplitDirectory", "read_labels"]
