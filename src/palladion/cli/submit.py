"""``palladion submit``: hand in a file, checked here first, and wait for its scores."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palladion.cli.service import Insecure, Server, connected, note, now, print_json
from palladion.errors import PalladionError

if TYPE_CHECKING:
    from palladion.client import Client, Place, QuotaSpent
    from palladion.client.answers import Stage, Submission, Track
    from palladion.client.errors import Fault as RemoteFault
    from palladion.submissions.checks import Fault

__all__ = ["end", "show_result", "submit", "waited"]

_EXIT_CODES = {"scored": 0, "rejected": 2, "failed": 4, "pending": 0}
_WORTH_ASKING = 4 << 20


def submit(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A zip of outputs; or a detector: a folder, an archive, or a .sif image."),
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="CHALLENGE/TRACK[/STAGE]",
            help="Where to; by default the open stage of the track.",
            show_default=False,
        ),
    ],
    again: Annotated[
        bool, typer.Option("--again", help="A new submission, also where the team has handed in the same file before.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is scored, and show the scores.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="What palladion download made of the stage, for the check; by default what it needs is fetched.",
            show_default=False,
        ),
    ] = None,
    server: Server = None,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print one JSON object, whatever happens.")] = False,
    insecure: Insecure = False,
) -> None:
    """Hand in a file.

    It is checked here first, with the code that the server checks it with: what is faulty is not sent. A broken upload
    goes on where it was when the same command is given again; the same file twice is one submission, unless --again
    says otherwise.

    Exits with 0 where it was accepted (with --wait: scored), 2 where it is faulty, 3 where no submission is left now,
    4 where it failed in running, 5 where the server cannot be reached, 1 for everything else.
    """
    from palladion.client import QuotaSpent, place

    asked = place(to, least=2)
    if not json_wanted:
        try:
            with connected(server, insecure) as client:
                end(_submit(client, path, asked, again=again, wait=wait, data=data, quiet=False)[0], wait)
        except QuotaSpent as error:
            _tell_slot(error)
            raise
        return
    try:
        with connected(server, insecure) as client:
            submission, document = _submit(client, path, asked, again=again, wait=wait, data=data, quiet=True)
    except PalladionError as error:
        print_json({"error": _error_document(error)})
        sys.exit(error.exit_code)
    print_json(document)
    end(submission, wait)


def waited(client: "Client", submission: "Submission", *, quiet: bool) -> "Submission":
    """The submission once it has ended; unless ``quiet``, what becomes of it is told."""
    from palladion.client.tables import state_line
    from palladion.client.waiting import wait_for_submission

    told = ""

    def tell(seen: "Submission") -> None:
        nonlocal told
        line = state_line(seen)
        if not quiet and line != told and not seen.ended:
            note(line)
        told = line

    try:
        return wait_for_submission(client, submission, tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped waiting; the server goes on with it: palladion status {submission.id} --wait"
        ) from None


def show_result(submission: "Submission", track: "Track | None") -> None:
    """What became of a submission: its state, and its scores where they may be shown."""
    from palladion.client.tables import scores_table, state_line
    from palladion.client.words import text_in_words
    from palladion.reports.tables import show

    typer.echo(state_line(submission))
    if submission.scores is not None and track is not None:
        show(scores_table(submission, track))
    elif submission.hidden:
        typer.echo(f"scores are hidden: {text_in_words(submission.hidden)}")


def end(submission: "Submission", waited_for: bool = True) -> None:
    """Exit as the submission ended; without having waited it was accepted, which is well."""
    code = _EXIT_CODES.get(submission.state, 1) if waited_for else 0
    if code:
        sys.exit(code)


def _submit(
    client: "Client", path: Path, asked: "Place", *, again: bool, wait: bool, data: Path | None, quiet: bool
) -> "tuple[Submission, dict[str, Any]]":
    with tempfile.TemporaryDirectory(prefix="palladion-submit-") as folder:
        return _hand_in(client, path, asked, Path(folder), again=again, wait=wait, data=data, quiet=quiet)


def _hand_in(
    client: "Client",
    path: Path,
    asked: "Place",
    folder: Path,
    *,
    again: bool,
    wait: bool,
    data: Path | None,
    quiet: bool,
) -> "tuple[Submission, dict[str, Any]]":
    from palladion.client import Rejected, send_file
    from palladion.client.answers import to_document
    from palladion.client.checking import check_locally
    from palladion.client.stages import find_track, stage_to_submit_to
    from palladion.client.transfer import silent, transfer
    from palladion.client.words import filename_to_tell, name_in_words

    show = silent if quiet else transfer
    track = find_track(client.challenge(asked.challenge), asked)
    stage = stage_to_submit_to(track, asked)
    if track.submission.kind == "code" and path.is_dir():
        path = _packed(path, folder, quiet)
    faults = check_locally(client, track, stage, path, data=data, show=show)
    _tell_faults(faults, quiet)
    errors = sum(str(fault.severity) == "error" for fault in faults)
    if errors:
        message = f"{name_in_words(path.name)}: {errors} error{'s' if errors > 1 else ''} found; nothing was sent"
        raise Rejected(message, faults=[_remote(fault) for fault in faults], code="faulty_submission")
    worth = not again and path.stat().st_size >= _WORTH_ASKING
    sha256 = _refuse_early(client, path, stage) if worth else None
    sent = send_file(client, path, sha256=sha256, show=show)
    try:
        submission, new = client.submit(
            asked.challenge,
            track.name,
            sha256=sent.sha256,
            filename=filename_to_tell(path.name),
            stage=stage.name,
            again=again,
        )
    except Rejected as error:
        if not quiet:
            for found in error.faults:
                note(str(found))
        raise
    if not quiet:
        _tell_accepted(submission, new)
    if wait:
        submission = waited(client, submission, quiet=quiet)
    if not quiet and submission.ended:
        show_result(submission, track)
    warnings = [{"where": fault.where, "message": fault.message} for fault in map(_remote, faults)]
    return submission, {"new": new, "submission": to_document(submission), "warnings": warnings}


def _packed(path: Path, folder: Path, quiet: bool) -> Path:
    """The zip of a detector's folder: the same files give the same bytes, so that it is handed in once."""
    from palladion.submissions.packing import pack_folder

    packed = folder / f"{path.resolve().name}.zip"
    for name, why in pack_folder(path, packed):
        if not quiet:
            note(f"left out: {name}: {why}")
    return packed


