"""Where attacks are run: a small round, traps on the host around it, and an honest submission beside them."""

import contextlib
import hashlib
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from palladion.errors import PalladionError
from palladion.execution import evaluation
from palladion.execution.environments import Environment, own_environment
from palladion.execution.evaluation import Options
from palladion.execution.outcome import Outcome
from palladion.execution.sandbox.contract import Contents, Ended, Layout, Limits, Prepared, Program, Sandbox
from palladion.execution.sandbox.opening import open_sandbox
from palladion.models import RoundDirectory
from palladion.submissions import DEFAULT_FAMILY, Submission
from tests.hostile.catalogue import NOTHING, PREAMBLE, Attack

__all__ = ["HONEST", "LIMITS", "Arena", "Bout", "Recorded"]

LIMITS = Limits(
    seconds=10.0, memory_bytes=256 << 20, processes=32, scratch_bytes=32 << 20, output_bytes=1 << 20, cpus=1
)
"""Of a data point; attacks that end by the clock bring a shorter time of their own."""

HONEST = """
# HONEST
import zlib
answer(zlib.crc32(open(MODEL + "/weights.bin", "rb").read()) / 2**32)
"""
"""A detector that answers something of each model that only the model's own bytes can tell."""

_FIRST_UID = 1879048192
_SETTINGS = [
    "kernel/core_pattern",
    "kernel/hostname",
    "kernel/domainname",
    "kernel/pid_max",
    "kernel/randomize_va_space",
    "kernel/panic",
    "kernel/sysrq",
    "kernel/shmmax",
    "vm/overcommit_memory",
    "vm/swappiness",
    "fs/file-max",
    "fs/protected_hardlinks",
    "user/max_user_namespaces",
    "net/ipv4/ip_forward",
    "kernel/msgmax",
]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one data point left in the sandbox: which it was, and how it ended."""

    data: str
    ended: Ended


@dataclass(frozen=True, slots=True)
class Bout:
    """What an attack got.

    Attributes:
        attack: the attack.
        mode: ``warm`` or ``cold``.
        outcomes: one a data point.
        recorded: what each said, in the order in which they ended.
        harm: what is not on the host as it was before.
        seconds: how long it took.
        honest_beside: what the honest submission's evaluations that ran at the same time answered.
    """

    attack: Attack
    mode: str
    outcomes: tuple[Outcome, ...]
    recorded: tuple[Recorded, ...]
    harm: tuple[str, ...]
    seconds: float
    honest_beside: tuple[tuple[float | None, ...], ...] = ()

    @property
    def got(self) -> tuple[str, ...]:
        """For each data point the error, or what the answer means."""
        return tuple(_meaning(outcome) for outcome in self.outcomes)

    @property
    def faults(self) -> list[str]:
        """Why the attack has succeeded; empty where it has not."""
        found = [
            f"{got} instead of {' or '.join(sorted(self.attack.must))}" for got in self.got if got not in self._may
        ]
        found += self.harm
        for recorded in self.recorded:
            found += [line for line in recorded.ended.stdout.splitlines() if line.startswith("LOOT")]
        if len(set(self._said("SETTINGS"))) > 1:
            found.append("a model found other settings than the first one")
        drawn = self._said("RANDOM")
        if len(set(drawn)) < len(drawn):
            found.append("two models drew the same random numbers")
        found += [f"message that cannot be printed: {o.message!a}" for o in self.outcomes if not _printable(o.message)]
        return found

    @property
    def _may(self) -> frozenset[str]:
        return self.attack.must

    def _said(self, word: str) -> list[str]:
        lines = [line for recorded in self.recorded for line in recorded.ended.stdout.splitlines()]
        return [line for line in lines if line.startswith(word)]


def _meaning(outcome: Outcome) -> str:
    if outcome.error is not None:
        return str(outcome.error.value)
    return NOTHING if outcome.probability == 0.5 else f"loot ({outcome.probability})"


def _printable(message: str | None) -> bool:
    return message is None or message.isprintable()


class Arena:
    """A round with traps around it. Everything that is kept or temporary lies below one folder.

    Args:
        folder: an empty folder that everybody may enter.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: Environment = own_environment()
        self.secret = f"sealed-truth-{secrets.token_hex(8)}"
        self.outside = folder / "outside"
        self.temporary = folder / "temporary"
        for path in (folder, self.outside, self.temporary):
            path.mkdir(exist_ok=True)
            path.chmod(0o777 if path is self.outside else 0o755)
        (self.outside / "number.txt").write_text("1.0")
        self._count = 0
        self._lock = threading.Lock()
        self._exit = contextlib.ExitStack()
        self.rounds = {size: self.build(size) for size in (2, 4)}

    def __enter__(self) -> "Arena":
        self._listening = [socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        self.abstract, self.socket = f"palladion-hostile-{secrets.token_hex(8)}", str(self.folder / "s")
        addresses: list[Any] = [("127.0.0.1", 0), "\0" + self.abstract, self.socket]
        for sock, address in zip(self._listening, addresses, strict=True):
            self._exit.callback(sock.close)
            sock.bind(address)
            sock.listen()
        self._exit.enter_context(
            mock.patch.dict(os.environ, XDG_CACHE_HOME=str(self.folder / "cache"), TMPDIR=str(self.temporary))
        )
        self._exit.enter_context(mock.patch.object(tempfile, "tempdir", None))
        self._exit.enter_context(mock.patch.object(evaluation, "open_sandbox", _OPENING))
        self.alone = self.honest()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def build(self, size: int, *, alike: bool = False) -> RoundDirectory:
        """A round of models of one size, every second one poisoned; all of the same bytes where they are alike."""
        root = self.folder / f"round-{size}{'-alike' if alike else ''}-{secrets.token_hex(2)}"
        for split in ("train", "test"):
            lines = ["model_name,poisoned,note"]
            for i in range(size):
                name = f"id-{i:08d}"
                model = root / split / "models" / name
                (model / "sealed").mkdir(parents=True)
                (model / "sealed" / "truth.csv").write_text(f"{self.secret},{i % 2}\n")
                examples = model / "open" / "clean-example-data"
                examples.mkdir(parents=True)
                (examples / "example_0.png").write_bytes(b"a picture")
                (model / "open" / "model").mkdir()
                (model / "open" / "model" / "config.json").write_text("{}")
                mark = "0" * 32 if alike else secrets.token_hex(16)
                data = b"CANARY-" + mark.encode() + hashlib.shake_128(mark.encode()).digest(5000)
                (model / "open" / "model" / "weights.bin").write_bytes(data)
                lines.append(f"{name},{i % 2 == 1},{self.secret}")
            (root / split / "METADATA.csv").write_text("\n".join(lines) + "\n")
        (root / "round.yaml").write_text("splits: {train: {}, test: {}}\n")
        return RoundDirectory.open(root)

    def submission(self, source: str, name: str = "attack") -> Submission:
        """A submission with this program."""
        with self._lock:
            self._count += 1
            folder = self.folder / f"{name}-{self._count}"
        (folder / "learned_parameters").mkdir(parents=True)
        (folder / "learned_parameters" / "nothing.txt").write_text("-")
        for file in ("metaparameters.json", "metaparameters_schema.json"):
            (folder / file).write_text("{}")
        (folder / "entrypoint.py").write_text(source)
        return Submission.load(folder)

    def program(self, attack: Attack) -> str:
        """The whole text of an attack, with all that it may know of this host."""
        return (
            "".join(f"{name} = {value!r}\n" for name, value in self._known(attack).items()) + PREAMBLE + attack.source
        )

    def _known(self, attack: Attack) -> dict[str, Any]:
        round_directory = self.rounds[attack.models]
        return {
            "ROUND": str(round_directory.path),
            "OUTSIDE": str(self.outside),
            "PORT": self._listening[0].getsockname()[1],
            "ABSTRACT": self.abstract,
            "SOCKET": self.socket,
            "IDS": [entry.name for entry in round_directory.split("test").models()],
            "SECRET": self.secret,
        }

    def evaluate(
        self,
        submission: Submission,
        round_directory: RoundDirectory,
        *,
        warm: bool = True,
        slots: int = 2,
        fresh: bool = True,
        **limits: Any,
    ) -> tuple[evaluation.Evaluation, list[Recorded], list[int]]:
        """An evaluation through the real thing; what each data point said, and the supervisors' process ids."""
        recorded: list[Recorded] = []
        supervisors: list[int] = []

        def opening(name: str, contents: Contents, *, warm: bool, slots: int, cpus: int) -> Sandbox:
            sandbox = open_sandbox(name, contents, warm=warm, slots=slots, cpus=cpus)
            supervisors.append(sandbox._process.pid)  # type: ignore[attr-defined]
            return _Recording(sandbox, recorded)

        options = Options(
            environment=self.environment, slots=slots, limits=replace(LIMITS, **limits), warm=warm, fresh=fresh
        )
        with _OPENING.using(opening):
            done = evaluation.evaluate(submission, round_directory, "test", DEFAULT_FAMILY, options)
        return done, recorded, supervisors

    def honest(self) -> tuple[float | None, ...]:
        """What the honest submission answers now."""
        if not hasattr(self, "_honest"):
            self._honest = self.submission(PREAMBLE + HONEST, "honest")
        done, _, _ = self.evaluate(self._honest, self.rounds[2])
        return tuple(outcome.probability for outcome in done.outcomes)

    def fight(self, attack: Attack, mode: str, *, beside: bool = True) -> Bout:
        """Run an attack, with the honest submission beside it, and look at the host after it."""
        submission = self.submission(self.program(attack))
        before = self._state()
        answers: list[tuple[float | None, ...]] = []
        failed: list[Exception] = []
        over = threading.Event()

        def others() -> None:
            while not over.is_set():
                try:
                    answers.append(self.honest())
                except PalladionError as error:
                    failed.append(error)
                    return

        thread = threading.Thread(target=others)
        if beside:
            thread.start()
        start = time.monotonic()
        outcomes: tuple[Outcome, ...] = ()
        recorded: list[Recorded] = []
        supervisors: list[int] = []
        harm: list[str] = []
        try:
            done, recorded, supervisors = self.evaluate(
                submission, self.rounds[attack.models], warm=mode == "warm", **attack.limits
            )
            outcomes = done.outcomes
        except PalladionError as error:  # no submission may end the evaluation of all models
            harm.append(f"the evaluation ended: {error}")
        finally:
            seconds = time.monotonic() - start
            over.set()
            if beside:
                thread.join()
        harm += [f"the honest submission beside it: {error}" for error in failed]
        harm += [f"the honest one answered {found}" for found in answers if found != self.alone]
        harm += self._remains(supervisors)
        after = self._state()
        harm += [
            f"{name}: {before.get(name)} became {after.get(name)}"
            for name in before | after
            if before.get(name) != after.get(name)
        ]
        return Bout(attack, mode, outcomes, tuple(recorded), tuple(harm), seconds, tuple(answers))

    def _state(self) -> dict[str, str]:
        """What of the host must stay as it is."""
        found = {}
        for path in sorted([*self.outside.rglob("*"), *(p for r in self.rounds.values() for p in r.path.rglob("*"))]):
            status = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
            found[str(path)] = f"{status.st_mode:o} {status.st_uid} {status.st_nlink} {status.st_mtime_ns} {content}"
        for name in _SETTINGS:
            with contextlib.suppress(OSError):
                found[name] = Path("/proc/sys", name).read_text()
        for line in (Path("/proc/sysvipc/shm"), Path("/proc/sysvipc/msg"), Path("/proc/sysvipc/sem")):
            with contextlib.suppress(OSError):
                found[str(line)] = str(len(line.read_text().splitlines()))
        return found

    def _remains(self, supervisors: Sequence[int]) -> list[str]:
        """What an evaluation that is over has left on the host; the kernel may take a moment to clear up."""
        end = time.monotonic() + 3.0
        while (found := self._left(supervisors)) and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def _left(self, supervisors: Sequence[int]) -> list[str]:
        found = []
        for pid in supervisors:
            found += [f"control group {path} is left" for path in Path("/sys/fs/cgroup").glob(f"*/palladion-{pid}-*")]
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and _owner(process) == _FIRST_UID + pid:
                    found.append(f"process {process.name} is left")
        found += [f"{path} is left" for path in self.temporary.iterdir() if not _held(path)]
        return found


def _owner(process: Path) -> int | None:
    """Whose a process is; None where it is dead and only waits to be reaped by the host's init."""
    try:
        state = (process / "stat").read_bytes().rpartition(b")")[2].split()[0]
        return None if state == b"Z" else process.stat().st_uid
    except (OSError, IndexError):
        return None


def _held(path: Path) -> bool:
    """Whether a workspace belongs to an evaluation that goes on, as the honest one's may."""
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return True  # it went away by itself
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


class _Opening(threading.local):
    """Lets each thread's evaluation record what it runs."""

    current: Any = staticmethod(open_sandbox)

    def __call__(self, *arguments: Any, **keywords: Any) -> Sandbox:
        sandbox: Sandbox = self.current(*arguments, **keywords)
        return sandbox

    @contextlib.contextmanager
    def using(self, opening: Any) -> Iterator[None]:
        self.current = opening
        try:
            yield
        finally:
            self.current = open_sandbox


_OPENING = _Opening()


class _Recording:
    """A sandbox that keeps what was said in it."""

    def __init__(self, sandbox: Sandbox, recorded: list[Recorded]) -> None:
        self._sandbox, self._recorded = sandbox, recorded
        self.name, self.isolates = sandbox.name, sandbox.isolates

    @property
    def warm(self) -> bool:
        return self._sandbox.warm

    @property
    def why_cold(self) -> str | None:
        return self._sandbox.why_cold

    def prepare(self, data: Path | None, limits: Limits) -> Prepared:
        return _RecordingPlace(self._sandbox.prepare(data, limits), str(data), self._recorded)

    def kill(self) -> None:
        self._sandbox.kill()

    def close(self) -> None:
        self._sandbox.close()


@dataclass
class _RecordingPlace:
    place: Prepared
    data: str
    recorded: list[Recorded]
    layout: Layout = field(init=False)

    def __post_init__(self) -> None:
        self.layout = self.place.layout

    def run(self, program: Program, limits: Limits) -> Ended:
        ended = self.place.run(program, limits)
        self.recorded.append(Recorded(self.data, ended))
        return ended

    def discard(self) -> None:
        self.place.discard()
