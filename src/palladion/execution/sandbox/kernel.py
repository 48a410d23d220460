"""The calls of the Linux kernel that Python has no function for.

Runs inside the sandbox as well, in whatever Python the submission's environment has: 3.8 and newer, standard library
only. See the manual pages of the functions named; the numbers of system calls are the same on all architectures.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
import time

# As typing's, without the time that importing it takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18

MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 1, 6
_MADV_COLLAPSE, _LARGE_PAGE = 25, 2 << 20
_SECONDS_TO_SETTLE = 5.0

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(number: int, *arguments: int | bytes | None) -> int:
    # Variadic: an int must be passed in the width of a register.
    passed = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *passed))


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def clone(flags: int) -> int:
    """Fork into new namespaces: 0 in the new process, whose only thread this is, and its id in this one.

    Nothing that Python does around its own fork is done; it must be the process's only thread, and the new one should
    do no more than set up and fork in Python's way. Raises OSError.
    """
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    return _check(_call(number, flags | signal.SIGCHLD, 0, 0, 0, 0), "clone")


def map_own_ids(inside_uid: int, inside_gid: int, outside_uid: int, outside_gid: int) -> None:
    """In a new user namespace: make it known by one user and one group. Raises OSError."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside_uid} {outside_uid} 1"),
        ("gid_map", f"{inside_gid} {outside_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """A mount made or changed, see its manual page. Raises OSError."""
    _check(
        _libc.mount(
            source.encode(),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            None if options is None else options.encode(),
        ),
        f"mount {target}",
    )


def new_tmpfs(**options: str) -> int:
    """A file system in memory that is mounted nowhere: a descriptor of its root. Raises OSError."""
    context = _check(_call(_FSOPEN, b"tmpfs", _FSOPEN_CLOEXEC), "fsopen")
    try:
        for key, value in options.items():
            _check(_call(_FSCONFIG, context, _FSCONFIG_SET_STRING, key.encode(), value.encode(), 0), f"fsconfig {key}")
        _check(_call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig")
        attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
        return _check(_call(_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes), "fsmount")
    finally:
        os.close(context)


def open_tree(path: str) -> int:
    """A copy of the mount at ``path`` that is mounted nowhere: a descriptor of its root. Raises OSError."""
    flags = _OPEN_TREE_CLONE | _CLOEXEC
    return _check(_call(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags), f"open_tree {path}")


def make_read_only(descriptor: int) -> None:
    """Make the mount that a descriptor is the root of read-only.

    Another thread's child may hold a file in it that was open for writing, from its fork to its exec; so this tries
    for some seconds. Raises OSError.
    """
    # struct mount_attr: what to set, what to clear, propagation, user namespace
    wanted = struct.pack("=QQQQ", MOUNT_ATTR_RDONLY, 0, 0, 0)
    end = time.monotonic() + _SECONDS_TO_SETTLE
    while True:
        try:
            _check(_call(_MOUNT_SETATTR, descriptor, b"", _AT_EMPTY_PATH, wanted, len(wanted)), "mount_setattr")
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise
            time.sleep(0.001)


def attach(descriptor: int, target: str) -> None:
    """Mount what a descriptor of :func:`new_tmpfs` or :func:`open_tree` is the root of. Raises OSError."""
    _check(
        _call(_MOVE_MOUNT, descriptor, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH),
        f"move_mount {target}",
    )


def drop_capabilities() -> None:
    """Give up all capabilities, for good. Raises OSError."""
    number = 0
    while _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    header, data = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, data), "capset")
    no_new_privileges()


def no_new_privileges() -> None:
    """No program that is started from here on gains anything by its file's permissions. Raises OSError."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def filter_system_calls(program: bytes) -> None:
    """Filter this process's system calls, and those of all that it starts. Raises OSError."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    buffer = ctypes.create_string_buffer(program, len(program))
    wanted = Program(len(program) // 8, ctypes.addressof(buffer))
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0), "seccomp")


def prevent_core_dumps() -> None:
    """Have no core dumps of this process and those that it starts, neither in files nor piped into a program.

    The limit is 1 and not 0: with 0, Linux still starts a program that ``kernel.core_pattern`` pipes into. See core(5).
    """
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    core = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (core, core))


def set_dumpable(wanted: bool) -> None:
    """Whether processes of the same user may look into this one. Raises OSError."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, int(wanted), 0, 0, 0), "prctl")


def die_with_parent(number: int) -> None:
    """Get a signal when the thread that started this process ends. Raises OSError."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def reap_orphans() -> None:
    """Become the parent of what descendants leave behind. Raises OSError."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def collapse_memory() -> None:
    """Put this process's own memory into large pages, as far as the kernel can: a fork copies one entry for each page.

    See MADV_COLLAPSE in madvise(2), since Linux 6.1; does nothing where it is not known.
    """
    _libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    with open("/proc/self/maps") as file:
        lines = file.readlines()
    for line in lines:
        span, rights, _, _, _, *name = line.split()
        if rights == "rw-p" and name in ([], ["[heap]"]):
            start, end = (int(address, 16) for address in span.split("-"))
            start, end = -(-start // _LARGE_PAGE) * _LARGE_PAGE, end // _LARGE_PAGE * _LARGE_PAGE
            if end > start:
                _libc.madvise(start, end - start, _MADV_COLLAPSE)


def close_all_but(keep: Sequence[int]) -> None:
    """Close every descriptor that is not named."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number not in keep:
            try:
                os.close(number)
            except OSError:
                pass  # the one that the folder was read by
