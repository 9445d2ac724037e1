"""Pull, list and remove the images of a server."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING

from .._io import IO
from .._progress import Report
from ..results import ImageInfo
from . import parsed, preference, published
from .server import is_published

if TYPE_CHECKING:
    from lunette_api.models import Image

__all__ = ["list_all", "pull", "remove"]


async def list_all(io: IO) -> list[ImageInfo]:
    """Look at the images that were pulled."""
    from lunette_api.api.images import list_images
    from lunette_api.models import ImageList

    await _refuse_published(io)
    answer = parsed(await io.send(list_images._get_kwargs()), ImageList.from_dict)
    return [_info(image) for image in answer.images]


async def pull(io: IO, reference: str, report: Report | None) -> ImageInfo:
    """Get an image from its registry."""
    from lunette_api.api.images import pull_image
    from lunette_api.models import Image, Progress

    await _refuse_published(io)
    request = pull_image._get_kwargs(_text(reference), prefer=preference(io, report))
    while True:
        response = await io.send(request)
        image = parsed(response, Image.from_dict)
        if response.status_code != 202:
            return _info(image)
        if report is not None and isinstance(image.progress, Progress):
            report(image.progress)


async def remove(io: IO, reference: str) -> None:
    """Forget a reference, with what only it needed."""
    from lunette_api.api.images import remove_image

    await _refuse_published(io)
    await io.send(remove_image._get_kwargs(_text(reference)))


async def _refuse_published(io: IO) -> None:
    if await is_published(io):
        raise published.refuse("images", "it pulls what a sandbox names")


def _text(reference: object) -> str:
    if not isinstance(reference, str):
        raise TypeError(f"an image is named by a string, not by {type(reference).__name__}")
    if not reference:
        raise ValueError("an image is named by a string such as 'python:3.11-slim', not by ''")
    return reference


def _info(wire: Image) -> ImageInfo:
    return ImageInfo(
        reference=wire.reference,
        image_id=wire.image_id or "",
        digest=wire.digest or "",
        size=wire.size or 0,
        unpacked=wire.unpacked or 0,
        created=wire.created or None,
        pulled_at=wire.pulled_at or None,
    )
