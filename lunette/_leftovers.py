"""The sandboxes that this process made and has not destroyed: what is left of them at its exit."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ._io import run
from ._loops import users_line

if TYPE_CHECKING:
    from ._connection import Connection
    from ._connector import Connector

__all__ = ["clean_up", "forget", "forget_all", "note"]

logger = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds, of one server for one request
_LONGEST = 10.0  # and of all: no more is begun after


class _Leftover(NamedTuple):
    """Where a sandbox is, and by which line it was made."""

    connection: Connection
    file: str
    line: int


_left: dict[str, _Leftover] = {}


def note(sandbox_id: str, connector: Connector) -> None:
    """Remember that the user's line which is being run made a sandbox."""
    if connector.current is not None:
        _left[sandbox_id] = _Leftover(connector.current, *users_line())
        _watch_exit(os.getpid())


def forget(sandbox_id: str) -> None:
    """Leave a sandbox alone: it is destroyed, or somebody else's from now on."""
    _left.pop(sandbox_id, None)


def forget_all() -> None:
    """Leave them all alone."""
    _left.clear()


def clean_up() -> None:
    """Destroy what is left, and then warn of it; in a moment if it was done already."""
    end = time.monotonic() + _LONGEST
    left, found = dict[str, _Leftover](), list[str]()
    while _left:  # other threads may still make some
        sandbox_id = next(iter(_left))
        left[sandbox_id] = _left.pop(sandbox_id)
    for connection, sandbox_ids in _grouped(left):
        if time.monotonic() < end:
            found += _destroyed(connection, sandbox_ids)
        else:
            _complain(connection, sandbox_ids, "there was no time left")
    for sandbox_id in found:
        _warn(sandbox_id, left[sandbox_id])


@cache
def _watch_exit(pid: int) -> None:
    """Let `clean_up` be called at the exit of *pid*, which is this process."""
    atexit.register(clean_up)
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:  # whose children end without what is registered for an exit
        util.Finalize(None, clean_up, exitpriority=0)


def _grouped(left: Mapping[str, _Leftover]) -> Iterable[tuple[Connection, list[str]]]:
    """Return for each server a connection to it, and what is left there."""
    groups: dict[object, tuple[Connection, list[str]]] = {}
    for sandbox_id, leftover in left.items():
        connection = leftover.connection
        groups.setdefault(connection.place, (connection, []))[1].append(sandbox_id)
    return groups.values()


def _destroyed(connection: Connection, sandbox_ids: list[str]) -> list[str]:
    """Destroy those of a server's sandboxes that are still there, and return them."""
    if connection.lost:
        return []
    if connection.is_async:
        _complain(connection, sandbox_ids, "its transport needs an event loop")
        return []
    from ._operations import sandboxes

    last = connection.anew(_PATIENCE)
    try:
        found = run(sandboxes.stop_the_left(last.blocking(), sandbox_ids))
    except Exception as error:  # whatever a transport of the user's does at an exit
        _complain(connection, sandbox_ids, str(error))
        return []
    finally:
        last.close()
    if found.failed and not last.profile.published:  # which cannot tell what was gone already
        _complain(connection, [one.sandbox_id for one in found.failed], found.failed[0].error)
    return list(found.stopped)


def _complain(connection: Connection, sandbox_ids: list[str], why: str) -> None:
    ids = ", ".join(sandbox_ids)
    logger.warning("sandboxes may be left on %s (%s): %s", connection.shown_url, why, ids)


def _warn(sandbox_id: str, leftover: _Leftover) -> None:
    warnings.warn_explicit(
        f"sandbox {sandbox_id}, which this line made, was not destroyed before the process ended:"
        " make it in a `with`, or sandbox.detach() what is to stay",
        ResourceWarning,
        leftover.file,
        leftover.line,
    )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_all)  # they are the parent's
