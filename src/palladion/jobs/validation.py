"""What is wrong with a submission, before it costs anything: what the server asks and what a participant asks at home.

The file is unpacked and read in a process of its own, within limits of time and memory. Nothing of it is run.
"""

from pathlib import Path
from typing import Final, Literal

from palladion.challenge import SubmissionRule
from palladion.errors import InputError
from palladion.execution.staging import workspace
from palladion.jobs import children, processes
from palladion.jobs.context import TEST, Service, StageInfo
from palladion.jobs.processes import CHECKING, FailureKind, ProcessFailed, ProcessLimits
from palladion.submissions.checks import Fault

__all__ = ["check", "check_for_stage", "splits_of"]

# The file's own fault: it asks more of whoever reads it than there is.
_ITS_FAULT: Final = frozenset({FailureKind.TIME, FailureKind.CPU, FailureKind.MEMORY, FailureKind.CRASHED})


def check(
    path: Path,
    *,
    name: str,
    kind: Literal["code", "outputs"],
    rule: SubmissionRule,
    family: str | None = None,
    phase: Path | None = None,
    code_required: bool | None = None,
    limits: ProcessLimits = CHECKING,
) -> list[Fault]:
    """All faults of a submission; none with an error among them may be accepted.

    Args:
        path: the file.
        name: of the file, as its sender calls it: it tells what code is packed in.
        kind: what is submitted.
        rule: what the challenge asks of it.
        family: of the models that code is for; None where nobody says.
        phase: folder of the track file that outputs are for; None: only the names of the public challenge are known.
        code_required: whether outputs need their code, instead of what the track file says.
        limits: what looking at it may use.

    Raises:
        InputError: the phase is at fault, or there is no such file.
        PalladionError: no process can be started.
    """
    path = path.absolute()
    if not path.is_file():
        raise InputError("there is no such file", path=path)
    try:
        if kind == "outputs":
            where = None if phase is None else phase.absolute()
            return processes.call(
                children.check_zip, limits, None, path, where, rule=rule, code_required=code_required or None
            )
        with workspace() as folder:
            # The name is the sender's; only what it ends with is taken.
            suffixes = (*children.ARCHIVES, children.IMAGE)
            suffix = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")
            named = folder / f"submission{suffix}"
            named.symlink_to(path)
            return processes.call(
                children.check_code, limits, None, named, folder / "submission.d", rule=rule, family_name=family
            )
    except ProcessFailed as error:
        if error.kind in _ITS_FAULT:
            return [Fault("archive", "", "", f"it could not be read: {error}")]
        raise


def check_for_stage(service: Service, stage: StageInfo, path: Path, name: str) -> list[Fault]:
    """All faults of a submission to a stage. As :func:`check`."""
    rule = stage.track.submission
    if stage.detection:
        from palladion.models import RoundDirectory

        family = RoundDirectory.open(stage.data).family
        return check(path, name=name, kind="code", rule=rule, family=family, limits=service.settings.checking)
    from palladion.rounds.language import layout

    assert stage.stage.phase is not None
    return check(
        path,
        name=name,
        kind="outputs",
        rule=rule,
        phase=layout.phase_folder(stage.data, stage.stage.phase),
        code_required=stage.stage.code_required,
        limits=service.settings.checking,
    )


def splits_of(stage: StageInfo) -> tuple[str, ...]:
    """The splits that a submission to this stage is evaluated on when it is accepted."""
    del stage  # of every task the same: the holdout is for the conclusion alone
    return (TEST,)
