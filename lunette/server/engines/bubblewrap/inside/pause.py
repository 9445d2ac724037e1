"""The second process of a sandbox: a program of a few bytes, so that an image needs none.

It closes the descriptor that it was run from (`PAUSE_FD`), and reads its standard input until that
ends, which is when the worker does.
"""

from __future__ import annotations

import os
import struct

__all__ = ["pause_program"]

_BASE = 0x40_0000
_HEADERS = 64 + 56
# close(64); then read(0, sp - 8, 1), again if it was interrupted or gave something; exit(0)
_CODE = {
    "x86_64": (
        62,
        "b803000000 bf40000000 0f05"
        "31c0 31ff 488d7424f8 ba01000000 0f05 4883f8fc 74ea 4885c0 7fe5 b83c000000 31ff 0f05",
    ),
    "aarch64": (
        183,
        "280780d2 000880d2 010000d4"
        "e80780d2 000080d2 e14300d1 220080d2 010000d4 1f1000b1 40ffff54 1f0000f1 0cffff54"
        "a80b80d2 000080d2 010000d4",
    ),
}


def pause_program() -> bytes:
    """Return the program for this machine, as an ELF file with one segment (elf(5))."""
    machine, text = _CODE[os.uname().machine]
    code = bytes.fromhex(text)
    size = _HEADERS + len(code)
    identification = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(identification, 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code
