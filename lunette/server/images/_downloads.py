"""Blobs, several at once: taken up where a connection was cut, and kept once they are verified."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
from attrs import frozen

from ._blobs import Blobs
from ._disk import is_full
from ._locks import Lock
from ._manifests import Descriptor
from ._patience import PassingError, Patience, Tries
from .errors import RegistryError
from .registry import Registry

__all__ = ["Downloads", "Stop", "StoppedError"]

_AT_ONCE = 4
_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

Report = Callable[[str, int], None]
"""Is told how many bytes there are of a digest, from several threads."""


class StoppedError(Exception):
    """There is no use in going on: another thread has failed."""


class Stop:
    """Ends the waiting of all threads."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Let every thread raise StoppedError as soon as it looks."""
        self._event.set()

    def pause(self, seconds: float) -> None:
        """Wait; raise StoppedError if it is over."""
        if self._event.wait(seconds):
            raise StoppedError

    def check(self) -> None:
        """Raise StoppedError if it is over."""
        if self._event.is_set():
            raise StoppedError


class _WrongError(Exception):
    """What came is not what the digest says; the message says how."""


@frozen(kw_only=True)
class Downloads:
    """Where blobs come from, and where they go."""

    registry: Registry
    blobs: Blobs
    patience: Patience
    stop: Stop
    report: Report

    def get_all(self, wanted: Sequence[Descriptor]) -> None:
        """Have all *wanted* in the store, or raise the error of the first that fails."""
        unique = {blob.digest: blob for blob in wanted}
        with ThreadPoolExecutor(_AT_ONCE, "lunette-blob") as threads:
            tasks = [threads.submit(self.get, blob) for blob in unique.values()]
            try:
                for task in as_completed(tasks):
                    task.result()
            except BaseException:
                self.stop.set()
                raise

    def get(self, blob: Descriptor) -> None:
        """Have *blob* in the store; if another process downloads it, wait for that one."""
        while not self.blobs.has(blob):
            self.stop.check()
            with self.blobs.unfinished(blob.digest, lambda s: self._look(blob, s)) as lock:
                if not self.blobs.has(blob):
                    _Download(self, blob, lock).run()
        self.report(blob.digest, blob.size)

    def _look(self, blob: Descriptor, seconds: float) -> None:
        self.report(blob.digest, self.blobs.unfinished_size(blob))
        self.stop.pause(seconds)


class _Download:
    """One blob, into the file behind *lock*."""

    def __init__(self, shared: Downloads, blob: Descriptor, lock: Lock) -> None:
        self._shared = shared
        self._blob = blob
        self._lock = lock
        self._size = 0
        self._hash = hashlib.sha256()

    def run(self) -> None:
        """Get what is missing, verify the whole, and give it its name."""
        try:
            self._take_up()
            self._complete()
        except _WrongError:
            # It may be the beginning, of long ago: once more, and all of it.
            self._start_over()
            try:
                self._complete()
            except _WrongError as error:
                self._start_over()
                raise RegistryError(
                    f"the blob {self._blob.digest} is not what its digest says: {error};"
                    " have the image pushed again, or try another registry"
                ) from error
        self._shared.blobs.finish(self._blob.digest, self._lock)

    def _take_up(self) -> None:
        """Hash what an earlier download has left."""
        os.lseek(self._lock.fd, 0, os.SEEK_SET)
        while chunk := os.read(self._lock.fd, _CHUNK):
            self._add(chunk)
        if self._size > self._blob.size:
            raise _WrongError(f"it has over {self._blob.size} bytes")

    def _start_over(self) -> None:
        os.ftruncate(self._lock.fd, 0)
        os.lseek(self._lock.fd, 0, os.SEEK_SET)
        self._size = 0
        self._hash = hashlib.sha256()

    def _complete(self) -> None:
        tries = Tries(self._shared.patience, self._shared.stop.pause)
        counted = self._size
        while self._size < self._blob.size:
            try:
                self._receive()
            except PassingError as error:
                if self._size - counted >= self._shared.patience.progress:
                    tries.progressed()
                    counted = self._size
                tries.failed(error)
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._blob.digest:
            raise _WrongError(f"it is {found}")

    def _receive(self) -> None:
        """Get the rest, or as much as comes; raise PassingError if that is not all."""
        with self._shared.registry.blob(self._blob.digest, start=self._size) as response:
            self._check_head(response)
            for chunk in response.iter_raw():  # of a larger one, a cut would lose the beginning
                self._shared.stop.check()
                self._write(chunk)
        if self._size < self._blob.size:
            raise PassingError(RegistryError(f"{response.url.host} cuts {self._blob.digest} off"))

    def _check_head(self, response: httpx.Response) -> None:
        """See whether the body can be the rest of the blob; a whole one starts over."""
        size = self._blob.size
        if response.status_code == 416:
            raise _WrongError(f"the registry has no more than {self._size} bytes of it")
        if response.status_code == 200 and self._size:
            self._start_over()
        if response.status_code == 206:
            found = _RANGE.fullmatch(response.headers.get("content-range", ""))
            if found is None or int(found[1]) != self._size or found[3] not in {"*", str(size)}:
                raise _WrongError("the registry sends another part of it than was asked for")
        length = response.headers.get("content-length", "")
        if length.isdecimal() and self._size + int(length) != size:
            raise _WrongError(f"the registry has {self._size + int(length)} bytes, not {size}")

    def _write(self, chunk: bytes) -> None:
        if self._size + len(chunk) > self._blob.size:
            raise _WrongError(f"the registry sends over {self._blob.size} bytes")
        self._add(chunk)
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._lock.fd, view) :]
        except OSError as error:
            if is_full(error):  # then nobody needs the space less than this
                self._start_over()
            raise

    def _add(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._size += len(chunk)
        self._shared.report(self._blob.digest, self._size)
