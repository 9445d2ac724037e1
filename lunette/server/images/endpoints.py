"""The tag `images` of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from attrs import asdict
from starlette.requests import Request
from starlette.responses import Response

from lunette.server import _contract
from lunette.server._json import answer
from lunette.server._problems import Problem, engine_problem
from lunette.server._resource import Resource
from lunette.server._waiting import preferred_wait
from lunette.server.engines.protocol import Images, PulledImage
from lunette.server.registry import Registry

from .errors import ImageError
from .image import Progress
from .reference import Reference

__all__ = ["ImageEndpoints"]

# How long a pull goes on after a 202 whose client does not come back.
_UNASKED_SECONDS = 60.0


class ImageEndpoints:
    """List, pull and remove images."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pulls: dict[Reference, _Pull] = {}

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this tag."""
        return {
            "/images": Resource(GET=self._list),
            # A reference has slashes, which some proxies decode.
            "/images/{reference:path}": Resource(PUT=self._pull, DELETE=self._remove),
        }

    async def _list(self, request: Request) -> Response:
        engine = await self._registry.engine()
        found: Sequence[PulledImage] = ()
        if engine.images is not None:
            found = await engine.images.all()
        return answer({"images": [_described(image) for image in found]})

    async def _pull(self, request: Request) -> Response:
        images, reference = await self._asked("pull_image", request)
        pull = self._pulls.get(reference)
        if pull is None:
            self._registry.draining.check()
            pull = self._pulls[reference] = _Pull(images, reference, self._forget)
        if not await pull.wait(preferred_wait(request)):
            response = answer(_under_way(reference, pull.progress), 202)
            response.headers["Preference-Applied"] = "respond-async"
            return response
        try:
            return answer(_described(pull.task.result()))
        except ImageError as error:
            raise _problem(error) from error
        except asyncio.CancelledError:
            raise Problem(503, "engine_unavailable", "the server is closing") from None

    def _forget(self, reference: Reference, pull: _Pull) -> None:
        """Let nobody join what has ended; there may be another by now."""
        if self._pulls.get(reference) is pull:
            del self._pulls[reference]

    async def _remove(self, request: Request) -> Response:
        images, reference = await self._asked("remove_image", request)
        try:
            await images.remove(str(reference))
        except ImageError as error:
            raise _problem(error) from error
        self._pulls.pop(reference, None)
        return Response(status_code=204)

    async def _asked(self, operation: str, request: Request) -> tuple[Images, Reference]:
        _contract.check_parameters(operation, request.path_params)
        engine = await self._registry.engine()
        if engine.images is None:
            raise Problem(422, "not_supported", "this server pulls no images", key="reference")
        try:
            return engine.images, Reference.parse(request.path_params["reference"])
        except ImageError as error:
            raise Problem(422, "invalid_request", str(error), key="reference") from None


class _Pull:
    """A pull that goes on between the requests that ask for it.

    How it ended is kept for as many requests as were told to come back; whoever asks later has the
    registry asked again.
    """

    def __init__(
        self, images: Images, reference: Reference, forget: Callable[[Reference, _Pull], None]
    ) -> None:
        self._reference = reference
        self._forget = forget
        self.progress: Progress | None = None
        self.task = asyncio.create_task(images.pull(str(reference), "always", self._report))
        self.task.add_done_callback(self._ended)
        self._asking = self._owed = 0
        self._ending: asyncio.TimerHandle | None = None

    async def wait(self, seconds: float | None) -> bool:
        """Return whether it has ended, after *seconds* at most."""
        if self._ending is not None:
            self._ending.cancel()
        self._asking += 1
        self._owed = max(0, self._owed - 1)  # of those who come back this is one
        try:
            await asyncio.wait([self.task], timeout=seconds)
        finally:
            self._asking -= 1
            if not self._asking:
                loop = asyncio.get_running_loop()
                self._ending = loop.call_later(_UNASKED_SECONDS, self._give_up)
        if not self.task.done():
            self._owed += 1
            return False
        if not self._owed:
            self._forget(self._reference, self)
        return True

    def _ended(self, task: asyncio.Task[PulledImage]) -> None:
        _ = task.cancelled() or task.exception()  # whoever asked may never come back
        if not self._owed:
            self._forget(self._reference, self)

    def _give_up(self) -> None:
        self.task.cancel()
        self._forget(self._reference, self)

    def _report(self, progress: Progress) -> None:
        self.progress = progress


def _problem(error: ImageError) -> Problem:
    problem = engine_problem(error)
    assert problem is not None
    return Problem(problem.status, problem.code, problem.detail, key="reference")


def _described(image: PulledImage) -> dict[str, Any]:
    known = {key: value for key, value in asdict(image).items() if value is not None}
    return {**known, "state": "ready"}


def _under_way(reference: Reference, progress: Progress | None) -> dict[str, Any]:
    info: dict[str, Any] = {"reference": str(reference), "state": "pulling"}
    if progress is not None:
        info["progress"] = progress.to_json()
    return info
