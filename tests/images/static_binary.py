"""A program that needs nothing: it prints `hello` and ends with 7, in a few bytes of machine code.

Written by hand, as not every machine that runs these tests has a compiler with a static libc.
"""

from __future__ import annotations

import struct

MESSAGE = b"hello\n"
EXIT_CODE = 7

_BASE = 0x400000
_HEADERS = 64 + 56  # of ELF, and of its one segment

_X86_64 = bytes.fromhex(
    "b801000000"  # mov eax, 1 (write)
    "bf01000000"  # mov edi, 1
    "488d3513000000"  # lea rsi, [rip + 19] (the message)
    "ba06000000"  # mov edx, 6
    "0f05"  # syscall
    "b8e7000000"  # mov eax, 231 (exit_group)
    "bf07000000"  # mov edi, 7
    "0f05"  # syscall
)
_AARCH64 = struct.pack(
    "<8I",
    0xD2800808,  # mov x8, 64 (write)
    0xD2800020,  # mov x0, 1
    0x100000C1,  # adr x1, . + 24 (the message)
    0xD28000C2,  # mov x2, 6
    0xD4000001,  # svc 0
    0xD2800BC8,  # mov x8, 94 (exit_group)
    0xD28000E0,  # mov x0, 7
    0xD4000001,  # svc 0
)
_MACHINES = {"amd64": (62, _X86_64), "arm64": (183, _AARCH64)}


def static_binary(architecture: str) -> bytes | None:
    """Return the program for an *architecture* in the words of Go, or None where we have none."""
    if architecture not in _MACHINES:
        return None
    machine, code = _MACHINES[architecture]
    content = code + MESSAGE
    size = _HEADERS + len(content)
    start = _BASE + _HEADERS
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return identity + header + segment + content
