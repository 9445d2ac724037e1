"""How many descriptors this server may hold: each living sandbox needs several."""

from __future__ import annotations

import contextlib

__all__ = ["allow_many"]


def allow_many() -> None:
    """Raise the soft limit of this process to the hard one, where there are such limits.

    No command inherits it: a worker sets the limit of its sandbox.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls it infinite and refuses it, or is stricter than it says.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
