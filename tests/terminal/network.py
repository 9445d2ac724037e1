"""A network between a client and its server that can be cut, and mended."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from ..embedded import until

_CHUNK = 65536


class Network:
    """Passes what comes at `url` on to the Unix socket *path*."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._before = 0
        self._is_whole = True
        self._is_mute = False
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def cut(self) -> None:
        """Cut every connection, and those that are made from now on."""
        with self._lock:
            self._is_whole = False
            self._before = self.connections
            for end in self._ends:
                with suppress(OSError):  # cut already
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Pass on again."""
        with self._lock:
            self._is_whole, self._is_mute = True, False

    def mute(self) -> None:
        """Accept connections from now on, but never answer."""
        self._is_mute = True

    def wait_for(self, connections: int) -> None:
        """Wait until so many more connections are made than there were when it was last cut."""
        until(lambda: self.connections >= self._before + connections)

    def _accept(self) -> None:
        threads: list[threading.Thread] = []
        with suppress(OSError):  # shut down
            while True:
                near = self._listener.accept()[0]
                self.connections += 1
                threads += self._connected(near)
        for thread in threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _connected(self, near: socket.socket) -> list[threading.Thread]:
        with self._lock:
            if not self._is_whole:
                near.close()
                return []
            self._ends.add(near)
            if self._is_mute:
                return []
            far = socket.socket(socket.AF_UNIX)
            self._ends.add(far)
            try:
                far.connect(self._path)
            except OSError:  # there is no server any more
                near.shutdown(socket.SHUT_RDWR)
                return []
        threads = [threading.Thread(target=_pass_on, args=ends) for ends in _both(near, far)]
        for thread in threads:
            thread.start()
        return threads


def _both(a: socket.socket, b: socket.socket) -> list[tuple[socket.socket, socket.socket]]:
    return [(a, b), (b, a)]


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
