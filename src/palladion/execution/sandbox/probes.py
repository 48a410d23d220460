"""Try out on this machine what a sandbox promises. `palladion doctor` shows the results; sealed splits depend on them.

Every probe runs a small program in the sandbox, as a submission would be run, and looks at what it got. The same probes
are the conformance tests of the back ends.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import palladion
from palladion.errors import ExecutionError, InputError, PalladionError
from palladion.execution.interpreter import own
from palladion.execution.journal import cache_directory, key
from palladion.execution.sandbox.contract import Bind, Contents, Ended, Limit, Limits, Program, Sandbox
from palladion.execution.sandbox.opening import open_sandbox
from palladion.files import write_atomically

__all__ = ["PROBES", "Finding", "Probe", "examine", "refuse_unless_sealed"]

_LIMITS = Limits(
    seconds=20.0, memory_bytes=512 << 20, processes=40, scratch_bytes=64 << 20, output_bytes=1 << 20, cpus=1
)
_SECONDS_A_RESULT_HOLDS = 24 * 3600
_NAMESPACES = (
    "allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1, "
    "user.max_user_namespaces=10000, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0"
)
_GROUPS = (
    "make control groups writable: run as root, or name a delegated group in PALLADION_CGROUP "
    "(systemd-run --user --scope -p Delegate=yes)"
)
_REPORT = "this is a fault of Palladion or of this kernel: do not run what you do not trust, and report it"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe has found.

    Attributes:
        name: of the probe.
        title: what is promised.
        held: whether it holds.
        detail: what was seen.
        advice: what to install or set where it does not hold.
    """

    name: str
    title: str
    held: bool
    detail: str
    advice: str


@dataclass(frozen=True, slots=True)
class Probe:
    """One promise, and how to try it out.

    Attributes:
        name: a short name.
        title: the promise.
        code: the program that is run.
        judge: what is wrong, from how it ended and from what it printed as JSON; empty where nothing is.
        advice: what to do where the promise does not hold.
        limits: that it runs under.
    """

    name: str
    title: str
    code: str
    judge: Callable[[Ended, Any], str]
    advice: str = _REPORT
    limits: Limits = _LIMITS


def _limit(expected: Limit) -> Callable[[Ended, Any], str]:
    def judge(ended: Ended, _: Any) -> str:
        if ended.limit is expected:
            return ""
        how = f"limit {ended.limit}" if ended.limit else f"exit code {ended.exit_code}, signal {ended.signal}"
        return f"it ended with {how} after {ended.seconds:.1f} s"

    return judge


def _all_refused(_: Ended, said: Any) -> str:
    return ", ".join(f"{what}: {result}" for what, result in said.items() if result != "refused")


def _clean_mounts(_: Ended, said: Any) -> str:
    told = said["mountinfo"] + said["cmdline"] + said["environ"]
    here = [str(Path.cwd()), str(Path.home()), tempfile.gettempdir(), str(Path(palladion.__file__).parent)]
    here += [str(own().base_prefix), os.uname().nodename]
    return ", ".join(f"it reads {place}" for place in here if len(place) > 5 and place not in _SYSTEM and place in told)


# Folders that the sandbox has as well, or names that stand in others.
_SYSTEM = ("/", "/tmp", "/usr", "/usr/local", "localhost")  # noqa: S108

_TRY = """
import ctypes, errno, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
results = {}
def attempt(what, action):
    try:
        result = action()
        results[what] = "refused" if isinstance(result, int) and result < 0 else "done"
    except OSError:
        results[what] = "refused"
"""

