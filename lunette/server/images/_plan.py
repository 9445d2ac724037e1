"""What an unpacking is given, and what it says afterwards."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

__all__ = ["IdMap", "Layer", "Limits", "Unpacked"]


@frozen
class Layer:
    """A layer's file, *size* bytes of it; *media_type* is what the manifest calls it."""

    path: Path
    media_type: str
    size: int


@frozen
class IdMap:
    """The users 0 to *count* - 1 of an image are *base* to *base* + *count* - 1 of this machine.
    The same goes for groups.
    """

    base: int
    count: int


@frozen
class Limits:
    """How many *bytes* and *files* an image may unpack to, and how many bytes must stay *free* on
    the disk.

    What a later layer replaces or removes counts too, and so do the holes of a sparse file.
    """

    bytes: int
    files: int
    free: int


@frozen
class Unpacked:
    """The bytes in all files of the tree, how many entries the layers had, and the text of
    `/etc/passwd` and `/etc/group`, which is empty where they are no files or unreasonably large.
    """

    size: int
    files: int
    passwd: str
    group: str
