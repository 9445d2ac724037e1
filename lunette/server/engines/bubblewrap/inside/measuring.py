"""How much disk sandboxes use, measured by a process of its own, since that may take seconds.

There is no quota that an ordinary user could set: trees are walked, and files looked for that have
no name any more but are still open.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import stat
from collections.abc import Generator, Iterator

from lunette.server.engines.bubblewrap.inside import kernel, wire
from lunette.server.engines.bubblewrap.inside.wire import Message

__all__ = ["TOO_MUCH", "Measurer"]

# No program gets there by accident: directories deeper than any path is long, or a million
# descriptors.
TOO_MUCH = -1
_DEEPEST = 2048
_SPARE = 32  # descriptors, for what is not a directory of the tree
_BLOCK = 512  # bytes, of st_blocks in stat(2)
# What an empty file counts, since a disk has room for so many files.
_LEAST = 4096
# What another name of a file counts: it is in a directory, and takes time to look at.
_NAME = 256
_MOST_DESCRIPTORS = 1 << 20
_NICE = 19
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _TooDeepError(Exception):
    """There are directories below each other that are more than can be open."""


class Measurer:
    """Answers with the bytes of each of `trees`: a `path`, the sandbox's `pid1`, whether its root
    is `overlay`, the `limit` over which it need not be known more exactly, and of each file
    without a name that the server has `held` open its device, its inode and its blocks.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def serve(self) -> None:
        os.nice(_NICE)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        while received := wire.receive(self._sock):
            message, _ = received
            wire.send(self._sock, {"id": message["id"], "bytes": _measure(message["trees"])})


def _measure(trees: list[Message]) -> list[int]:
    named = _in_child(trees)
    nameless = _nameless(trees)
    return [
        TOO_MUCH if TOO_MUCH in (n, more) else n + more
        for n, more in zip(named, nameless, strict=True)
    ]


def _in_child(trees: list[Message]) -> list[int]:
    """Walk trees as somebody whom no mode keeps out, which this process must not become: then it
    could not look at the sandbox's processes any more.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            _let_no_mode_keep_out()
            content = json.dumps([_used(tree["path"], tree["limit"]) for tree in trees]).encode()
            with open(writing, "wb") as file:
                file.write(content)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        content = file.read()
    # This process ignores the ends of its children, as its parent did: the kernel reaps them.
    if not content:
        raise ChildProcessError("the process that measures was ended")
    found: list[int] = json.loads(content)
    return found


def _let_no_mode_keep_out() -> None:
    """Who is not root can be it over its own files, in a user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return
    with contextlib.suppress(OSError):
        kernel.unshare(kernel.CLONE_NEWUSER)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _used(path: str, limit: int) -> int:
    """Return the bytes that a tree takes on the disk; files with several names count once."""
    used = 0
    try:
        for size in _sizes(path):
            used += size
            if used > limit:
                break
        return used
    except _TooDeepError:
        return TOO_MUCH
    except (FileNotFoundError, NotADirectoryError):  # destroyed meanwhile
        return 0


def _sizes(path: str) -> Generator[int]:
    """Go through a tree that somebody hostile may be changing: nothing is followed by its name."""
    deepest = min(_DEEPEST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE)
    seen: set[int] = set()
    way = [_Directory(os.open(path, _DIRECTORY))]
    try:
        yield from way[-1].sizes(seen)
        while way:
            name = next(way[-1].directories, None)
            if name is None:
                way.pop().close()
                continue
            if len(way) >= deepest:
                raise _TooDeepError
            with contextlib.suppress(OSError):  # it changed, or is not ours to see
                way.append(_Directory(os.open(name, _DIRECTORY, dir_fd=way[-1].fd)))
                yield from way[-1].sizes(seen)
    finally:
        for directory in way:
            directory.close()


class _Directory:
    """An open directory, and those in it that are still to be gone through."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._found: list[str] = []
        self.directories: Iterator[str] = iter(())

    def sizes(self, seen: set[int]) -> Generator[int]:
        yield _size(os.fstat(self.fd))
        with os.scandir(self.fd) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    yield self._size(entry, seen)
        self.directories = iter(self._found)

    def _size(self, entry: os.DirEntry[str], seen: set[int]) -> int:
        if entry.is_dir(follow_symlinks=False):
            self._found.append(entry.name)
            return 0
        found = entry.stat(follow_symlinks=False)
        if found.st_nlink > 1:
            if found.st_ino in seen:
                return _NAME
            seen.add(found.st_ino)
        return _size(found)

    def close(self) -> None:
        os.close(self.fd)


def _size(found: os.stat_result) -> int:
    return max(found.st_blocks * _BLOCK, _LEAST)


def _nameless(trees: list[Message]) -> list[int]:
    """Return the bytes of files on each sandbox's disk that only open descriptors still hold."""
    found = [_held(tree) for tree in trees]
    looked = [0] * len(trees)
    places: dict[str, int] = {}
    for number, tree in enumerate(trees):
        with contextlib.suppress(OSError):
            places[os.readlink(f"/proc/{tree['pid1']}/ns/pid")] = number
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            place = places.get(os.readlink(f"/proc/{pid}/ns/pid"))
            if place is not None and looked[place] <= _MOST_DESCRIPTORS:
                descriptors = os.listdir(f"/proc/{pid}/fd")
                looked[place] += len(descriptors)
                found[place] |= _open_nameless(pid, descriptors, _devices(trees[place]))
    return [
        TOO_MUCH if many > _MOST_DESCRIPTORS else sum(files.values())
        for files, many in zip(found, looked, strict=True)
    ]


def _held(tree: Message) -> dict[tuple[int, int], int]:
    """Those that the server holds, which nobody inside may have open."""
    with contextlib.suppress(OSError):
        devices = _devices(tree) if tree["held"] else set[int]()
        return {(dev, inode): n * _BLOCK for dev, inode, n in tree["held"] if dev in devices}
    return {}


def _devices(tree: Message) -> set[int]:
    """The devices that files of a sandbox's disk have, as the sandbox sees them."""
    devices = {os.stat(tree["path"]).st_dev}
    if tree["overlay"]:
        devices.add(os.stat(f"/proc/{tree['pid1']}/root/").st_dev)
    return devices


def _open_nameless(
    pid: str, descriptors: list[str], devices: set[int]
) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for fd in descriptors:
        with contextlib.suppress(OSError):
            file = os.stat(f"/proc/{pid}/fd/{fd}")
            if file.st_nlink == 0 and file.st_dev in devices and stat.S_ISREG(file.st_mode):
                found[file.st_dev, file.st_ino] = file.st_blocks * _BLOCK
    return found
