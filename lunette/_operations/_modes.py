"""Permissions of files, as they are sent."""

from __future__ import annotations

__all__ = ["wire_mode"]


def wire_mode(mode: object) -> str | None:
    """Return permissions in octal, or refuse what are none."""
    if mode is None:
        return None
    if not isinstance(mode, int) or isinstance(mode, bool):
        raise TypeError(f"mode must be an integer such as 0o755, not {type(mode).__name__}")
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"mode must be permissions such as 0o755, not {mode}")
    return f"{mode:04o}"
