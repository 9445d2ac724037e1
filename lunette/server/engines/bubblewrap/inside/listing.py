"""Listing a directory, down to some depth, while somebody hostile may be changing it."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import stat
from collections.abc import Iterator

from lunette._archive._trail import Trail
from lunette.server.engines.bubblewrap.inside.files import described
from lunette.server.engines.bubblewrap.inside.wire import Message

__all__ = ["listed"]

_BLOCK = 128 * 1024
_SORTED = 200_001  # more than any answer has, so that the order of the rest is nobody's
_LONGEST = 4096  # PATH_MAX: nobody could ask for what is further down


def listed(root: int, depth: int) -> Iterator[bytes]:
    """Yield lines of JSON: the real path of the directory *root*, and what is in it down to
    *depth*, 0 without a bound.

    A directory comes before what is in it, else names decide; what vanishes or is closed is left
    out.
    """
    block = bytearray(_line(_real_path(root)))
    with Trail(root) as trail:
        for entry in _walk(trail, depth):
            block += _line(entry)
            if len(block) >= _BLOCK:
                yield bytes(block)
                block.clear()
    yield bytes(block)


def _line(content: Message | str) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def _real_path(root: int) -> str:
    os.fchdir(root)  # there is no other way to be sure of it
    return os.getcwdb().decode(errors="replace")


def _walk(trail: Trail, depth: int) -> Iterator[Message]:
    levels = [_names(trail)]
    while levels:
        name = next(levels[-1], None)
        if name is None:
            levels.pop()
            if levels:
                trail.up()
            continue
        with contextlib.suppress(OSError):
            found = os.stat(name, dir_fd=trail.fd, follow_symlinks=False)
            yield _entry(trail, name, found)
            goes_on = stat.S_ISDIR(found.st_mode) and (not depth or len(levels) < depth)
            if goes_on and len(trail.path(name)) < _LONGEST:
                trail.down(name)
                levels.append(_names(trail))


def _names(trail: Trail) -> Iterator[bytes]:
    try:
        names = (os.fsencode(entry.name) for entry in os.scandir(trail.fd))
        return itertools.chain(sorted(itertools.islice(names, _SORTED)), names)
    except OSError:
        return iter(())


def _entry(trail: Trail, name: bytes, found: os.stat_result) -> Message:
    path = trail.path(name)
    target = os.readlink(name, dir_fd=trail.fd) if stat.S_ISLNK(found.st_mode) else None
    entry = described(path.decode(errors="replace"), found, None)
    if target is not None:
        entry["target"] = target.decode(errors="replace")
    if entry["path"].encode() != path:
        entry["path_base64"] = base64.b64encode(path).decode()
    return entry
