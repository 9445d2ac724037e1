"""The images of one server."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._connector import Caller, Connector
    from ._progress import ShowProgress
    from .results import ImageInfo

__all__ = ["Images"]


class Images:
    """The images that a server has pulled; a sandbox pulls what it needs by itself."""

    def __init__(self, connector: Connector, caller: Caller) -> None:
        self._connector = connector
        self._caller = caller

    def list(self) -> builtins.list[ImageInfo]:
        """Look at the images that were pulled, by the order of their names."""
        self._connector.begin()
        from ._operations import images

        return self._caller.run(images.list_all)

    async def alist(self) -> builtins.list[ImageInfo]:
        """Look at the images that were pulled, by the order of their names."""
        await self._connector.abegin()
        from ._operations import images

        return await self._caller.arun(images.list_all)

    def pull(self, reference: str, *, progress: ShowProgress = False) -> ImageInfo:
        """Get an image such as `python:3.11-slim`, or what its registry has of it now.

        *progress* shows a bar (`lunette-sandbox[progress]`), or is a function that is told the
        bytes done and in all. Raise `ImageNotFoundError` or another `ImageError`.
        """
        self._connector.begin()
        from ._operations import images
        from ._progress import shown

        with shown(progress) as report:
            return self._caller.run(images.pull, reference, report)

    async def apull(self, reference: str, *, progress: ShowProgress = False) -> ImageInfo:
        """Get an image such as `python:3.11-slim`, or what its registry has of it now.

        *progress* shows a bar (`lunette-sandbox[progress]`), or is a function that is told the
        bytes done and in all. Raise `ImageNotFoundError` or another `ImageError`.
        """
        await self._connector.abegin()
        from ._operations import images
        from ._progress import shown

        with shown(progress) as report:
            return await self._caller.arun(images.pull, reference, report)

    def remove(self, reference: str) -> None:
        """Forget a reference, and remove what only it needed; `ImageError` while it is in use."""
        self._connector.begin()
        from ._operations import images

        self._caller.run(images.remove, reference)

    async def aremove(self, reference: str) -> None:
        """Forget a reference, and remove what only it needed; `ImageError` while it is in use."""
        await self._connector.abegin()
        from ._operations import images

        await self._caller.arun(images.remove, reference)
