"""See what is wrong with a submission before it is sent: by the functions that the server checks it with, and the
server's own open data.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError

from palladion.challenge import SubmissionRule
from palladion.client.addresses import Place
from palladion.client.answers import Stage, Track
from palladion.client.api import Client
from palladion.client.downloads import download_files
from palladion.client.errors import ServerFault
from palladion.client.transfer import TransferFactory, transfer
from palladion.documents import parse_yaml
from palladion.errors import InputError
from palladion.jobs.children import check_code, check_zip
from palladion.submissions.checks import Fault
from palladion.tracks.track_file import TRACK_FILE, TrackFile, load_track

__all__ = ["cache_folder", "check_locally"]

_PHASES: Final = "phases"
_ROUND_FILE: Final = "round.yaml"


def check_locally(
    client: Client,
    track: Track,
    stage: Stage,
    path: Path,
    *,
    data: Path | None = None,
    show: TransferFactory = transfer,
) -> list[Fault]:
    """The faults of a submission; where none of them is an error, it may be sent.

    What the check needs of the stage's data is fetched and kept, unless ``data`` is a folder that has it.

    Args:
        client: of the server.
        track: that it is for.
        stage: likewise.
        path: the file.
        data: what ``palladion download`` made of this stage.
        show: how a transfer is shown.

    Raises:
        InputError: there is no such file, or ``data`` is not of this stage.
        ServiceError: what the check needs cannot be had.
    """
    if not path.is_file():
        # A detector's folder has been packed before.
        what = "is a folder; make the zip with palladion submission pack" if path.is_dir() else "there is no such file"
        raise InputError(what, path=path)
    rule = _rule(track)
    if rule.kind == "outputs":
        folder = _track_folder(data or _fetched_inputs(client, stage, show), stage)
        return check_zip(path, folder, rule=rule, code_required=stage.code_required or None)
    family = _family(data or _fetched_round_file(client, stage, show))
    with tempfile.TemporaryDirectory(prefix="palladion-check-") as root:
        return check_code(path, Path(root) / "submission", rule=rule, family_name=family)


def cache_folder(server: str, stage: Place) -> Path:
    """Where what was fetched of a stage for checks is kept: in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(configured) if configured.startswith("/") else Path("~/.cache").expanduser()
    digest = hashlib.sha256(server.encode()).hexdigest()[:16]
    return root / "palladion" / "stages" / digest / str(stage)


def _rule(track: Track) -> SubmissionRule:
    """What the challenge asks of a submission, as its file says it."""
    told = track.submission
    wanted = {"kind": told.kind, "files": told.files} | ({} if told.bytes is None else {"bytes": told.bytes})
    try:
        return SubmissionRule.model_validate(wanted)
    except ValidationError:
        raise ServerFault(f"the server asks of submissions to {track.name} what this version does not know") from None


def _fetched_inputs(client: Client, stage: Stage, show: TransferFactory) -> Path:
    """The track file, and the inputs that outputs are compared with; models and the rest are not needed."""
    inner = f"{_PHASES}/{stage.phase}"
    folder = _fetched(client, stage, f"{inner}/{TRACK_FILE}".__eq__, show)
    inputs = {f"{inner}/{name}" for name in _compared(load_track(_track_folder(folder, stage)))}
    return _fetched(client, stage, inputs.__contains__, show) if inputs else folder


def _fetched_round_file(client: Client, stage: Stage, show: TransferFactory) -> Path:
    return _fetched(client, stage, _ROUND_FILE.__eq__, show)


def _fetched(client: Client, stage: Stage, only: Callable[[str], bool], show: TransferFactory) -> Path:
    place = Place(stage.challenge, stage.track, stage.name)
    folder = cache_folder(client.url, place)
    # What is kept here is nobody's own: where the server's has changed, it is replaced.
    download_files(client, place, folder, force=True, only=only, show=show)
    return folder


def _compared(track: TrackFile) -> set[str]:
    """Inputs that the check reads: labels are compared with nothing."""
    return {output.inputs for _, output in track.outputs} if track.track == "generation" else set()


def _track_folder(data: Path, stage: Stage) -> Path:
    """The folder of the track file: in what was downloaded, or that folder itself."""
    for folder in (data / _PHASES / str(stage.phase), data):
        if (folder / TRACK_FILE).is_file():
            return folder
    raise InputError(
        f"holds no {_PHASES}/{stage.phase}/{TRACK_FILE}; give the folder that palladion download made of "
        f"{stage.challenge}/{stage.track}/{stage.name}",
        path=data,
    )


def _family(data: Path) -> str | None:
    """The family of rounds, by which submissions are called; None where the round does not say."""
    try:
        document, _ = parse_yaml((data / _ROUND_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    family = document.get("family") if isinstance(document, dict) else None
    return family if isinstance(family, str) else None
