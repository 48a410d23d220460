"""The filter of system calls under which submissions run, as a program for seccomp(2).

Namespaces and missing capabilities keep a submission in; the filter takes away what the kernel offers beyond what
Python and its libraries need, where most of the kernel's own faults are found: mounts, namespaces, tracing, keys, BPF,
io_uring, sockets other than Unix ones. What came into the kernel after this list was made does not exist for a
submission (ENOSYS), so that libraries fall back to what they used before.
"""

import errno
import platform
import struct
from collections.abc import Sequence

from palladion.errors import ExecutionError

__all__ = ["system_call_filter"]

# Architecture (linux/audit.h), and the column of the tables below.
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_LAST_KNOWN = 450
_X32 = 0x40000000

# name: number on x86_64, on aarch64; None where there is none
_REFUSED: dict[str, tuple[int | None, int]] = {
    # looking into and changing other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # keys belong to a user, not to a namespace: they would outlive the data point
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # large parts of the kernel that no detector needs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "memfd_secret": (447, 447),
    "vmsplice": (278, 75),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # what is shared with other data points of this submission: who reads which library when
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "mincore": (27, 232),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "clock_settime": (227, 112),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
}
_REFUSED_ON_X86_64 = {
    "inotify_init": 253,
    "iopl": 172,
    "ioperm": 173,
    "modify_ldt": 154,
    "uselib": 134,
    "ustat": 136,
    "sysfs": 139,
    "_sysctl": 156,
    "create_module": 174,
    "get_kernel_syms": 177,
    "query_module": 178,
}
# These do not exist, so that a C library takes its other way.
_ABSENT = {
    "clone3": (435, 435),  # its flags lie in memory, where a filter cannot look
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
# Memory that no process has mapped: only a control group counts it.
_UNCOUNTED = {"memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190)}
_CLONE, _SOCKET, _IOCTL, _PERSONALITY = (56, 220), (41, 198), (16, 29), (135, 92)
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that clone takes
_AF_UNIX = 1
_SOCKETPAIR, _FCNTL, _PREADV2, _FADVISE = (53, 199), (72, 25), (327, 286), (221, 223)
_SETRLIMIT, _PRLIMIT = (160, 164), (302, 261)
_TERMINAL_ORDERS = (0x5412, 0x541C, 0x5423)  # TIOCSTI, TIOCLINUX, TIOCSETD: to type into it, to load its modules
_F_NOTIFY, _RWF_NOWAIT, _FADV_DONTNEED, _RLIMIT_CORE = 0x402, 8, 4, 4
_ASK_PERSONALITY = 0xFFFFFFFF

_LOAD, _EQUAL, _GREATER_OR_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_FIRST, _SECOND, _THIRD, _FOURTH, _SIXTH = 16, 24, 32, 40, 56  # of the arguments' low words; the high ones follow
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000


def system_call_filter(*, machine: str | None = None, counted: bool = True) -> bytes:
    """The filter, as an array of ``struct sock_filter``.

    Args:
        machine: ``x86_64`` or ``aarch64``; this machine's by default.
        counted: a control group counts all memory of the submission. Else what nothing else would count is refused.

    Raises:
        ExecutionError: there is no filter for this architecture.
    """
    machine = platform.machine() if machine is None else machine
    if machine not in _ARCHITECTURES:
        known = " and ".join(_ARCHITECTURES)
        raise ExecutionError(f"the sandbox knows the system calls of {known}, not those of {machine}")
    architecture, column = _ARCHITECTURES[machine]
    refused = [numbers[column] for numbers in _REFUSED.values()]
    if column == 0:
        refused += _REFUSED_ON_X86_64.values()
    absent = [numbers[column] for numbers in _ABSENT.values()]
    if not counted:
        absent += [numbers[column] for numbers in _UNCOUNTED.values()]
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        *_if(_GREATER_OR_EQUAL, _X32, _ERROR | errno.ENOSYS),
        *_if(_GREATER_OR_EQUAL, _LAST_KNOWN + 1, _ERROR | errno.ENOSYS),
    ]
    for number in refused:
        assert number is not None
        program += _if(_EQUAL, number, _ERROR | errno.EPERM)
    for number in absent:
        program += _if(_EQUAL, number, _ERROR | errno.ENOSYS)
    program += _on(_CLONE[column], _FIRST, _if(_ANY_BIT, _NEW_NAMESPACES, _ERROR | errno.EPERM))
    for call in (_SOCKET, _SOCKETPAIR):
        others = [(_EQUAL, 1, 0, _AF_UNIX), (_RETURN, 0, 0, _ERROR | errno.EAFNOSUPPORT)]
        program += _on(call[column], _FIRST, others)
    # Who reads which library, as inotify; and which pages of one are in memory, and to throw them out.
    program += _on(_FCNTL[column], _SECOND, _if(_EQUAL, _F_NOTIFY, _ERROR | errno.EINVAL))
    program += _on(_PREADV2[column], _SIXTH, _if(_ANY_BIT, _RWF_NOWAIT, _ERROR | errno.EOPNOTSUPP))
    program += _on(_FADVISE[column], _FOURTH, _if(_EQUAL, _FADV_DONTNEED, _ERROR))  # says that it did
    # A core dump may be piped into a program of the machine. The limit that holds is 1, which alone prevents that.
    program += _on(_SETRLIMIT[column], _FIRST, _if(_EQUAL, _RLIMIT_CORE, _ERROR | errno.EPERM))
    # Of another limit, or only to be read (no new value, in both words): the jumps go to the end, where it is allowed.
    changes = [(_EQUAL, 0, 5, _RLIMIT_CORE), (_LOAD, 0, 0, _THIRD), (_EQUAL, 0, 2, 0), (_LOAD, 0, 0, _THIRD + 4)]
    changes += [(_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _ERROR | errno.EPERM)]
    program += _on(_PRLIMIT[column], _SECOND, changes)
    asked = [instruction for code in _TERMINAL_ORDERS for instruction in _if(_EQUAL, code, _ERROR | errno.EPERM)]
    program += _on(_IOCTL[column], _SECOND, asked)
    personality = [(_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, _ASK_PERSONALITY), (_RETURN, 0, 0, _ERROR | errno.EPERM)]
    program += _on(_PERSONALITY[column], _FIRST, personality)
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


_Instruction = tuple[int, int, int, int]


def _if(comparison: int, value: int, verdict: int) -> list[_Instruction]:
    """Return a verdict where the comparison with what was loaded holds."""
    return [(comparison, 0, 1, value), (_RETURN, 0, 0, verdict)]


def _on(number: int, argument: int, checks: Sequence[_Instruction]) -> list[_Instruction]:
    """Check an argument of one system call; allow it where no check says otherwise."""
    body = [(_LOAD, 0, 0, argument), *checks, (_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body]