def _refuse_early(client: "Client", path: Path, stage: "Stage") -> str | None:
    """See that a large file would be accepted before all of it is sent.

    A file that the team has handed in before needs no quota.

    Returns:
        the file's checksum, where it had to be known.

    Raises:
        QuotaSpent: no submission is left now.
        Conflict: there is no team to submit for.
    """
    from palladion.client import QuotaSpent
    from palladion.client.uploads import file_sha256
    from palladion.client.words import text_in_words

    left = next((left for left in client.quota(stage.challenge).tracks if left.track == stage.track), None)
    if left is None or left.allowed or left.stage != stage.name:
        return None
    sha256 = file_sha256(path)
    handed_in = client.submissions(stage.challenge, track=stage.track, stage=stage.name)
    if any(submission.sha256 == sha256 for submission in handed_in):
        return sha256
    reason = text_in_words(left.reason) if left.reason else "no submission is left now"
    raise QuotaSpent(f"{reason}; nothing was sent", next_slot=left.next_slot, code="quota")


def _tell_accepted(submission: "Submission", new: bool) -> None:
    from palladion.client.words import clock, name_in_words

    place = f"{submission.challenge}/{submission.track}/{submission.stage}"
    number = f"number {submission.ordinal} of {name_in_words(submission.team.name)} in {place}"
    if new:
        typer.echo(f"accepted: {submission.id}, {number}")
    else:
        when = clock(submission.created, now())
        typer.echo(f"handed in before: {submission.id}, {number}, {when}; --again makes a new submission of it")


def _tell_faults(faults: "list[Fault]", quiet: bool) -> None:
    if not quiet:
        for fault in faults:
            note(str(fault))


def _tell_slot(error: "QuotaSpent") -> None:
    """When there is a submission left again, where the message does not say it."""
    from palladion.client.words import clock, duration

    if error.next_slot is not None and "next slot" not in str(error):
        wait = duration((error.next_slot - now()).total_seconds())
        note(f"next slot {clock(error.next_slot, now())}, in {wait}")


def _remote(fault: "Fault") -> "RemoteFault":
    """A fault that was found here, as the server tells its own."""
    from palladion.client.errors import Fault

    where = f"{fault.file}: {fault.where}" if fault.where else fault.file
    return Fault(fault.message, where, str(fault.severity))


def _error_document(error: PalladionError) -> dict[str, Any]:
    from palladion.client import QuotaSpent, ServiceError

    document: dict[str, Any] = {"code": "wrong", "message": str(error)}
    if isinstance(error, ServiceError):
        document["code"] = error.code or ("unreachable" if error.status is None else str(error.status))
        document["faults"] = [
            {"level": fault.level, "where": fault.where, "message": fault.message} for fault in error.faults
        ]
    if isinstance(error, QuotaSpent):
        document["next_slot"] = None if error.next_slot is None else error.next_slot.isoformat().replace("+00:00", "Z")
    return document
