"""What may take long: whole directories, by a process of its own for each that enters the sandbox.

It stays in the host's pid namespace, where the sandbox cannot see, signal or trace it, and ends
after its one job. It is no child of the sandbox's worker, whose children are inside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import traceback
from collections.abc import Callable, Iterator

from lunette._archive import Extractor, pack, place, remove
from lunette.server.engines.bubblewrap.inside import entering, kernel, limits, wire
from lunette.server.engines.bubblewrap.inside.copying import copy
from lunette.server.engines.bubblewrap.inside.files import make_directories, os_error, place_of
from lunette.server.engines.bubblewrap.inside.listing import listed
from lunette.server.engines.bubblewrap.inside.resolving import real_path
from lunette.server.engines.bubblewrap.inside.uploads import temporary_name
from lunette.server.engines.bubblewrap.inside.wire import Message

__all__ = ["FileWorker"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BLOCK = 1 << 20


class FileWorker:
    """Does what the first message over *sock* says, in the sandbox that it names, and ends.

    Says when it has `begun`, or why not, and then when it is `done`, or why not. The message brings
    the pidfd of the sandbox's first process, and for bytes a pipe.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parent = os.getppid()
        self._asked = ""  # the path, as errors have it
        self._jobs: dict[str, Callable[[Message, list[int]], None]] = {
            "pack": self._pack,
            "unpack": self._unpack,
            "list": self._list,
            "remove": self._remove,
            "move": self._move,
        }

    def serve(self) -> None:
        self._keep_nothing()
        kernel.die_with_parent(self._parent)
        received = wire.receive(self._sock)
        if received is None:
            return
        message, fds = received
        if "op" not in message:  # its descriptors found no room here
            wire.send(self._sock, {"outside": message["error"]})
            return
        if self._enter(message, fds.pop(0)):
            self._do(message, fds)

    def _keep_nothing(self) -> None:
        """Close what the fork server had open, among it the server's log."""
        os.dup2(1, 2)
        os.closerange(3, self._sock.fileno())
        os.closerange(self._sock.fileno() + 1, os.sysconf("SC_OPEN_MAX"))

    def _enter(self, message: Message, pidfd: int) -> bool:
        try:
            limits.join(message["groups"])
            entering.enter_checked(message["pid1"], pidfd, message["base"])
            limits.apply(limits.of_file_worker(message["processes"], message["disk"]))
            entering.settle(message)
            kernel.die_with_parent(self._parent)
            os.close(pidfd)
        except OSError as error:
            wire.send(self._sock, {"outside": error.strerror})
            return False
        return True

    def _do(self, message: Message, pipes: list[int]) -> None:
        self._asked = message["path"]
        try:
            message["path"] = os.path.join(message["working_dir"], message["path"])
            self._jobs[message["op"]](message, pipes)
        except OSError as error:
            self._fail(error.errno or errno.EIO, error.filename, detail=error.strerror)
        except RecursionError:
            self._fail(errno.ELOOP)
        except MemoryError:  # of what it may have, see `limits`
            self._fail(errno.EOVERFLOW, detail="There are too many files")
        except (ValueError, re.error) as error:  # such as of an archive that is none
            self._fail(errno.EINVAL, detail=str(error))
        except Exception:
            self._say({"fault": traceback.format_exc()})
        else:
            self._say({"done": True})

    def _fail(self, number: int, filename: object = None, *, detail: str | None = None) -> None:
        path = os.fsdecode(filename) if isinstance(filename, str | bytes) else ""
        known = path if path.startswith(f"{self._asked.rstrip('/')}/") else self._asked
        self._say({"errno": number, "kind": "OSError", "path": known, "detail": detail})

    def _say(self, message: Message) -> None:
        with contextlib.suppress(OSError):  # nobody wants to know any more
            wire.send(self._sock, message)

    # Out

    def _pack(self, message: Message, pipes: list[int]) -> None:
        root = os.open(message["path"], _DIRECTORY)
        rules = [(rule, ignored) for rule, ignored in message["rules"]]
        self._give(pipes[0], pack(root, rules, path=self._asked))

    def _list(self, message: Message, pipes: list[int]) -> None:
        root = os.open(message["path"], _DIRECTORY)
        self._give(pipes[0], listed(root, message["depth"]))

    def _give(self, pipe: int, blocks: Iterator[bytes]) -> None:
        self._say({"begun": True})
        try:
            for block in blocks:
                _write(pipe, block)
        finally:
            os.close(pipe)

    # In

    def _unpack(self, message: Message, pipes: list[int]) -> None:
        with _Staging(message["path"]) as staging:
            with Extractor(
                staging.fd, safe_links=False, hard_links=True, path=self._asked
            ) as extractor:
                os.fchmod(staging.fd, 0o700)
                self._say({"begun": True})
                self._feed(extractor, pipes[0])
                extractor.finish()
            if wire.receive(self._sock) is None:  # it is given up
                return
            place(staging.parent, staging.temporary, staging.name, path=self._asked)

    def _feed(self, extractor: Extractor, pipe: int) -> None:
        buffer = bytearray(_BLOCK)
        view = memoryview(buffer)
        try:
            while size := os.readv(pipe, [buffer]):
                extractor.feed(view[:size])
        finally:
            os.close(pipe)  # who writes to it hears of an error by that

    # Away

    def _remove(self, message: Message, _: list[int]) -> None:
        parent, name = place_of(message["path"])
        if not name:
            raise os_error(errno.EBUSY, self._asked)
        directory = os.open(parent, _DIRECTORY)
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        remove(directory, name)

    def _move(self, message: Message, _: list[int]) -> None:
        """Copy, rename, and remove, since that is to another file system."""
        asked: str = self._asked
        asked_target: str = message["target"]
        source, name = place_of(message["path"])
        here = os.open(source, _DIRECTORY)
        target, new_name = place_of(os.path.join(message["working_dir"], asked_target))
        _check_move(os.path.join(source, name), source, target)
        self._asked = asked_target
        there = os.open(target, _DIRECTORY)
        _copy_over(here, name, there, new_name)
        self._asked = asked
        remove(here, name)


