"""Which event loop runs this code, and warnings of what blocks it."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["current_loop", "in_trio", "off_loop", "users_line", "warn_awaited", "warn_blocking"]

T = TypeVar("T")

# What runs a user's code, and is no line of the user's.
_RUNNERS = {"anyio", "asyncio", "concurrent", "trio"}
# Whose functions are called by Python's own files.
_FILE = "lunette._remote_file"
# What blocks and what to write, where it is not as for a verb.
_WORDS = {
    "__exit__": ("`with`", "write `async with`"),
    "__iter__": ("`for`", "write `async for`"),
    "chunks": ("chunks()", "iterate over achunks() by `async for`"),
    "iter_bytes": ("iter_bytes()", "iterate over aiter_bytes() by `async for`"),
    "lines": ("lines()", "iterate over alines() by `async for`"),
    _FILE: ("a file of open()", "await aopen()"),
}


def current_loop() -> object | None:
    """Return what stands for the event loop that runs this code, if one does."""
    # Neither library is imported to ask it: one that nobody imported runs nothing.
    if in_trio():
        trio: Any = sys.modules["trio"]
        token: object = trio.lowlevel.current_trio_token()
        return token
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    with suppress(RuntimeError):
        loop: object = asyncio.get_running_loop()
        return loop
    return None


def in_trio() -> bool:
    """Say whether trio runs this code."""
    # A thread may be importing it just now; then it runs nothing yet.
    asked: Any = getattr(getattr(sys.modules.get("trio"), "lowlevel", None), "in_trio_run", None)
    return asked is not None and asked()


async def off_loop(function: Callable[[], T]) -> T:
    """Call *function* in a thread, without anyio, whose import would hold up the event loop."""
    if in_trio():
        trio: Any = sys.modules["trio"]
        answer: T = await trio.to_thread.run_sync(function)
        return answer
    import asyncio

    return await asyncio.to_thread(function)


def warn_blocking() -> None:
    """Warn if an event loop runs: the verb of an Async object that was called blocks it."""
    if current_loop() is None:
        return
    level, verb = _caller()
    said, mend = _WORDS.get(verb, (f"{verb}()", f"await a{verb}()"))
    _warn(f"{said} blocks the event loop; {mend} instead", level)


def warn_awaited(verb: str) -> None:
    """Warn that *verb* of a plain client was awaited: it had blocked the event loop already."""
    _warn(
        f"{verb}() blocked the event loop before it was awaited; open the client by"
        f" `async with LunetteClient() as client`, or write `await client.a{verb}()`",
        _caller()[0],
    )


def users_line() -> tuple[str, int]:
    """Return the file and the line of the user's that called lunette.

    What was called by an event loop, as a task of its own, has none: then it is the one that runs
    the loop. Nor has what a thread was started with: then it is the thread.
    """
    first = frame = sys._getframe(_caller()[0] - 1)  # pyright: ignore[reportPrivateUsage] - as below
    while frame.f_back and _is_runner(frame.f_globals):
        frame = frame.f_back
    if frame.f_globals.get("__name__") == "threading":
        return f"<{threading.current_thread().name}>", 0
    found = frame if frame.f_back or frame.f_globals.get("__name__") == "__main__" else first
    return found.f_code.co_filename, found.f_lineno


def _is_runner(names: Mapping[str, object]) -> bool:
    package = str(names.get("__package__")).partition(".")[0]
    return package in _RUNNERS or names.get("__name__") == "threading"


def _warn(message: str, level: int) -> None:
    from .errors import AsyncUsageWarning

    warnings.warn(message, AsyncUsageWarning, stacklevel=level + 1)


def _caller() -> tuple[int, str]:
    """Return the stack level, seen from our caller, of the user's line, and the verb it called."""
    frame, level, verb = sys._getframe(1), 1, ""  # pyright: ignore[reportPrivateUsage] - no public way
    while frame.f_back and frame.f_globals.get("__package__") in {"lunette", "lunette._operations"}:
        verb = _FILE if frame.f_globals.get("__name__") == _FILE else frame.f_code.co_name
        frame, level = frame.f_back, level + 1
    return level, verb