PROBES: tuple[Probe, ...] = (
    Probe(
        "starts",
        "a program runs in the sandbox, with Python and its own folder",
        "import json, os; print(json.dumps({'data': sorted(os.listdir(DATA)), 'uid': os.getuid()}))",
        lambda _, said: "" if said["data"] == ["a"] and said["uid"] != 0 else f"it sees {said}",
        _NAMESPACES,
    ),
    Probe(
        "rights",
        "no capabilities, no new privileges, a filter of system calls, no user namespace of its own",
        _TRY
        + """
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    results[name] = "refused" if int(status[name], 16) == 0 else status[name].strip()
results["privileges"] = "refused" if status["NoNewPrivs"].strip() == "1" else "can be gained"
results["system calls"] = "refused" if status["Seccomp"].strip() == "2" else "are not filtered"
attempt("user namespace", lambda: libc.unshare(0x10000000))
attempt("mount namespace", lambda: libc.unshare(0x00020000))
attempt("mount", lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
attempt("ptrace of process 1", lambda: libc.ptrace(16, 1, 0, 0))
attempt("memory of process 1", lambda: os.open("/proc/1/mem", os.O_RDWR))
attempt("signal to process 1", lambda: (os.kill(1, 9), os.kill(1, 0), -1)[2])
print(json.dumps(results))
""",
        _all_refused,
    ),
    Probe(
        "network",
        "no network, and no socket of this machine",
        _TRY
        + """
def connect(family, address):
    def action():
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(2)
            s.connect(address)
    return action
attempt("connection to 1.1.1.1", connect(socket.AF_INET, ("1.1.1.1", 53)))
attempt("connection to ::1", connect(socket.AF_INET6, ("::1", 80)))
attempt("connection to this machine", connect(socket.AF_INET, ("127.0.0.1", PORT)))
attempt("abstract socket of this machine", connect(socket.AF_UNIX, chr(0) + ABSTRACT))
attempt("packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("name look-up", lambda: socket.getaddrinfo("example.org", 80))
interfaces = [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line]
results["interfaces"] = "refused" if set(interfaces) <= {"lo"} else str(interfaces)
print(json.dumps(results))
""",
        _all_refused,
    ),
    Probe(
        "paths",
        "no path of this machine in mounts, arguments or environment",
        "import json, os; r = lambda p: open(p, errors='replace').read();"
        "print(json.dumps({'mountinfo': r('/proc/self/mountinfo'), 'cmdline': r('/proc/1/cmdline'),"
        "'environ': str(dict(os.environ)) + os.uname().nodename}))",
        _clean_mounts,
    ),
    Probe(
        "processes",
        "no process of this machine in sight",
        "import json, os; print(json.dumps([p for p in os.listdir('/proc') if p.isdigit()]))",
        lambda _, said: "" if len(said) <= 3 else f"it sees {len(said)} processes",
    ),
    Probe(
        "descriptors",
        "no descriptor but standard input, output and error",
        "import json, os; print(json.dumps([n for n in os.listdir('/proc/self/fd')]))",
        # The fourth is the folder that is being read.
        lambda _, said: "" if len(said) <= 4 else f"it has {len(said)} descriptors",
    ),
    Probe(
        "writing",
        "nothing can be written but scratch, temporary and shared memory",
        _TRY
        + """
for folder in ("/", "/usr", "/etc", "/opt", "/proc/sys/kernel", "/dev", DATA, SUBMISSION, os.path.dirname(os.__file__)):
    attempt(folder, lambda: os.close(os.open(os.path.join(folder, "x"), os.O_CREAT | os.O_WRONLY)))
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches", "/etc/passwd",
             os.path.join(DATA, "a"), os.path.join(SUBMISSION, "b")):
    attempt(path, lambda: os.close(os.open(path, os.O_WRONLY)))
attempt("chmod of the data", lambda: os.chmod(os.path.join(DATA, "a"), 0o666))
print(json.dumps(results))
""",
        _all_refused,
    ),
    Probe(
        "traces",
        "a copy tells neither when nor where the original was made",
        "import json, os; s = [os.stat(os.path.join(DATA, n)) for n in ('', 'a')];"
        "print(json.dumps({'times': [x.st_mtime for x in s], 'numbers': [x.st_ino for x in s]}))",
        lambda _, said: "" if set(said["times"]) == {0} and max(said["numbers"]) < 100 else f"it sees {said}",
    ),
    Probe(
        "leftovers",
        "nothing of one data point is there for the next",
        """
import json, os
marks = ["/tmp/mark", "/dev/shm/mark", "/box/mark", "/box/scratch/mark"]
found = [m for m in marks if os.path.exists(m)]
for m in marks:
    try:
        open(m, "w").close()
    except OSError:
        pass
print(json.dumps(found))
""",
        lambda _, said: ", ".join(said),
    ),
    Probe(
        "time",
        "at its time limit all that it started dies, whatever that does about it",
        """
import os, signal, sys, time
for n in range(5):
    if os.fork() == 0:
        os.setsid()
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        if os.fork() == 0:
            os.close(1); os.close(2)
        while True:
            time.sleep(1)
time.sleep(60)
""",
        _limit(Limit.TIME),
        limits=replace(_LIMITS, seconds=0.4),
    ),
    Probe(
        "fork-bomb",
        "a fork bomb is stopped",
        "import os\nwhile True:\n  try:\n    os.fork()\n  except OSError:\n    pass",
        _limit(Limit.PROCESSES),
        _GROUPS,
    ),
    Probe(
        "memory",
        "memory is limited, also over several processes",
        "import os\nos.fork()\nhoard = []\nwhile True:\n  hoard.append(bytearray(os.urandom(1 << 16) * 64))",
        _limit(Limit.MEMORY),
        _GROUPS,
    ),
    Probe(
        "scratch",
        "scratch space is limited",
        "import os\nwith open('/tmp/f', 'wb', 0) as a, open('g', 'wb', 0) as b:\n"
        "  while True:\n    a.write(bytes(1 << 20)); b.write(bytes(1 << 20))",
        lambda ended, _: "" if ended.limit is Limit.SCRATCH or b"No space" in ended.stderr.encode() else "no limit",
    ),
    Probe(
        "output",
        "a flood of output is stopped",
        "while True:\n  print('x' * 10000)",
        _limit(Limit.OUTPUT),
    ),
)
_PRINTS = frozenset(
    {"starts", "rights", "network", "paths", "processes", "descriptors", "writing", "traces", "leftovers"}
)


