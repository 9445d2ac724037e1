"""What can go wrong with an image; `kind` is what a pull prints, by which its reader knows it.

* ImageError
  · InvalidReferenceError: the text is no reference
  · ImageNotFoundError: the registry has no such image, or it may not be asked for it
  · RegistryDeniedError: the registry wants a login, or another one
  · RegistryError: it is out of reach, overloaded, or answers what it should not
  · InvalidImageError: the image is malformed, hostile, or too large
  · PlatformError: there is none for this machine
  · NoSpaceError: the disk is full
  · ImageInUseError: a sandbox runs on it
  · ImageStoreError: the directory of the images cannot be used
  · PullKilledError: the process that pulled it was killed
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ImageError",
    "ImageInUseError",
    "ImageNotFoundError",
    "ImageStoreError",
    "InvalidImageError",
    "InvalidReferenceError",
    "NoSpaceError",
    "PlatformError",
    "PullKilledError",
    "RegistryDeniedError",
    "RegistryError",
    "error_of_kind",
]


class ImageError(Exception):
    """The root; each message names the input and the mend, and never a credential."""

    kind: ClassVar[str] = "image"


class InvalidReferenceError(ImageError):
    """The text is no reference to an image."""

    kind = "invalid_reference"


class ImageNotFoundError(ImageError):
    """The registry has no such image; or it is not in the store, and no registry may be asked."""

    kind = "not_found"


class RegistryDeniedError(ImageError):
    """The registry refuses, also after a login where there is one."""

    kind = "denied"


class RegistryError(ImageError):
    """The registry is out of reach, fails again and again, or answers what it should not."""

    kind = "registry"


class InvalidImageError(ImageError):
    """The image is malformed or hostile, over a limit, or of a kind that is not known here."""

    kind = "invalid_image"


class PlatformError(ImageError):
    """There is no such image for this machine."""

    kind = "platform"


class NoSpaceError(ImageError):
    """The disk is full, or would be."""

    kind = "no_space"


class ImageInUseError(ImageError):
    """A sandbox runs on the image."""

    kind = "in_use"


class PullKilledError(ImageError):
    """The process that pulled the image was killed, perhaps for want of memory."""

    kind = "killed"


class ImageStoreError(ImageError):
    """The directory of the images cannot be used."""

    kind = "store"


def error_of_kind(kind: str, message: str) -> ImageError:
    """Make the error that a pull in another process has printed."""
    kinds = {error.kind: error for error in ImageError.__subclasses__()}
    return kinds.get(kind, ImageError)(message)
