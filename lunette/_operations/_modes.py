"""Permissions of files, as they are sent."""

from __future__ import annotations

import re

__all__ = ["octal", "wire_mode"]

_OCTAL_DIGITS = re.compile("[0-7]{3,4}")


def wire_mode(mode: object) -> str | None:
    """Return permissions in octal, or refuse what are none; None is none to send."""
    return None if mode is None else octal(mode)


def octal(mode: object) -> str:
    """Return permissions in octal, or refuse what are none."""
    if not isinstance(mode, int) or isinstance(mode, bool):
        raise TypeError(f"mode must be an integer such as 0o755, not {type(mode).__name__}")
    if _is_decimal(mode):
        raise ValueError(f"mode {mode} is {mode:#o}; did you mean 0o{mode}?")
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"mode must be permissions such as 0o755, not {mode}")
    return f"{mode:04o}"


def _is_decimal(mode: int) -> bool:
    """Whether *mode* only makes sense if its decimal digits are read as octal ones."""
    if not _OCTAL_DIGITS.fullmatch(str(mode)):
        return False
    is_odd = mode > 0o777 or not mode & 0o400
    return is_odd and not _is_usual(mode) and _is_usual(int(str(mode), 8))


def _is_usual(mode: int) -> bool:
    """Whether the owner may read, and nobody else may do more, whatever the special bits are."""
    owner, group, others = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    return mode <= 0o7777 and bool(owner & 4) and group & ~owner == 0 and others & ~group == 0
