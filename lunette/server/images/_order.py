"""What a pull is told to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from .image import Mode
from .reference import Reference

__all__ = ["Order"]


@frozen(kw_only=True)
class Order:
    """Which image, and where it goes.

    *ids* are (base, count) of the users that the files of a root server's images belong to, None
    where they belong to the one who pulls. An image may unpack to *most_bytes* in *most_files*,
    and *free* bytes stay free on the disk. *insecure* and *mirrors* are as in `Registry`.
    """

    store: Path
    reference: Reference
    policy: Literal["missing", "always", "never"] = "missing"
    ids: tuple[int, int] | None = None
    most_bytes: int
    most_files: int
    free: int
    insecure: tuple[str, ...] = ()
    mirrors: Mapping[str, str] = field(factory=dict[str, str])

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Order:
        """Read what the server wrote; raise InvalidReferenceError, or KeyError for a bug."""
        limits, ids = found["limits"], found.get("ids")
        return cls(
            store=Path(found["store"]),
            reference=Reference.parse(found["reference"]),
            policy=found.get("policy", "missing"),
            ids=None if ids is None else (ids[0], ids[1]),
            most_bytes=limits["bytes"],
            most_files=limits["files"],
            free=limits["free"],
            insecure=tuple(found.get("insecure", ())),
            mirrors=found.get("mirrors", {}),
        )

    @property
    def mode(self) -> Mode:
        """How the files of the tree are owned."""
        return "single" if self.ids is None else "range"

    @property
    def must_ask(self) -> bool:
        """Whether to ask about an image that is here; a digest means the same for ever."""
        return self.policy == "always" and self.reference.digest is None
