"""Attacks on the walls around a sandbox, as a program that runs inside.

    python3 attacks.py NAME=ARGUMENT ...

prints what each did as JSON: `done`, what it found, or why not. It uses nothing but the standard
library, and leaves nothing changed where it succeeds.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# The system calls of x86_64 and aarch64; numbers from 424 on are the same everywhere.
_NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "mount": (165, 40),
    "perf_event_open": (298, 241),
    "ptrace": (101, 117),
    "setns": (308, 268),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "process_vm_readv": (310, 270),
    "io_uring_setup": (425, 425),
    "fsopen": (430, 430),
    "pidfd_open": (434, 434),
    "open_tree": (428, 428),
}
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_REMOUNT_BIND = 0x20 | 0x1000
_PROCESS_KEYRING = -2
_BPF_OBJ_GET = 7
_UFFD_USER_MODE_ONLY = 1
_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_OPEN_TREE_CLONE = 1
_TIOCSTI, _TIOCSETD = 0x5412, 0x5423

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int | bytes | None) -> int:
    column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(_NUMBERS[name][column], *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


# The kernel


def key(_: str) -> None:
    """Put a key where other sandboxes of the same user id could look."""
    _call("add_key", b"user", b"lunette-test", b"x", 1, _PROCESS_KEYRING)


def ring(_: str) -> None:
    """io_uring, whose requests no seccomp filter sees."""
    os.close(_call("io_uring_setup", 1, bytes(120)))


def bpf(_: str) -> None:
    """Reach the handler, which says that there is no such file."""
    path = ctypes.create_string_buffer(b"/lunette-test")
    attributes = struct.pack("=QII", ctypes.addressof(path), 0, 0)
    try:
        _call("bpf", _BPF_OBJ_GET, attributes, len(attributes))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise


def fault(_: str) -> None:
    """Hold the kernel up in the middle of a copy."""
    os.close(_call("userfaultfd", os.O_CLOEXEC | _UFFD_USER_MODE_ONLY))


def type_ahead(_: str) -> None:
    """Type into the terminal that one has, as if its user had."""
    _in_a_child(_type)


def _type() -> None:
    os.setsid()
    _, slave = os.openpty()
    fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
    fcntl.ioctl(slave, _TIOCSTI, b"x")


def line_discipline(_: str) -> None:
    """Have the kernel load what it has for terminals; here what is there already."""
    _, slave = os.openpty()
    fcntl.ioctl(slave, _TIOCSETD, struct.pack("i", 0))


# Namespaces and mounts


def user_namespace(_: str) -> None:
    _in_a_child(lambda: _call("unshare", _CLONE_NEWUSER))


def mount_namespace(_: str) -> None:
    _in_a_child(lambda: _call("unshare", _CLONE_NEWNS))


def tmpfs(_: str) -> None:
    _call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None)
    _call("umount2", b"/tmp", 0)


def new_mounts(_: str) -> None:
    """The calls that came after mount(2)."""
    os.close(_call("fsopen", b"tmpfs", 0))


def clone_mount(_: str) -> None:
    os.close(_call("open_tree", -100, b"/tmp", _OPEN_TREE_CLONE))


def writable_devices(_: str) -> None:
    """Take "read-only" off a mount, and put it on again."""
    _call("mount", None, b"/dev", None, _MS_REMOUNT_BIND, None)
    _call("mount", None, b"/dev", None, _MS_REMOUNT_BIND | 1, None)


def uncover(_: str) -> None:
    """Take away what lies over a directory."""
    _in_a_child(lambda: _call("umount2", b"/dev/shm", 2))


def root_directory(_: str) -> None:
    _in_a_child(lambda: _call("chroot", b"/tmp"))


def enter(_: str) -> None:
    """Go into a namespace through a descriptor of it."""
    with Path("/proc/1/ns/mnt").open() as file:
        _in_a_child(lambda: _call("setns", file.fileno(), 0))


# Processes


def other_process(pid: str) -> None:
    """Find a process of the machine."""
    os.kill(int(pid), 0)


def process_descriptor(pid: str) -> None:
    os.close(_call("pidfd_open", int(pid), 0))


def environment(pid: str) -> None:
    assert b"LUNETTE_TEST_SECRET" in Path(f"/proc/{pid}/environ").read_bytes()


def memory(pid: str) -> None:
    first, _, _ = Path(f"/proc/{pid}/maps").read_text().partition("-")
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        file.seek(int(first, 16))
        assert file.read(4096)


def trace(pid: str) -> None:
    _call("ptrace", _PTRACE_ATTACH, int(pid), 0, 0)
    os.waitpid(int(pid), 0x40000000)
    _call("ptrace", _PTRACE_DETACH, int(pid), 0, 0)


def descriptors(pid: str) -> None:
    assert list(Path(f"/proc/{pid}/fd").iterdir())


def argument(text: str) -> None:
    """Look for a process that has *text* in its arguments."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.parent.name != str(os.getpid()) and text in path.read_text(errors="replace"):
                return
    raise OSError(errno.ESRCH, "nobody has it")


# The network


def loopback(port: str) -> None:
    socket.create_connection(("127.0.0.1", int(port)), timeout=5).close()


def abstract(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + name)


def route(address: str) -> None:
    """Find a way to *address*, which takes no packet: of the cloud's metadata, or anybody's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 80))


def unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)


def raw(_: str) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


# Files


def read(path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(1)


def settings(_: str) -> str:
    """Return the settings of the kernel that can be opened for writing, and write to none."""
    return " ".join(filter(_can_be_written, _files_below("/proc/sys")))


def segments(_: str) -> None:
    """Take memory that is no process's, and give it back."""
    size = 128 << 20
    _libc.shmget.argtypes = (ctypes.c_int, ctypes.c_size_t, ctypes.c_int)
    found = _libc.shmget(0, size, 0o1600)
    if found < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    _libc.shmctl(found, 0, None)


def _files_below(top: str) -> Iterator[str]:
    for directory, _, names in os.walk(top):
        yield from (f"{directory}/{name}" for name in names)


def _can_be_written(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _in_a_child(attack: Callable[[], object]) -> None:
    """Where it succeeds it changes only the child."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        number = 0
        try:
            attack()
        except OSError as error:
            number = error.errno or 255
        except BaseException:
            number = 255
        os.write(writing, bytes([number]))
        os._exit(0)
    os.close(writing)
    (number,) = os.read(reading, 1)
    os.close(reading)
    os.wait()
    if number:
        raise OSError(number, attack.__name__)


def main() -> None:
    results: dict[str, str] = {}
    for word in sys.argv[1:]:
        name, _, argument = word.partition("=")
        try:
            results[word] = globals()[name](argument) or "done"
        except (OSError, AssertionError) as error:
            number = error.errno if isinstance(error, OSError) else None
            results[word] = errno.errorcode.get(number or 0, repr(error))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
