"""Applying one layer after the other to a tree."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from lunette._archive._errors import InvalidHeaderError, shown
from lunette.server.images._budget import Budget, Pace
from lunette.server.images._stream import open_stream
from lunette.server.images._tar import Archive
from lunette.server.images._tree import Tree
from lunette.server.images.errors import ImageError, InvalidImageError, NoSpaceError, error_of_kind

__all__ = ["apply_layers", "explained"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
# What no entry can cause.
_OF_THE_MACHINE = (errno.EIO, errno.EROFS, errno.ENOMEM, errno.EACCES, errno.ENFILE, errno.EMFILE)


def apply_layers(
    layers: Sequence[tuple[int, str]], tree: Tree, budget: Budget, report: Callable[[int], None]
) -> None:
    """Apply *layers*, the lowest first: each a descriptor and a media type.

    *report* is told how many bytes of them are done, at the end of each and now and then.
    """
    done = 0
    for number, (fd, media_type) in enumerate(layers, start=1):
        if number > 1:
            tree.next_layer()
        try:
            _apply(fd, media_type, tree, budget, _after(done, Pace(report)))
        except ImageError as error:
            message = f"layer {number} of {len(layers)}: {error}"
            raise error_of_kind(error.kind, message) from error
        done += os.fstat(fd).st_size
        report(done)


def _after(before: int, report: Callable[[int], None]) -> Callable[[int], None]:
    return lambda done: report(before + done)


def _apply(
    fd: int, media_type: str, tree: Tree, budget: Budget, progress: Callable[[int], None]
) -> None:
    with open_stream(fd, media_type, progress) as stream:
        archive = Archive(stream, budget.claim)
        try:
            _apply_entries(archive, tree)
        except InvalidHeaderError as error:
            message = f"its archive has {error}; have the image built again"
            raise InvalidImageError(message) from error


def _apply_entries(archive: Archive, tree: Tree) -> None:
    for entry in archive:
        try:
            tree.apply(entry, archive)
        except OSError as error:
            raise explained(error, f"the entry {shown(entry.name)}") from error


def explained(error: OSError, what: str) -> ImageError:
    """Return what *error* means, which came of making *what*."""
    if error.errno in _FULL:
        return NoSpaceError(
            f"the disk is full ({error.strerror}); remove images that you no longer need"
        )
    if error.errno in _OF_THE_MACHINE:
        return ImageError(f"{what} cannot be written: {error.strerror}")
    return InvalidImageError(f"{what} cannot be made: {error.strerror}; have the image built again")
