"""An image that was pulled, as a sandbox's `/`: an overlay whose upper layer is the sandbox's own.

Unpacking made the places where bwrap mounts something real directories and files, so that none of
its paths goes over a link of the image. Everything else is made by the worker, inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen

from lunette.server.engines.bubblewrap._arguments import DEFAULT_PATH, shown_at
from lunette.server.engines.bubblewrap._hosts import bind_hosts
from lunette.server.engines.protocol import SandboxSpec
from lunette.server.images import image as images

__all__ = ["UnpackedImage"]


@frozen(kw_only=True)
class UnpackedImage:
    """See `Image` in `_arguments`; *rootfs* is kept from removal until *release* is called.

    A server with ids to give shows *rootfs* with those of the sandbox, as a directory of its disk.
    """

    image: images.Image
    rootfs: Path
    ranged: bool
    release: Callable[[], None] = field(eq=False)

    directories = ("workspace", "upper", "work")
    closed = ("/",)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PATH": DEFAULT_PATH, **self.image.environment}

    @property
    def working_dir(self) -> str | None:
        return self.image.working_dir

    @property
    def user(self) -> str | None:
        return self.image.user

    @property
    def passwd(self) -> str:
        return self.image.passwd

    @property
    def group(self) -> str:
        return self.image.group

    @property
    def source(self) -> Path | None:
        return self.rootfs if self.ranged else None

    def check(self, spec: SandboxSpec) -> None:
        """Whatever it is, it is made inside."""

    def below(self, disk: Path) -> list[str]:
        lower = shown_at(disk) if self.ranged else self.rootfs
        upper, work = str(disk / "upper"), str(disk / "work")
        return ["--overlay-src", str(lower), "--overlay", upper, work, "/"]

    def above(self, spec: SandboxSpec, disk: Path) -> list[str]:
        return bind_hosts(disk)
