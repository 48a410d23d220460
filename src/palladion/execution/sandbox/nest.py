"""Inside the sandbox: make a nest for each data point, with only that data point in it, and run the submission there.

::

    supervisor ── bwrap ── this process (imports libraries once, holds no data)
                              └─ init  process 1 of the nest, in new namespaces: mounts the data, gives up everything
                                  └─ the submission, forked with the libraries loaded, or executed

It stands alone: it runs in whatever Python the submission's environment has (3.8 and newer), and imports nothing but
:mod:`kernel`, which lies beside it.

Everything arrives through one socket. A request is one packet of JSON with descriptors: the channel to the supervisor,
standard output and error, the roots of the file systems to mount. The nest is ready when its init says so on the
channel; the supervisor then puts it into its control group. When it is told what to run, the submission runs, and the
channel carries but one more message, how it ended. The submission itself has no descriptor of any of this.

This process must hold nothing worth stealing: what it knows, every submission inherits.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import json
import os
import resource
import runpy
import signal
import socket
import sys
import threading
import time
import traceback
import weakref

# As typing's, without the time that importing it takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

sys.path[:] = [path for path in sys.path if os.path.realpath(path) != os.path.dirname(os.path.abspath(__file__))]
sys.dont_write_bytecode = True


def _kernel() -> Any:
    # Loaded from beside this file, whose folder is no longer searched: a submission's modules come first there.
    from importlib.util import module_from_spec, spec_from_file_location

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernel.py")
    spec = spec_from_file_location("_palladion_kernel", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kernel = _kernel()

MAXIMUM_PACKET, MAXIMUM_DESCRIPTORS = 1 << 16, 32
UID = 1000
NAMESPACES = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)


def main() -> list[str] | None:
    """Serve requests until the socket closes; in a submission's process, return what is to be run."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nests are the supervisor's concern, not this one's
    packet = control.recv(MAXIMUM_PACKET)
    if not packet:
        return None
    preload = json.loads(packet)["preload"]
    report = _preload(preload)
    if preload:
        _make_forking_cheap()
    control.send(json.dumps(report).encode())
    while True:
        request, descriptors = _receive(control)
        if request is None:
            return None
        try:
            pid = kernel.clone(NAMESPACES)
        except OSError as error:
            _say(socket.socket(fileno=os.dup(descriptors[0])), {"failed": str(error)})
            pid = -1
        if pid == 0:
            control.close()
            return _nest(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _make_forking_cheap() -> None:
    # What was allocated up to here is not looked through for garbage again, so its pages stay shared.
    gc.collect()
    gc.freeze()
    # What libraries have to tidy up at the end is this process's, not that of each submission.
    for finalizer in getattr(weakref.finalize, "_registry", {}).values():
        finalizer.atexit = False
    kernel.collapse_memory()


def _preload(modules: list[str]) -> dict[str, Any]:
    """Import libraries; what the supervisor must know of this process afterwards."""
    failed = {}
    for module in modules:
        try:
            if importlib.util.find_spec(module.partition(".")[0]) is not None:
                importlib.import_module(module)
        except BaseException as error:  # a library may even call sys.exit
            failed[module] = "%s: %s" % (type(error).__name__, error)
    shared = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            # Memory that is written to and shared would be one note book for all submissions that run here.
            if line.split()[1].startswith("rw") and line.split()[1].endswith("s"):
                shared.append(line.split()[-1])
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "shared": shared,
        "failed": failed,
        "loaded": [name for name in modules if name in sys.modules],
    }


