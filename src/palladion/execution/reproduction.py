"""Run the code of an outputs submission in the sandbox, and see whether it makes the submitted outputs again.

The code sees the phase as it was published and nothing else of the round. What it sees, as it sees it::

    /code                                   its own folder, where it is called
    /round/base                             the base model
    /round/phases/<phase>/track.yaml        with models, inputs and validation data, as that file names them
    /outputs                                an empty folder, for the same files as at the root of the submission
"""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from palladion.errors import InputError
from palladion.execution.environments import DEFAULT, Environment, find
from palladion.execution.evaluation import check_apart
from palladion.execution.machine import check_machine, gpus, memory_bytes
from palladion.execution.outcome import Failure, judge
from palladion.execution.processes import Cancelled
from palladion.execution.sandbox.contract import DEFAULT_LIMITS, Bind, Contents, Ended, Layout, Limits, Program
from palladion.execution.sandbox.opening import DEFAULT_BACK_END, open_sandbox
from palladion.execution.sandbox.probes import refuse_unless_sealed
from palladion.execution.slots import Stop, Stopped
from palladion.execution.staging import copy_open, remove_leftovers, workspace
from palladion.sizes import size_text
from palladion.submissions.archive import unpack_as_it_is
from palladion.submissions.checks import FaultSeverity
from palladion.submissions.outputs import CODE, check_outputs
from palladion.submissions.outputs import Layout as OutputsLayout
from palladion.submissions.reproduction import (
    RECIPE,
    ComparedFile,
    Recipe,
    compare_outputs,
    copies_of_outputs,
    load_recipe,
)
from palladion.tracks.track_file import TRACK_FILE, TrackFile, input_file, load_track, model_folders, validation_folder

__all__ = ["DAY", "Reproduction", "most_here", "reproduce"]

DAY: Final = 86_400.0
"""Seconds that code may take where nobody says otherwise: what the public challenge gave."""

