"""What reads what strangers send: called in processes of its own, see :mod:`palladion.jobs.processes`.

Here stand functions whose arguments and results cross processes, and nothing that needs the database.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from palladion.challenge import SubmissionRule
from palladion.errors import InputError
from palladion.scoring.point_scores import RankScore
from palladion.sizes import size_text
from palladion.submissions import DEFAULT_FAMILY, FAMILIES, Submission, family, unpack
from palladion.submissions.archive import Limits, zip_names
from palladion.submissions.checks import Fault, FaultSeverity, check_submission, printable
from palladion.submissions.outputs import check_outputs
from palladion.submissions.phase_scores import score_submission
from palladion.tracks.track_file import TrackFile, load_track

__all__ = ["ARCHIVES", "IMAGE", "LoadedCode", "ScoredOutputs", "check_code", "check_zip", "load_code", "score_outputs"]

ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")
IMAGE = ".sif"
_MOST_FAULTS = 100


@dataclass(frozen=True, slots=True)
class ScoredOutputs:
    """What a file of outputs scored.

    Attributes:
        errors: why it has no scores; empty where it has.
        warnings: what may not be meant, printable.
        result: as :meth:`PhaseScores.to_dict` has it.
        points: what the single rows scored, as :meth:`palladion.scoring.PointScores.to_bytes` has it; empty where
            nothing was scored.
        score: what the track's overall score is made by: geometric or difference.
    """

    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    result: dict[str, Any]
    points: bytes = b""
    score: RankScore = "geometric"


@dataclass(frozen=True, slots=True)
class LoadedCode:
    """Code, unpacked and looked at.

    Attributes:
        submission: what it is.
        digest: of all of it.
    """

    submission: Submission
    digest: str


def score_outputs(
    path: Path, phase: Path, sealed: Path, *, most_bytes: int, code_required: bool | None, seed: int
) -> ScoredOutputs:
    """Check and score a file of outputs.

    Args:
        path: the file.
        phase: folder of the track file.
        sealed: holds a sealed folder for each task.
        most_bytes: of all its files, unpacked; the track file may say less.
        code_required: whether ``code/`` must be there, instead of what the track file says.
        seed: of the intervals.

    Raises:
        InputError: the phase or the sealed answers are at fault.
    """
    track = _bounded(load_track(phase), most_bytes)
    found = score_submission(path, phase, track, sealed, code_required=code_required, seed=seed)
    errors = tuple(str(fault) for fault in found.errors[:_MOST_FAULTS])
    warnings = tuple(str(fault) for fault in found.faults if fault.severity is FaultSeverity.WARNING)[:_MOST_FAULTS]
    points = None if errors else found.points(track.track)
    return ScoredOutputs(
        errors, warnings, found.to_dict(), b"" if points is None else points.to_bytes(), score=track.score
    )


def check_zip(
    path: Path, phase: Path | None, *, rule: SubmissionRule, code_required: bool | None = None
) -> list[Fault]:
    """The faults of a file of outputs.

    Args:
        path: the file.
        phase: folder of the track file; None: only the names of the public challenge are known.
        rule: what the challenge asks of it.
        code_required: whether ``code/`` must be there, instead of what the track file says.

    Raises:
        InputError: the phase is at fault.
    """
    tracks: Sequence[tuple[Path, TrackFile]] = []
    if phase is not None:
        tracks = [(phase, _bounded(load_track(phase), rule.bytes))]
    faults = check_outputs(path, tracks, code_required=code_required)
    if rule.files and not any(fault.code == "archive" for fault in faults):
        names = set(zip_names(path))
        faults = [*faults, *_missing(rule, [name for name in rule.files if name not in names])]
    return faults


def check_code(path: Path, target: Path, *, rule: SubmissionRule, family_name: str | None) -> list[Fault]:
    """The faults of a file of code. Nothing of it is run.

    Args:
        path: the file.
        target: a new folder to unpack it to.
        rule: what the challenge asks of it.
        family_name: of the models that it is for; None where nobody says.
    """
    if _suffix(path) is None:
        return [Fault("archive", "", "", f"is none of {', '.join((*ARCHIVES, IMAGE))}; pack the folder as a zip")]
    try:
        submission = _load(path, target, rule.bytes)
    except InputError as error:
        # The path is the service's own: nobody has to know it.
        where = "" if error.path is None or not error.path.is_relative_to(target) else _below(error.path, target)
        return [Fault("archive", where, "", printable(error.problem, 400))]
    faults = check_submission(submission, family(family_name) if family_name in FAMILIES else DEFAULT_FAMILY)
    if submission.directory is not None:
        missing = [name for name in rule.files if not (submission.directory / PurePosixPath(name)).is_file()]
        faults = [*_missing(rule, missing), *faults]
    return faults


def load_code(path: Path, target: Path, *, most_bytes: int) -> LoadedCode:
    """Unpack code to a new folder and look at it; whatever of it may trip a reader is read here first.

    Args:
        path: the file, whose name tells what it is.
        target: the new folder; not used for an image.
        most_bytes: of all its files, unpacked.

    Raises:
        InputError: it is at fault; the message names no path of this machine.
    """
    try:
        submission = _load(path, target, most_bytes)
        submission.imports()
        return LoadedCode(submission, submission.digest())
    except InputError as error:
        where = "" if error.path is None or not error.path.is_relative_to(target) else _below(error.path, target)
        raise InputError(f"{where}: {error.problem}" if where else error.problem) from None


def _load(path: Path, target: Path, most_bytes: int) -> Submission:
    if _suffix(path) == IMAGE:
        if path.stat().st_size > most_bytes:
            raise InputError(f"has more than the {size_text(most_bytes)} that a submission may have")
        return Submission.load(path)
    unpack(path, target, replace(Limits(), total_bytes=most_bytes))
    return Submission.load(target)


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in (*ARCHIVES, IMAGE) if path.name.lower().endswith(suffix)), None)


def _bounded(track: TrackFile, most_bytes: int) -> TrackFile:
    """The track file with the smaller of two limits."""
    least = min(track.limits.bytes, most_bytes)
    return track.model_copy(update={"limits": track.limits.model_copy(update={"bytes": least})})


def _missing(rule: SubmissionRule, names: Sequence[str]) -> list[Fault]:
    asked = ", ".join(rule.files)
    return [Fault("missing", name, "", f"is not there; this challenge asks for {asked}") for name in names]


def _below(path: Path, target: Path) -> str:
    return printable(path.relative_to(target).as_posix().removeprefix("."), 120)