def _receive(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    data, ancillary, _, _ = control.recvmsg(MAXIMUM_PACKET, socket.CMSG_SPACE(4 * MAXIMUM_DESCRIPTORS))
    descriptors = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            usable = len(content) - len(content) % 4
            descriptors += [int.from_bytes(content[i : i + 4], sys.byteorder) for i in range(0, usable, 4)]
    if not data:
        return None, []
    return json.loads(data), descriptors


def _nest(request: dict[str, Any], descriptors: list[int]) -> list[str]:
    """In the nest's init: set it up, and fork the submission when told to."""
    channel = socket.socket(fileno=descriptors[0])
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kernel.map_own_ids(UID, UID, UID, UID)
        _furnish(request, descriptors)
        _say(channel, {"ready": True})
        packet = channel.recv(MAXIMUM_PACKET)
        if not packet:
            os._exit(1)
        order = json.loads(packet)
        # Only now: the root of this namespace is the control group that the supervisor has put us into.
        kernel.unshare(kernel.CLONE_NEWCGROUP)
        kernel.set_dumpable(False)
        kernel.prevent_core_dumps()
        kernel.drop_capabilities()
        kernel.filter_system_calls(bytes.fromhex(request["filter"]))
        started = time.monotonic()
        pid = os.fork()
    except BaseException as error:
        _say(channel, {"failed": "%s: %s" % (type(error).__name__, error)})
        os._exit(1)
    if pid:
        _keep_house(channel, pid, started)
    return _become(order, descriptors)


def _furnish(request: dict[str, Any], descriptors: list[int]) -> None:
    """In the nest's init, still with all rights in here: mount what belongs to this data point."""
    os.setsid()
    nowhere = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc", nowhere | kernel.MS_NOEXEC)
    for descriptor, target in zip(descriptors[3:], request["mounts"]):
        kernel.attach(descriptor, target)
    for source, target in request["binds"]:
        kernel.mount(source, target, None, kernel.MS_BIND)
    # Device files are the machine's own: for writing to them no more is needed than for setting their times.
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID
        kernel.mount("none", "/dev/" + name, None, flags)
    # Terminals would be in sight of all nests, and are counted for the whole machine.
    kernel.mount("none", "/dev/pts", "tmpfs", nowhere | kernel.MS_NOEXEC | kernel.MS_RDONLY, "size=4k")
    # No user namespaces below this one, whatever the filter lets through.
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")
    kernel.mount("/proc/sys", "/proc/sys", None, kernel.MS_BIND)
    kernel.mount("none", "/proc/sys", None, kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | nowhere)


def _keep_house(channel: socket.socket, pid: int, started: float) -> NoReturn:
    """In the nest's init: reap what is left behind, and say how the submission ended. Its death ends all others."""
    kernel.close_all_but((channel.fileno(),))
    while True:
        found, status, usage = os.wait4(-1, 0)
        if found == pid:
            break
    seconds = time.monotonic() - started
    try:
        os.waitpid(-1, os.WNOHANG)
        alone = False
    except ChildProcessError:
        alone = True  # whatever loses its parent becomes this one's child, so nothing else is alive
    _say(
        channel,
        {
            "status": status,
            "alone": alone,
            "seconds": seconds,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_memory_bytes": usage.ru_maxrss * 1024,
        },
    )
    os._exit(0)


def _become(order: dict[str, Any], descriptors: list[int]) -> list[str]:
    """In the submission's process: keep nothing but standard input, output and error."""
    try:
        kernel.set_dumpable(True)
        os.setsid()
        out, err = descriptors[1:3]
        nothing = os.open(os.devnull, os.O_RDWR)
        for number, descriptor in enumerate((nothing, out, err)):
            os.dup2(descriptor, number)
        kernel.close_all_but((0, 1, 2))
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for name, value in order["limits"].items():
            number = getattr(resource, name)
            # Not above what holds already.
            hard = resource.getrlimit(number)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (value, value))
        os.chdir(order["directory"])
        os.umask(0o022)
        if order["warm"]:
            os.environ.clear()
            os.environ.update(order["environment"])
            argv: list[str] = order["argv"]
            return argv
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execve(order["argv"][0], order["argv"], order["environment"])
    except BaseException as error:
        os.write(2, ("%s: %s\n" % (order["argv"][0], error)).encode(errors="replace"))
    os._exit(127)


def _say(channel: socket.socket, message: dict[str, Any]) -> None:
    try:
        channel.send(json.dumps(message).encode())
    except OSError:
        pass  # the supervisor has given up on this one


def run(argv: list[str]) -> int:
    """Do what ``python`` does with these arguments: ``python [-P] (-m module | script) argument…``; the exit code."""
    words = list(argv[1:])
    safe_path = words[0] == "-P"
    if safe_path:
        del words[0]
    module = words[0] == "-m"
    if module:
        del words[0]
    name = words[0]
    sys.argv[:] = words
    _as_fresh()
    try:
        if module:
            if not safe_path:
                sys.path.insert(0, os.getcwd())
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            if not safe_path:
                sys.path.insert(0, os.path.dirname(os.path.realpath(name)))
            runpy.run_path(name, run_name="__main__")
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        kind, error, trace = sys.exc_info()
        # Without the frames of this file and of runpy: what is shown is what `python` would show.
        while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
            trace = trace.tb_next
        traceback.print_exception(kind, error, trace)
        return 1
    return 0


def _as_fresh() -> None:
    """What a new interpreter would have anew: a state of NumPy's random numbers (`random` sees to its own)."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def finish(code: int) -> NoReturn:
    """End as the interpreter does, without taking apart what is loaded: that takes longer than many a submission."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            code = code or 120  # as the interpreter does
    os._exit(code & 0xFF)


if __name__ == "__main__":
    job = main()
    if job is not None:
        finish(run(job))
