"""A challenge file that is right, to change in tests."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from palladion.challenge import Challenge, load_challenge, parse_challenge
from palladion.errors import InputError

__all__ = ["DETECTION", "EXAMPLES", "LANGUAGE", "challenge_of", "faults_in", "track_with"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "challenges"

DETECTION: dict[str, Any] = {
    "format": "palladion-challenge/1",
    "name": "small",
    "title": "Small",
    "tracks": [
        {
            "name": "detection",
            "title": "Detection",
            "task": "detection",
            "metrics": ["cross_entropy", "roc_auc"],
            "submission": {"kind": "code"},
            "stages": [
                {"name": "round-0", "title": "Round 0", "data": "data/round-0", "dry_run": True},
                {"name": "round-1", "title": "Round 1", "data": "data/round-1"},
            ],
        }
    ],
}
LANGUAGE: dict[str, Any] = {
    "format": "palladion-challenge/1",
    "name": "words",
    "title": "Words",
    "tracks": [
        {
            "name": "labels",
            "title": "Labels",
            "task": "classification",
            "metrics": ["overall", "cacc", "asr"],
            "submission": {"kind": "outputs"},
            "stages": [{"name": "development", "title": "Development", "data": "data/round", "phase": "development"}],
        }
    ],
}


def track_with(data: dict[str, Any], *, stages: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """The file with other keys in its track, and with these keys added to its stages, one after the other."""
    changed = copy.deepcopy(data)
    track = changed["tracks"][0]
    track |= more
    for number, stage in enumerate(stages or ()):
        if number == len(track["stages"]):
            name = f"stage-{number}"
            track["stages"].append({**track["stages"][-1], "name": name, "title": name, "data": f"data/{name}"})
        track["stages"][number] |= stage
    return changed


def challenge_of(data: dict[str, Any]) -> Challenge:
    return parse_challenge(yaml.safe_dump(data, sort_keys=False))


def faults_in(source: dict[str, Any] | str | Path) -> list[str]:
    """The faults of a file, each a line; there must be some."""
    text = yaml.safe_dump(source, sort_keys=False) if isinstance(source, dict) else str(source)
    with pytest.raises(InputError) as error:
        _ = load_challenge(source) if isinstance(source, Path) else parse_challenge(text)
    return str(error.value).split("\n")
