"""`lunette serve`: a server of your own, over TCP with a key or over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import signal
import socket
import stat
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from lunette.server._descriptors import allow_many
from lunette.server._guard import Access
from lunette.server._http import HTTPServer
from lunette.server._lifetimes import Lifetimes
from lunette.server._problems import Problem
from lunette.server.app import create_app
from lunette.server.engines.protocol import EngineUnavailableError
from lunette.server.engines.selection import launch
from lunette.server.registry import Registry
from lunette.server.settings import Settings
from lunette.server.store import Store, StoreError

__all__ = ["CannotServeError", "serve_tcp", "serve_unix"]

Announce = Callable[[str], None]


class CannotServeError(Exception):
    """The address or the engine cannot be had; the message says why."""


def serve_tcp(
    host: str,
    port: int,
    *,
    api_key: str | None,
    state: Path,
    engine: str | None = None,
    names: Iterable[str] = (),
    given: Mapping[str, str | None] = MappingProxyType({}),
    announce: Announce,
) -> None:
    """Serve over TCP until SIGTERM or SIGINT; without *api_key* make one and announce it.

    What has to be remembered is kept in the directory *state*, which one server can use at a time.
    What is *given* goes before the other `Settings`.
    """
    key = api_key or secrets.token_urlsafe(32)
    with _tcp_listener(host, port) as listener:
        lines = [f"LUNETTE_BASE_URL={_url(listener)}"]
        if api_key is None:
            lines.append(f"LUNETTE_API_KEY={key}")
        access = Access.over_tcp(key, host, names)
        _serve(listener, state, engine, access, given, lambda: announce("\n".join(lines)))


def serve_unix(
    path: Path,
    *,
    state: Path,
    engine: str | None = None,
    given: Mapping[str, str | None] = MappingProxyType({}),
    announce: Announce,
) -> None:
    """Serve over a Unix socket of mode 0600, whose permissions are the key; see `serve_tcp`."""
    with _unix_listener(path.absolute()) as listener:
        line = f"LUNETTE_BASE_URL=unix://{path.absolute()}"
        _serve(listener, state, engine, None, given, lambda: announce(line))


def _serve(
    listener: socket.socket,
    state: Path,
    engine: str | None,
    access: Access | None,
    given: Mapping[str, str | None],
    ready: Callable[[], object],
) -> None:
    allow_many()
    try:
        settings = Settings.read(given)
        store = Store(state, durable=True, log_limit=settings.log)
    except (EngineUnavailableError, StoreError) as error:
        raise CannotServeError(str(error)) from error
    with contextlib.closing(store):
        lifetimes = Lifetimes(settings.ttl, settings.idle_timeout)
        registry = Registry(functools.partial(launch, engine), store, lifetimes=lifetimes)
        asyncio.run(_run(listener, registry, access, settings.grace, ready))


async def _run(
    listener: socket.socket,
    registry: Registry,
    access: Access | None,
    grace: float,
    ready: Callable[[], object],
) -> None:
    app = create_app(registry, access=access)
    server = HTTPServer(app, grace=grace, draining=registry.draining.begin)
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C does not wait
        server.stop()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    registry.start()
    serving = asyncio.create_task(server.run_on(listener))
    try:
        await registry.engine()
        ready()
    except Problem as problem:
        server.stop()
        raise CannotServeError(problem.detail) from problem
    finally:
        await serving


@contextlib.contextmanager
def _tcp_listener(host: str, port: int) -> Generator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
    except OSError as error:
        raise CannotServeError(f"cannot listen on {host}, port {port}: {error}") from error
    with listener:
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


@contextlib.contextmanager
def _unix_listener(path: Path) -> Generator[socket.socket]:
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise CannotServeError(f"cannot listen on {path}: {error}") from error
        finally:
            os.umask(mask)
        ours = path.lstat().st_ino
        listener.listen(2048)
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_ino == ours:
                    path.unlink()


def _clear(path: Path) -> None:
    """Remove a socket that a dead server left; refuse anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotServeError(f"{path} is there already, and no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise CannotServeError(f"{path} is there already: {error}") from error
    raise CannotServeError(f"another server listens on {path}")
