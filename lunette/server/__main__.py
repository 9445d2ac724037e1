"""The embedded server: `python -P -m lunette.server`, started by `lunette._embedded` alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from lunette._scratch import Scratch
from lunette.server._descriptors import allow_many
from lunette.server.engines.selection import launch

if TYPE_CHECKING:
    from lunette.server._http import HTTPServer
    from lunette.server.engines.protocol import Engine

_HEAD_START_SECONDS = 0.002
_LOOK_FOR_PARENT_SECONDS = 0.5


def main() -> None:
    """Serve the client that started this process, and end with it."""
    if len(sys.argv) != 5:
        sys.exit("this is started by the client; for a server of your own: lunette serve")
    listener_fd, lock_fd, parent = (int(argument) for argument in sys.argv[1:4])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    _ignore_terminal()
    allow_many()
    # What the client let us inherit, no sandbox may.
    os.set_inheritable(lock_fd, False)
    os.set_inheritable(listener_fd, False)
    scratch = Scratch.adopt(Path(sys.argv[4]), lock_fd)
    asyncio.run(_serve(socket.socket(fileno=listener_fd), parent, scratch.path))
    scratch.remove()


def _ignore_terminal() -> None:
    # Ctrl-C and a closed terminal are the client's. SIG_IGN would be inherited by every
    # command in every sandbox; a handler is not.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _nothing)


def _nothing(number: int, frame: object) -> None: ...


async def _serve(listener: socket.socket, parent: int, directory: Path) -> None:
    stopped = asyncio.Event()
    # From here on there is something to give back.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    starting = asyncio.create_task(launch())
    # Its processes and threads work while this one imports what answers requests.
    await asyncio.sleep(_HEAD_START_SECONDS)
    from lunette.server._http import HTTPServer
    from lunette.server.app import create_app
    from lunette.server.registry import Registry
    from lunette.server.store import Store

    async def launched() -> Engine:
        return await starting

    with contextlib.closing(Store(directory, log_limit=_log_limit())) as store:
        server = HTTPServer(create_app(Registry(launched, store)))
        if stopped.is_set():
            server.stop()
        async with _while_alive(parent, server):
            await server.run_on(listener)


def _log_limit() -> int:
    from lunette.server.engines.protocol import EngineUnavailableError
    from lunette.server.settings import Settings

    try:
        return Settings.read().log
    except EngineUnavailableError:  # the engine has found the same, and each request is told
        return Settings().log


@contextlib.asynccontextmanager
async def _while_alive(parent: int, server: HTTPServer) -> AsyncGenerator[None]:
    """Stop the server when its parent ends."""
    watch = asyncio.create_task(_watch(parent))
    watch.add_done_callback(lambda _: server.stop())
    try:
        yield
    finally:
        watch.cancel()


async def _watch(parent: int) -> None:
    try:
        pidfd = os.pidfd_open(parent)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # not Linux, an old kernel, or a filter
        await _poll(parent)
        return
    try:
        # Asked after pidfd_open: else the descriptor could be that of a new process.
        if os.getppid() == parent:
            await _readable(pidfd)
    finally:
        os.close(pidfd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def _poll(parent: int) -> None:
    # A pipe would be held open by every process that the parent forks.
    while os.getppid() == parent:  # noqa: ASYNC110, the kernel sets no asyncio.Event
        await asyncio.sleep(_LOOK_FOR_PARENT_SECONDS)


if __name__ == "__main__":
    main()