def examine(name: str, probes: Sequence[Probe] = PROBES) -> list[Finding]:
    """Try out a back end's promises on this machine.

    Args:
        name: of the back end.
        probes: which of them.

    Raises:
        InputError: there is no such back end, or it promises nothing.
    """
    if name == "none":
        raise InputError("the sandbox none promises nothing, so there is nothing to examine")
    with _Traps() as traps:
        submission = traps.folder / "submission"
        submission.mkdir()
        (submission / "b").touch()
        (traps.folder / "data").mkdir()
        (traps.folder / "data" / "a").touch()
        contents = Contents(own(), (Bind(submission, "submission"),))
        try:
            sandbox = open_sandbox(name, contents, warm=False, slots=1, cpus=1)
        except InputError:
            raise
        except PalladionError as error:
            first = probes[0]
            return [Finding(first.name, first.title, False, str(error), first.advice)]
        with closing(sandbox):
            return [_try(sandbox, probe, traps) for probe in probes]


def refuse_unless_sealed(name: str, why: str) -> None:
    """See that a sandbox keeps sealed data sealed on this machine.

    The probes take seconds, so what they found holds for a day, until the machine is started anew.

    Raises:
        ExecutionError: it does not, or is none; the message says what failed and what to do.
    """
    if name == "none":
        raise ExecutionError(
            f"{why}: it needs a sandbox, and none was asked for; leave --sandbox away, or use --split train"
        )
    kept = cache_directory() / "doctor" / f"{key(name, palladion.__version__, _boot(), os.geteuid(), _sources())}.json"
    try:
        if time.time() - kept.stat().st_mtime < _SECONDS_A_RESULT_HOLDS and json.loads(kept.read_text()) == "held":
            return
    except (OSError, ValueError):
        pass
    failed = [finding for finding in examine(name) if not finding.held]
    if failed:
        first = failed[0]
        raise ExecutionError(
            f"{why}, and on this machine the sandbox does not hold: {first.title} ({first.detail}). What to do: "
            f"{first.advice}. palladion doctor --sandbox {name} shows all"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps("held"))


class _Traps:
    """A folder, and sockets of this machine that nobody in the sandbox may reach."""

    def __enter__(self) -> "_Traps":
        import socket

        self._directory = tempfile.TemporaryDirectory(prefix="palladion-doctor-")
        self.folder = Path(self._directory.name)
        self.abstract = f"palladion-{os.getpid()}-{time.time_ns()}"
        self._sockets = [socket.socket(), socket.socket(socket.AF_UNIX)]
        self._sockets[0].bind(("127.0.0.1", 0))
        self._sockets[1].bind("\0" + self.abstract)
        for sock in self._sockets:
            sock.listen()
        self.port = self._sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()
        self._directory.cleanup()


def _try(sandbox: Sandbox, probe: Probe, traps: _Traps) -> Finding:
    said: Any = None
    try:
        # Twice where something may be left behind.
        for _ in range(2 if probe.name == "leftovers" else 1):
            ended = _run(sandbox, probe, traps)
        if probe.name in _PRINTS:
            if ended.exit_code != 0:
                raise ExecutionError(ended.stderr.strip()[-300:] or f"it ended with {ended.limit or ended.signal}")
            said = json.loads(ended.stdout)
        detail = probe.judge(ended, said)
    except (PalladionError, ValueError, KeyError, TypeError) as error:
        detail = str(error) or type(error).__name__
    return Finding(probe.name, probe.title, not detail, detail, "" if not detail else probe.advice)


def _run(sandbox: Sandbox, probe: Probe, traps: _Traps) -> Ended:
    place = sandbox.prepare(traps.folder / "data", probe.limits)
    try:
        layout = place.layout
        names = {
            "DATA": str(layout.data),
            "SUBMISSION": str(layout.binds["submission"]),
            "PORT": traps.port,
            "ABSTRACT": traps.abstract,
        }
        code = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + probe.code
        return place.run(Program((str(layout.python), "-c", code)), probe.limits)
    finally:
        place.discard()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _sources() -> str:
    """A name for the code of the sandbox: other code, other findings."""
    folder = Path(__file__).parent
    return key(*(path.read_text() for path in sorted(folder.glob("*.py"))))
