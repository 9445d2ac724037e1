"""The system calls that no command in a sandbox may make, as a classic BPF program.

A deny list with a ceiling: what the kernel got after the last review (`_CEILING`) does not exist
inside, so that libraries fall back. It is the second wall; namespaces and missing capabilities are
the first. Source: linux/seccomp.h, linux/filter.h and the system call tables of Linux 6.12.
"""

from __future__ import annotations

import errno
import platform
import struct

__all__ = ["UnsupportedArchitectureError", "filter_program"]

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24  # offsets in struct seccomp_data
_CEILING = 463  # setxattrat, Linux 6.13
_CLONE_NEWUSER = 0x10000000
# Typing, pasting, and line disciplines, which are old code that the kernel loads for anybody.
_TIOCSTI, _TIOCLINUX, _TIOCSETD = 0x5412, 0x541C, 0x5423
# UNIX, INET, INET6, NETLINK. Not VSOCK, which no network namespace confines; nor ALG, PACKET, ...
_SOCKET_FAMILIES = (1, 2, 10, 16)

# Numbers from 424 on are the same on every architecture.
_COMMON = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "mount_setattr": 442,
    "quotactl_fd": 443,
}
_DENIED = {
    "x86_64": {
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "chroot": 161,
        "setns": 308,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "acct": 163,
        "syslog": 103,
        "quotactl": 179,
        "init_module": 175,
        "finit_module": 313,
        "delete_module": 176,
        "kexec_load": 246,
        "kexec_file_load": 320,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "open_by_handle_at": 304,
        "lookup_dcookie": 212,
        "fanotify_init": 300,
        "nfsservctl": 180,
        "iopl": 172,
        "ioperm": 173,
        "uselib": 134,
        "modify_ldt": 154,
        **_COMMON,
    },
    "aarch64": {
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "chroot": 51,
        "setns": 268,
        "swapon": 224,
        "swapoff": 225,
        "reboot": 142,
        "acct": 89,
        "syslog": 116,
        "quotactl": 60,
        "init_module": 105,
        "finit_module": 273,
        "delete_module": 106,
        "kexec_load": 104,
        "kexec_file_load": 294,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "bpf": 280,
        "perf_event_open": 241,
        "userfaultfd": 282,
        "open_by_handle_at": 265,
        "lookup_dcookie": 18,
        "fanotify_init": 262,
        "nfsservctl": 42,
        **_COMMON,
    },
}
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_UNSHARE = {"x86_64": 272, "aarch64": 97}
_IOCTL = {"x86_64": 16, "aarch64": 29}
_SOCKETS = {"x86_64": (41, 53), "aarch64": (198, 199)}  # socket, socketpair
_CLONE3 = 435


class UnsupportedArchitectureError(Exception):
    """No system call table for this machine; a sandbox without one would be a weaker one."""


def filter_program(machine: str | None = None) -> bytes:
    """Return the filter for *machine* (default: this one) as an array of `struct sock_filter`."""
    machine = machine or platform.machine()
    if machine not in _AUDIT:
        raise UnsupportedArchitectureError(
            f"no seccomp filter for {machine!r}:"
            f" the bubblewrap engine runs on {' and '.join(_AUDIT)}"
        )
    return b"".join(
        [
            *_refuse_other_architectures(_AUDIT[machine]),
            *_refuse_from(_CEILING, errno.ENOSYS),
            *(
                line
                for number in _DENIED[machine].values()
                for line in _refuse(number, errno.EPERM)
            ),
            *_refuse(
                _CLONE3, errno.ENOSYS
            ),  # its flags are behind a pointer; libraries fall back to clone
            *_refuse_flag(_CLONE[machine], _CLONE_NEWUSER),
            *_refuse_flag(_UNSHARE[machine], _CLONE_NEWUSER),
            *_refuse_values(_IOCTL[machine], _ARGUMENT_1, (_TIOCSTI, _TIOCLINUX, _TIOCSETD)),
            *(
                line
                for number in _SOCKETS[machine]
                for line in _allow_values(number, _SOCKET_FAMILIES)
            ),
            _line(_RETURN, _ALLOW),
        ]
    )


def _line(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _refuse_other_architectures(audit: int) -> list[bytes]:
    return [
        _line(_LOAD, _ARCHITECTURE),
        _line(_JUMP_EQUAL, audit, yes=1),
        _line(_RETURN, _KILL),
        _line(_LOAD, _NUMBER),
    ]


def _refuse_from(number: int, error: int) -> list[bytes]:
    """Also refuses x32, whose numbers begin at 0x40000000."""
    return [_line(_JUMP_GREATER_EQUAL, number, no=1), _line(_RETURN, _ERRNO | error)]


def _refuse(number: int, error: int) -> list[bytes]:
    return [_line(_JUMP_EQUAL, number, no=1), _line(_RETURN, _ERRNO | error)]


def _refuse_flag(number: int, flag: int) -> list[bytes]:
    return [
        _line(_JUMP_EQUAL, number, no=4),
        _line(_LOAD, _ARGUMENT_0),
        _line(_JUMP_SET, flag, no=1),
        _line(_RETURN, _ERRNO | errno.EPERM),
        _line(_RETURN, _ALLOW),
    ]


def _refuse_values(number: int, argument: int, values: tuple[int, ...]) -> list[bytes]:
    refusals = [line for value in values for line in _refuse(value, errno.EPERM)]
    body = [_line(_LOAD, argument), *refusals, _line(_RETURN, _ALLOW)]
    return [_line(_JUMP_EQUAL, number, no=len(body)), *body]


def _allow_values(number: int, values: tuple[int, ...]) -> list[bytes]:
    allowed = [
        line for v in values for line in (_line(_JUMP_EQUAL, v, no=1), _line(_RETURN, _ALLOW))
    ]
    body = [_line(_LOAD, _ARGUMENT_0), *allowed, _line(_RETURN, _ERRNO | errno.EAFNOSUPPORT)]
    return [_line(_JUMP_EQUAL, number, no=len(body)), *body]
