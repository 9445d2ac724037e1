"""Names in an archive: where in the tree they are."""

from __future__ import annotations

from lunette._archive._errors import shown
from lunette.server.images.errors import InvalidImageError

__all__ = ["entry_path", "parent_of"]

_MAX_BYTES = 4095  # the kernel's PATH_MAX, less the end of the string
_MAX_DEPTH = 256


def entry_path(name: bytes) -> bytes:
    """Return where *name* is, relative to the root, which itself is an empty path.

    A name that begins with "/" is relative to the root too; one with ".." is refused.
    """
    parts = [part for part in name.split(b"/") if part and part != b"."]
    path = b"/".join(parts)
    if not name:
        raise InvalidImageError("it has an entry without a name; have the image built again")
    if b".." in parts:
        raise _refused(name, 'has ".." in its name')
    if b"\0" in path:
        raise _refused(name, "has a zero byte in its name")
    if len(path) > _MAX_BYTES or len(parts) > _MAX_DEPTH:
        raise _refused(name, f"is longer than {_MAX_BYTES} bytes or {_MAX_DEPTH} levels")
    return path


def _refused(name: bytes, why: str) -> InvalidImageError:
    return InvalidImageError(f"the entry {shown(name)} {why}; have the image built again")


def parent_of(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]