_PROCESSES = 1024
_MOST_SHOWN_FAULTS = 20
_ROUND, _OUTPUTS = "round", "outputs"
# The sandbox starts programs in its own scratch folder; the assignments up to the "--" are what the code is told.
_START = 'cd "$0" || exit 126; while [ "$1" != -- ]; do export "$1"; shift; done; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Whether the code of a submission makes its outputs again.

    Attributes:
        reproduced: the verdict: the code ended well and within its limits, and of no file more rows differ than may.
        reason: why not, in words; None where it does.
        error: how the code failed; None where it ended well.
        files: each output that was submitted beside what the code made.
        allow: rows of a file that may differ, in PERCENT.
        seconds: wall time of the code.
        peak_memory_bytes: the most memory that it used at a time; None if not measured.
        recipe: what the code declares.
        limits: what it could use.
        environment: name of the Python environment that it ran in.
        notes: what whoever asked should know.
    """

    reproduced: bool
    reason: str | None
    error: Failure | None
    files: tuple[ComparedFile, ...]
    allow: float
    seconds: float
    peak_memory_bytes: int | None
    recipe: Recipe
    limits: Limits
    environment: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "reproduced": self.reproduced,
            "reason": self.reason,
            "error": self.error,
            "files": [file.to_dict() for file in self.files],
            "allow": self.allow,
            "seconds": self.seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "command": list(self.recipe.command),
            "limits": asdict(self.limits) | {"gpus": self.recipe.gpus},
            "environment": self.environment,
            "notes": list(self.notes),
        }


def most_here() -> Limits:
    """What code may declare where nobody says otherwise: a day, and all that this machine has."""
    memory = memory_bytes()
    return Limits(
        seconds=DAY,
        memory_bytes=memory,
        processes=_PROCESSES,
        scratch_bytes=memory,
        cpus=len(os.sched_getaffinity(0)),
    )


def reproduce(
    submission: Path,
    phase: Path,
    *,
    base: Path | None = None,
    most: Limits | None = None,
    most_gpus: int | None = None,
    environment: Environment | None = None,
    sandbox: str = DEFAULT_BACK_END,
    allow: float = 0.0,
    show: bool = False,
    stop: Stop | None = None,
) -> Reproduction:
    """Run the code of a submission as its ``code/reproduce.yaml`` says, and compare what it makes with what it says.

    Args:
        submission: the zip, with ``code/``.
        phase: the folder of the phase, which holds ``track.yaml``. Where it lies in a round, the folders around it that
            are not published must not be seen, and a sandbox is asked for that holds.
        base: the base model; by default ``base`` of the round that the phase lies in, if there is one.
        most: what the code may declare; by default :func:`most_here`.
        most_gpus: graphics processors that it may declare; by default those of this machine.
        environment: the Python environment to run in, instead of the one that the code names.
        sandbox: name of the back end.
        allow: rows of a file that may differ, in PERCENT. Decoding on other hardware differs in a few rows.
        show: what the code prints to standard error is shown as it comes.
        stop: asks it to end from another thread; asked gracefully, code that runs may finish.

    Raises:
        InputError: the submission, the phase or an argument is at fault, or asks for more than it may.
        ExecutionError: nothing can be run here.
        Stopped: ``stop`` was asked before it was done; nothing is left of it.
    """
    if not 0 <= allow <= 100:
        raise InputError(f"{allow:g} % of the rows cannot differ; it must be from 0 to 100")
    stop = stop or Stop()
    track = _load_track(phase)
    if submission.is_dir():
        raise InputError("is a folder; pack it first: palladion submission pack", path=submission)
    _check(submission, phase, track)
    remove_leftovers()
    with ExitStack() as held:
        root = held.enter_context(workspace())
        submitted, code = root / "submission", root / CODE
        unpack_as_it_is(submission, submitted, OutputsLayout.of([(phase, track)]).limits)
        # Nothing of the outputs lies beside it, even where there is no sandbox around it.
        (submitted / CODE).rename(code)
        recipe = load_recipe(code)
        limits = _limits(recipe, most or most_here(), gpus() if most_gpus is None else most_gpus)
        check_machine(limits, recipe.gpus)
        named = environment or find(recipe.environment or DEFAULT)
        held.enter_context(named.held())
        outputs, made = root / _OUTPUTS, root / "made"
        outputs.mkdir()
        made.mkdir()
        shown = _Shown(phase, track, _base(phase, base))
        binds = shown.in_place() if sandbox == "none" else shown.staged(root / _ROUND)
        _check_sealed(phase, sandbox, binds, named)
        contents = Contents(
            interpreter=named.interpreter(),
            binds=(Bind(code, CODE), *binds, Bind(outputs, _OUTPUTS, writable=True)),
            gpus=recipe.gpus,
        )
        ended = _run(contents, recipe, limits, shown, sandbox, stop, show=show)
        faults = _collect(outputs, made, [output.file for _, output in track.outputs], track.limits.bytes)
        files = compare_outputs(track, submitted, made, faults)
        notes = [
            f"{path} is the same file as {name}: the code may hand it out instead of computing it"
            for path, name in copies_of_outputs(track, submitted, code)
        ]
    error, reason = None, None
    if ended.limit is not None or ended.signal is not None or ended.exit_code != 0:
        _, _, error, reason = judge(ended, limits, RECIPE)
    elif beyond := [file.file for file in files if not file.within(allow)]:
        reason = f"{', '.join(beyond)}: not as submitted"
    return Reproduction(
        reproduced=reason is None,
        reason=reason,
        error=error,
        files=tuple(files),
        allow=allow,
        seconds=ended.seconds,
        peak_memory_bytes=ended.peak_memory_bytes,
        recipe=recipe,
        limits=limits,
        environment=named.name,
        notes=tuple(notes),
    )


def _load_track(phase: Path) -> TrackFile:
    if (phase / "phases").is_dir():
        known = ", ".join(sorted(ascii(path.name)[1:-1] for path in (phase / "phases").iterdir()))
        raise InputError(
            f"is a whole round; name one of its phases, such as phases/test (there are {known})", path=phase
        )
    if not phase.is_dir():
        raise InputError(f"there is no such folder; name that of a phase, with {TRACK_FILE}", path=phase)
    return load_track(phase)


def _check(submission: Path, phase: Path, track: TrackFile) -> None:
    """See that what was submitted can be compared."""
    faults = check_outputs(submission, [(phase, track)], code_required=True)
    errors = [str(fault) for fault in faults if fault.severity is FaultSeverity.ERROR]
    if errors:
        more = [f"and {len(errors) - _MOST_SHOWN_FAULTS} more errors"] if len(errors) > _MOST_SHOWN_FAULTS else []
        raise InputError("\n".join([*errors[:_MOST_SHOWN_FAULTS], *more]))


def _limits(recipe: Recipe, most: Limits, most_gpus: int) -> Limits:
    """What the code gets: what it declares, or the usual.

    Raises:
        InputError: it declares more than it may.
    """
    memory = min(DEFAULT_LIMITS.memory_bytes, most.memory_bytes) if recipe.memory is None else recipe.memory
    scratch = min(DEFAULT_LIMITS.scratch_bytes, most.scratch_bytes) if recipe.scratch is None else recipe.scratch
    seconds = float("inf") if most.seconds is None else most.seconds
    wanted = (
        ("seconds", recipe.seconds, seconds, f"{recipe.seconds:g}", f"{seconds:g}"),
        ("memory", memory, most.memory_bytes, size_text(memory), size_text(most.memory_bytes)),
        ("scratch", scratch, most.scratch_bytes, size_text(scratch), size_text(most.scratch_bytes)),
        ("cpus", recipe.cpus, most.cpus, str(recipe.cpus), str(most.cpus)),
        ("gpus", recipe.gpus, most_gpus, str(recipe.gpus), str(most_gpus)),
    )
    beyond = [
        f"{key}: {text} is more than the {at_most} that are allowed" for key, a, b, text, at_most in wanted if a > b
    ]
    if beyond:
        raise InputError("; ".join(beyond), path=Path(CODE, RECIPE))
    return Limits(
        seconds=recipe.seconds,
        memory_bytes=memory,
        processes=most.processes,
        scratch_bytes=scratch,
        output_bytes=most.output_bytes,
        cpus=recipe.cpus,
        cpu_seconds=most.cpu_seconds,
    )


def _base(phase: Path, base: Path | None) -> Path | None:
    if base is not None:
        if not base.is_dir():
            raise InputError("there is no such folder", path=base)
        return base
    usual = phase.absolute().parent.parent / "base"
    return usual if usual.is_dir() else None


class _Shown:
    """What is shown of a round: what its track file names, by the names that participants have it under.

    Args:
        phase: the folder of the track file.
        track: what it says.
        base: the base model; None where there is none.
    """

    def __init__(self, phase: Path, track: TrackFile, base: Path | None) -> None:
        self._phase, self._track, self._base = phase, track, base
        self._place = f"phases/{track.phase}"
        self._models = {
            model: folder
            for task in track.tasks
            for model, folder in zip(task.models, model_folders(phase, task), strict=True)
        }
        self._here = False

    def in_place(self) -> list[Bind]:
        """Where there is no sandbox: everything is where it is."""
        self._here = True
        return []

    def staged(self, view: Path) -> list[Bind]:
        """The same laid out in the new folder ``view``, which comes first; models and base lie in empty folders of it.

        They are mounted and not copied, as they may be large.

        Raises:
            InputError: something that the track file names is missing, or is a link that leads out.
        """
        phase = view / self._place
        phase.mkdir(parents=True)
        shutil.copyfile(self._phase / TRACK_FILE, phase / TRACK_FILE)
        for task, output in self._track.outputs:
            copy = phase / output.inputs
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(input_file(self._phase, output), copy)
            validation = validation_folder(self._phase, task)
            if validation is not None and task.validation is not None and not (phase / task.validation).exists():
                (phase / task.validation).parent.mkdir(parents=True, exist_ok=True)
                copy_open(validation, phase / task.validation)
        binds = [Bind(view, _ROUND, links=True)]
        folders = {f"{self._place}/{model}": folder for model, folder in self._models.items()}
        if self._base is not None:
            folders["base"] = self._base
        for name, folder in folders.items():
            (view / name).mkdir(parents=True, exist_ok=True)
            binds.append(Bind(folder.resolve(), f"{_ROUND}/{name}", links=True))
        for path in (view, *view.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)  # the user in the sandbox is another one
        return binds

    def told(self, layout: Layout) -> Iterator[str]:
        """What the code is told, as assignments to environment variables."""
        if self._here:
            phase, base = str(self._phase.absolute()), None if self._base is None else str(self._base.absolute())
        else:
            shown = layout.binds[_ROUND]
            phase, base = str(shown / self._place), None if self._base is None else str(shown / "base")
        yield f"PALLADION_PHASE={phase}"
        if base is not None:
            yield f"PALLADION_BASE={base}"
        yield f"PALLADION_OUTPUTS={layout.binds[_OUTPUTS]}"
        yield f"PALLADION_SCRATCH={layout.scratch}"


def _check_sealed(phase: Path, sandbox: str, binds: Sequence[Bind], environment: Environment) -> None:
    """See that what is sealed beside a phase stays out of reach.

    Raises:
        InputError: it lies in something that is shown, or there is to be no sandbox.
        ExecutionError: the sandbox does not hold on this machine.
    """
    around = {phase.absolute().parent.parent, phase.resolve().parent.parent}
    sealed = [folder / "sealed" for folder in around if (folder / "sealed").exists()]
    if not sealed:
        return
    why = "the sealed answers of the round lie beside the phase"
    if sandbox == "none":
        raise InputError(f"{why}: the code needs a sandbox, and none was asked for; leave --sandbox away")
    refuse_unless_sealed(sandbox, why)
    interpreter = environment.interpreter()
    shown = {"the system's programs": Path("/usr"), "the folder of its Python": interpreter.base_prefix}
    shown |= {f"the packages of its Python in {path}": path for path, _ in interpreter.site_packages}
    shown |= {bind.name: bind.source for bind in binds}
    for place in sealed:
        check_apart(place, shown)
        for bind in binds:
            if bind.source.is_relative_to(place.resolve()):
                raise InputError(f"is sealed, but {TRACK_FILE} or --base names it; nobody may see it", path=bind.source)


def _run(
    contents: Contents, recipe: Recipe, limits: Limits, shown: _Shown, name: str, stop: Stop, *, show: bool
) -> Ended:
    """Run the code to its end; when this returns, nothing of it is alive."""
    if stop.asked:
        raise Stopped("stopped before the code was run")
    with closing(open_sandbox(name, contents, warm=False, slots=1, cpus=limits.cpus)) as sandbox:

        def end() -> None:
            if stop.at_once:
                sandbox.kill()

        try:
            with stop.calling(end):
                place = sandbox.prepare(None, limits)
                try:
                    layout = place.layout
                    command = [str(layout.python), *recipe.command[1:]]
                    if recipe.command[0] not in ("python", "python3"):
                        command[0] = recipe.command[0]
                    start = ["/bin/sh", "-c", _START, str(layout.binds[CODE]), *shown.told(layout), "--"]
                    return place.run(Program((*start, *command), show=show), limits)
                finally:
                    place.discard()
        except Cancelled:
            raise Stopped("stopped while the code ran") from None


def _collect(outputs: Path, made: Path, names: Sequence[str], most: int) -> dict[str, str]:
    """Copy what the code has left, following nothing: anybody may have put anything there.

    Args:
        outputs: the folder that it wrote to.
        made: an empty folder.
        names: of the files that count.
        most: bytes of all of them.

    Returns:
        What is wrong with those that were not copied.
    """
    faults: dict[str, str] = {}
    try:
        folder = os.open(outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return dict.fromkeys(names, f"cannot be read: the folder is not as it was ({error.strerror})")
    try:
        for name in names:
            try:
                # Opening does not wait for the other end of a pipe.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
                handle = os.open(name, flags, dir_fd=folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                faults[name] = f"is a link, or cannot be read ({error.strerror})"
                continue
            status = os.fstat(handle)
            if stat.S_ISREG(status.st_mode) and status.st_size <= most:
                most -= status.st_size
                with os.fdopen(handle, "rb") as file, (made / name).open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                continue
            os.close(handle)
            special = not stat.S_ISREG(status.st_mode)
            faults[name] = "is a folder or a special file" if special else "is larger than a submission may be"
    finally:
        os.close(folder)
    return faults
