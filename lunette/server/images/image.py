"""What is known of an image in the store, and how far a pull has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import asdict, field, fields_dict, frozen

__all__ = ["Image", "Mode", "Progress"]

Mode = Literal["range", "single"]
"""How the files of a tree are owned: by a range of ids (a root server), or all by one."""


@frozen(kw_only=True)
class Image:
    """An image that was unpacked.

    *image_id* is the digest of its configuration. *digest* is what the registry has under the
    image's name, so that NAME@DIGEST is this image for ever. *size* is in bytes of compressed
    layers, *unpacked* in bytes on disk. *environment*, *working_dir* and *user* are the
    configuration's; *passwd* and *group* the texts of the image's /etc/passwd and /etc/group.
    """

    image_id: str
    digest: str
    size: int
    unpacked: int
    created: str | None = None
    environment: Mapping[str, str] = field(factory=dict[str, str])
    working_dir: str | None = None
    user: str | None = None
    passwd: str = ""
    group: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what json.dumps takes."""
        return asdict(self) | {"environment": dict(self.environment)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Image:
        """Read what `to_json` wrote; raise TypeError where something is missing."""
        return cls(**{key: found[key] for key in fields_dict(cls) if key in found})


@frozen
class Progress:
    """How far a pull has come: *done* of *total* bytes of compressed layers."""

    stage: Literal["pulling", "unpacking"]
    done: int
    total: int

    def to_json(self) -> dict[str, Any]:
        """Return what json.dumps takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Progress:
        """Read what `to_json` wrote."""
        return cls(found["stage"], found["done"], found["total"])
