"""The filter of system calls: its numbers, its form, and what it does when it is loaded."""

import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from palladion.errors import ExecutionError
from palladion.execution.sandbox import kernel, seccomp
from palladion.execution.sandbox.seccomp import system_call_filter

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
_ALLOW, _EPERM, _ENOSYS, _EAFNOSUPPORT, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x00050061, 0x80000000
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def verdict(
    program: bytes,
    machine: str,
    number: int,
    first: int = 0,
    second: int = 0,
    third: int = 0,
    fourth: int = 0,
    sixth: int = 0,
) -> int:
    """What the kernel would do: an interpreter of the few instructions that the filter has."""
    data = struct.pack("<IIQQQQQQQ", number, ARCHITECTURE[machine], 0, first, second, third, fourth, 0, sixth)
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, yes, no, value = instructions[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == 0x06:
            return int(value)
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += yes if holds else no


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
def test_the_numbers_are_the_kernels(machine: str, column: int) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed (linux-libc-dev)")
    known = {m[1]: int(m[2]) for m in re.finditer(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())}
    tables: list[Mapping[str, tuple[int | None, int]]] = [seccomp._REFUSED, seccomp._ABSENT, seccomp._UNCOUNTED]
    tables.append(
        {
            "clone": seccomp._CLONE,
            "socket": seccomp._SOCKET,
            "ioctl": seccomp._IOCTL,
            "personality": seccomp._PERSONALITY,
            "socketpair": seccomp._SOCKETPAIR,
            "fcntl": seccomp._FCNTL,
            "preadv2": seccomp._PREADV2,
            "fadvise64": seccomp._FADVISE,
            "setrlimit": seccomp._SETRLIMIT,
            "prlimit64": seccomp._PRLIMIT,
        }
    )
    compared = 0
    for table in tables:
        for name, numbers in table.items():
            if name in known:
                assert numbers[column] == known[name], name
                compared += 1
    assert compared > 60
    if column == 0:
        assert {n: known[n] for n in seccomp._REFUSED_ON_X86_64 if n in known}.items() <= (
            seccomp._REFUSED_ON_X86_64.items()
        )


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_what_is_refused_and_what_is_not(machine: str) -> None:
    column = list(ARCHITECTURE).index(machine)
    program = system_call_filter(machine=machine)
    for numbers in seccomp._REFUSED.values():
        assert verdict(program, machine, numbers[column] or 0) == _EPERM
    for numbers in seccomp._ABSENT.values():
        assert verdict(program, machine, numbers[column]) == _ENOSYS
    for number in (451, 500, 0x40000000 | 1, 0xFFFFFFFF):
        assert verdict(program, machine, number) == _ENOSYS
    assert verdict(program, machine, {"x86_64": 0, "aarch64": 63}[machine]) == _ALLOW  # read
    clone, socket, ioctl = seccomp._CLONE[column], seccomp._SOCKET[column], seccomp._IOCTL[column]
    assert verdict(program, machine, clone, 0x01200011) == _ALLOW  # as fork
    assert verdict(program, machine, clone, 0x003D0F00) == _ALLOW  # as a thread
    for flag in (kernel.CLONE_NEWUSER, kernel.CLONE_NEWNS, kernel.CLONE_NEWPID, kernel.CLONE_NEWNET):
        assert verdict(program, machine, clone, 0x01200011 | flag) == _EPERM
    assert verdict(program, machine, socket, 1) == _ALLOW
    for family in (0, 2, 10, 16, 17, 40):
        assert verdict(program, machine, socket, family) == _EAFNOSUPPORT
    assert verdict(program, machine, ioctl, 0, 0x5412) == _EPERM
    assert verdict(program, machine, ioctl, 0, 0x5413) == _ALLOW
    # The kernel looks at 32 bits of it only, so the others must not hide it.
    assert verdict(program, machine, ioctl, 0, 0xFFFF_FFFF_0000_5412) == _EPERM


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_what_depends_on_arguments(machine: str) -> None:
    column = list(ARCHITECTURE).index(machine)
    program = system_call_filter(machine=machine)

    def call(numbers: tuple[int, int], **arguments: int) -> int:
        return verdict(program, machine, numbers[column], **arguments)

    assert call(seccomp._SOCKETPAIR, first=1) == _ALLOW
    assert call(seccomp._SOCKETPAIR, first=16) == _EAFNOSUPPORT
    assert call(seccomp._FCNTL, second=1) == _ALLOW
    assert call(seccomp._FCNTL, second=0x402) == 0x00050016  # F_NOTIFY: EINVAL
    assert call(seccomp._PREADV2, sixth=0) == _ALLOW
    assert call(seccomp._PREADV2, sixth=0x8) == 0x0005005F  # RWF_NOWAIT: EOPNOTSUPP
    assert call(seccomp._FADVISE, fourth=3) == _ALLOW
    assert call(seccomp._FADVISE, fourth=4) == 0x00050000  # DONTNEED: as if it were done
    # The limit of core dumps is read, and never changed, wherever the new value lies in memory.
    assert call(seccomp._SETRLIMIT, first=7) == _ALLOW
    assert call(seccomp._SETRLIMIT, first=4) == _EPERM
    assert call(seccomp._PRLIMIT, second=7, third=0x7FFF00000000) == _ALLOW
    assert call(seccomp._PRLIMIT, second=4) == _ALLOW
    for address in (0x1000, 0x7FFF00000000, 0x7FFF12345678):
        assert call(seccomp._PRLIMIT, second=4, third=address) == _EPERM


def test_another_architecture_is_killed() -> None:
    program = system_call_filter(machine="x86_64")
    assert verdict(program, "aarch64", 0) == _KILL


def test_what_no_control_group_counts_is_refused_where_there_is_none() -> None:
    for name in ("memfd_create", "shmget"):
        number = seccomp._UNCOUNTED[name][0]
        assert verdict(system_call_filter(machine="x86_64"), "x86_64", number) == _ALLOW
        assert verdict(system_call_filter(machine="x86_64", counted=False), "x86_64", number) == _ENOSYS


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ExecutionError, match="not those of sparc"):
        system_call_filter(machine="sparc")


def test_the_kernel_takes_it() -> None:
    code = """
import errno, os, socket, threading
from palladion.execution.sandbox import kernel
from palladion.execution.sandbox.seccomp import system_call_filter
kernel.no_new_privileges()
kernel.filter_system_calls(system_call_filter())
for action, expected in (
    (lambda: socket.socket(socket.AF_INET), errno.EAFNOSUPPORT),
    (lambda: kernel.unshare(kernel.CLONE_NEWUSER), errno.EPERM),
    (lambda: kernel.mount("none", "/tmp", "tmpfs", 0), errno.EPERM),
):
    try:
        action()
    except OSError as error:
        assert error.errno == expected, error
    else:
        raise AssertionError(expected)
socket.socket(socket.AF_UNIX).close()
thread = threading.Thread(target=print, args=("a thread",))
thread.start()
thread.join()
pid = os.fork()
if pid == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "a thread\ndone\n", done.stderr
