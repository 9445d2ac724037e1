"""`lunette images`: what a server has pulled."""

# No `from __future__ import annotations`: typer evaluates annotations.

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from ._table import amount, moment, print_table

if TYPE_CHECKING:
    import typer

    from .images import Images
    from .results import ImageInfo

__all__ = ["images_application", "shows_progress"]

_HEAD = ("REFERENCE", "IMAGE ID", "SIZE", "UNPACKED", "PULLED (UTC)")


def images_application() -> "typer.Typer":
    """Return the commands of `lunette images`."""
    import typer

    application = typer.Typer(help="The images of a server.", no_args_is_help=True)

    @application.command("ls")
    def ls(
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="References alone.")] = False,
    ) -> None:
        """List the images that were pulled."""
        raise typer.Exit(_with_images(lambda images: _list(images.list(), quiet=quiet)))

    @application.command("pull")
    def pull(
        reference: Annotated[str, typer.Argument(help="Such as python:3.11-slim.")],
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    ) -> None:
        """Get an image, or what its registry has of it now."""
        progress = shows_progress() and not quiet
        raise typer.Exit(
            _with_images(lambda images: print(images.pull(reference, progress=progress).reference))
        )

    @application.command("rm")
    def rm(references: Annotated[list[str], typer.Argument(help="Images.")]) -> None:
        """Forget references, and remove what only they needed."""

        def remove(images: "Images") -> None:
            for reference in references:
                images.remove(reference)

        raise typer.Exit(_with_images(remove))

    _ = (ls, pull, rm)  # they are called through `application`
    return application


def shows_progress() -> bool:
    """Whether a bar can be shown, and to somebody."""
    from importlib.util import find_spec

    return sys.stderr.isatty() and find_spec("tqdm") is not None


def _with_images(work: "Callable[[Images], None]") -> int:
    import httpx

    from lunette import LunetteClient, LunetteError

    try:
        with LunetteClient() as client:
            work(client.images)
    except (LunetteError, httpx.HTTPError, ValueError) as error:
        print(f"lunette: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _list(found: "list[ImageInfo]", *, quiet: bool) -> None:
    if quiet:
        print("".join(f"{image.reference}\n" for image in found), end="")
        return
    print_table(_HEAD, map(_row, found))


def _row(image: "ImageInfo") -> tuple[str, ...]:
    short = image.image_id.removeprefix("sha256:")[:12]
    sizes = amount(image.size), amount(image.unpacked)
    return image.reference, short, *sizes, moment(image.pulled_at)
