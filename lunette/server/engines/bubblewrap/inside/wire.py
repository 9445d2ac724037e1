"""Messages between the server, the fork server and its workers: JSON and descriptors over
SOCK_SEQPACKET.

A message that could be over the socket's buffer travels in a memfd, the first of its descriptors.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from typing import Any, cast

__all__ = ["MARKER", "MAX_FDS", "Message", "receive", "send"]

Message = dict[str, Any]
# The variable by which all that a command starts is known to be its own.
MARKER = "LUNETTE_EXEC_ID"
MAX_FDS = 8
_INLINE = 32 * 1024
_RIGHTS_SIZE = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
_IN_MEMFD = b"memfd"
# What stands for an answer whose descriptors did not arrive, whatever was asked, with what it says
# of a command that runs, or of a file that is begun, all the same.
_KEPT = ("id", "pid", "marker", "begun")
_NO_DESCRIPTORS = {
    "errno": errno.EMFILE,
    "kind": "OSError",
    "path": None,
    "error": "no room for more descriptors",
    "working_dir": "/",
}


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message whole, or raise BlockingIOError and send nothing."""
    body = json.dumps(message).encode()
    if len(body) <= _INLINE:
        _send(sock, body, fds)
        return
    memfd = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        with open(memfd, "wb", closefd=False) as file:
            file.write(body)
        os.lseek(memfd, 0, os.SEEK_SET)
        _send(sock, _IN_MEMFD, [memfd, *fds])
    finally:
        os.close(memfd)


def _send(sock: socket.socket, body: bytes, fds: Sequence[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([body], rights, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """Receive one message and its descriptors, close-on-exec; None when the other side is gone, or
    sends what is no message.
    """
    body, rights, flags = _received(sock)
    if not body:
        return None
    fds = array.array("i")
    for _, _, data in rights:
        fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    try:
        if flags & socket.MSG_CTRUNC:  # this process has no room for them all
            known = {} if body == _IN_MEMFD else _parsed(body)
            _close(fds)
            return {**{name: known[name] for name in _KEPT if name in known}, **_NO_DESCRIPTORS}, []
        if body == _IN_MEMFD:
            body = _content(fds.pop(0))
        return _parsed(body), fds.tolist()
    except (ValueError, IndexError, RecursionError):
        _close(fds)
        return None


def _content(memfd: int) -> bytes:
    with open(memfd, "rb") as file:
        if not stat.S_ISREG(os.fstat(memfd).st_mode):
            raise ValueError("not a memfd, and to read it may take for ever")
        return file.read()


def _parsed(body: bytes) -> Message:
    message = json.loads(body)
    if not isinstance(message, dict):
        raise ValueError("not a message")
    return cast(Message, message)


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _received(sock: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
    while True:
        with contextlib.suppress(ConnectionResetError):  # said once, and before what was sent
            # socket.recv_fds takes flags and does not pass them on; without this one, commands
            # inherit the descriptors.
            received = sock.recvmsg(_INLINE * 2, _RIGHTS_SIZE, socket.MSG_CMSG_CLOEXEC)
            return received[0], received[1], received[2]
