"""Which symbolic links stay in the tree that they are in."""

from __future__ import annotations

__all__ = ["stays_inside"]


def stays_inside(link: bytes, depth: int) -> bool:
    """Whether *link*, in a directory *depth* levels below the root, leads to what is in the tree.

    It may go up at its beginning alone, since what comes before a later `..` may be a link too.
    """
    if link.startswith(b"/"):
        return False
    going_up = True
    for part in link.split(b"/"):
        if part == b"..":
            depth -= 1
            if depth < 0 or not going_up:
                return False
        elif part not in (b"", b"."):
            going_up = False
    return True
