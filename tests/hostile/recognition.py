"""Measure everything around a model that could tell which one it is, and find what does."""

import json
from collections.abc import Collection, Mapping, Sequence

__all__ = ["FEATURES", "leaks"]

FEATURES = r"""
import json
features = {"argv": sys.argv, "environ": sorted(os.environ.items()), "cwd": os.getcwd(), "path": sys.path}
features["names"] = {k: str(v) for k, v in vars(options).items()}
for name in ("mountinfo", "mounts", "cgroup", "status", "limits", "uid_map", "gid_map", "setgroups", "maps", "stat",
             "cmdline", "io", "auxv", "sched", "timens_offsets", "oom_score", "loginuid", "sessionid", "wchan"):
    features["self/" + name] = read("/proc/self/" + name).decode(errors="replace")[:20000]
for name in ("stat", "status", "cmdline", "cgroup", "mountinfo", "sched"):
    features["init/" + name] = read("/proc/1/" + name).decode(errors="replace")[:20000]
for name in ("uptime", "loadavg", "meminfo", "stat", "locks", "net/unix", "keys", "sys/fs/inode-nr", "sys/fs/file-nr",
             "sys/kernel/ns_last_pid", "sysvipc/shm", "vmstat", "diskstats", "buddyinfo"):
    features["proc/" + name] = read("/proc/" + name).decode(errors="replace")[:4000]
for name in os.listdir("/proc/self/ns"):
    features["ns/" + name] = os.readlink("/proc/self/ns/" + name)
buffer = ctypes.create_string_buffer(256)
for top in (DATA, SCRATCH, os.path.dirname(RESULT), "/tmp", "/dev/shm", "/", "/submission", "/dev", "/dev/pts"):
    paths = [top]
    if top == DATA:
        for root, folders, files in os.walk(top):
            features[f"order {root}"] = os.listdir(root)
            paths += [os.path.join(root, n) for n in folders + files]
    for path in paths:
        if not os.path.exists(path):
            continue
        status = os.stat(path)
        for key in ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize",
                    "st_atime_ns", "st_mtime_ns", "st_ctime_ns"):
            features[f"{key} {path}"] = getattr(status, key)
        if libc.statx(-100, path.encode(), 0, 0x3fff, buffer) == 0:
            features[f"statx {path}"] = buffer.raw.hex()
            features[f"btime {path}"] = struct.unpack_from("<qI", buffer.raw, 80)
        volume = os.statvfs(path)
        features[f"volume {path}"] = list(volume)
        features[f"volume id {path}"] = volume.f_fsid
        features[f"attributes {path}"] = tried(os.listxattr, path)
features["descriptors"] = sorted(os.readlink("/proc/self/fd/" + n) for n in "012")
features["pid"], features["ppid"], features["ids"] = os.getpid(), os.getppid(), [os.getresuid(), os.getresgid()]
features["uname"], features["affinity"] = list(os.uname()), sorted(os.sched_getaffinity(0))
features["clocks"] = [time.clock_gettime_ns(n) for n in (0, 1, 4, 7)]
features["stack"], features["random"] = id(features), os.urandom(4).hex()
# How far apart the copies of the files were made: the order and the pace of copying.
times = [os.stat(os.path.join(r, n)).st_ctime_ns for r, _, fs in os.walk(DATA) for n in fs]
features["pace"] = [t - min(times) for t in sorted(times)]
# Only the last of what is printed is kept: a long text is told by its digest, and by the words that it must not hold.
import zlib
def short(value):
    text = json.dumps(value, sort_keys=True)
    return value if len(text) < 40 else [zlib.crc32(text.encode()), [w for w in WORDS if w in text]]
text = json.dumps({name: short(value) for name, value in features.items()}, separators=(",", ":"))
print("FEATURES" + text)
answer("0.5")
"""
"""A submission that prints all that it can measure, without reading the model itself. WORDS must stand before it."""


def leaks(runs: Sequence[Mapping[str, str]], *, poisoned: Collection[str], forbidden: Sequence[str]) -> list[str]:
    """Features that tell models apart, though all models are alike.

    A feature may differ from run to run, as times do. It tells models apart where it is always the same for each of
    them but not the same for all, or where one number lies on different sides of a line for poisoned and clean.

    Args:
        runs: for each run over the same models in another order, what each model's submission printed.
        poisoned: the models that are.
        forbidden: words that may be nowhere.
    """
    parsed = [{name: _features(text) for name, text in run.items()} for run in runs]
    found = []
    for name in sorted({key for run in parsed for features in run.values() for key in features}):
        values = {model: [run[model].get(name) for run in parsed] for model in parsed[0]}
        texts = {model: [json.dumps(value, sort_keys=True) for value in each] for model, each in values.items()}
        steady = all(len(set(each)) == 1 for each in texts.values())
        if steady and len({each[0] for each in texts.values()}) > 1:
            found.append(f"{name} differs between models, and always in the same way")
        numbers = {model: [_number(value) for value in each] for model, each in values.items()}
        high = [n for model, each in numbers.items() if model in poisoned for n in each]
        low = [n for model, each in numbers.items() if model not in poisoned for n in each]
        if None not in high + low and high and low:
            a, b = [n for n in high if n is not None], [n for n in low if n is not None]
            if min(a) > max(b) or min(b) > max(a):
                found.append(f"{name} separates poisoned from clean")
        said = "".join(text for each in texts.values() for text in each)
        found += [f"{name} names {word}" for word in forbidden if word in said]
    return found


def _features(text: str) -> dict[str, object]:
    line = next(line for line in text.splitlines() if line.startswith("FEATURES"))
    features: dict[str, object] = json.loads(line.removeprefix("FEATURES"))
    return features


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