class _Staging:
    """A new directory on the file system of *path*, which is made, or will be merged with.

    `temporary` and `name` are in the directory `parent`, and `fd` is the former, which is removed
    at the end, where it still is.
    """

    def __init__(self, path: str) -> None:
        where = real_path(path)
        try:
            self.parent = os.open(where, _DIRECTORY | os.O_NOFOLLOW)
            self.name = "."  # beside it there may be another file system, or one that is closed
        except FileNotFoundError:
            directory, self.name = os.path.split(where)
            make_directories(directory)
            self.parent = os.open(directory, _DIRECTORY)
        self.temporary = temporary_name()
        os.mkdir(self.temporary, dir_fd=self.parent)
        self.fd = os.open(self.temporary, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.parent)

    def __enter__(self) -> _Staging:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            remove(self.parent, self.temporary)


def _copy_over(source: int, name: str, target: int, new_name: str) -> None:
    temporary = temporary_name()
    try:
        copy(source, os.fsencode(name), target, temporary.encode())
        os.rename(temporary, new_name, src_dir_fd=target, dst_dir_fd=target)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(target, temporary)
        raise


def _check_move(moved: str, source: str, target: str) -> None:
    """Refuse what would be copied for ever, or could not be removed afterwards."""
    if f"{target}/".startswith(f"{moved}/") and stat.S_ISDIR(os.lstat(moved).st_mode):
        raise os_error(errno.EINVAL, moved)
    if os.statvfs(source).f_flag & os.ST_RDONLY:
        raise os_error(errno.EROFS, moved)
    if not os.access(source, os.W_OK):
        raise os_error(errno.EACCES, moved)


def _write(pipe: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(pipe, view) :]
