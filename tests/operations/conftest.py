"""A scripted IO: canned answers, and a diary of what was asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from lunette import RetryPolicy
from lunette._answers import from_answer
from lunette._io import Body, Incoming, Profile, Request


class ScriptedIO:
    """`IO` in which nothing waits and no time passes; it has one request open at a time."""

    def __init__(self, *answers: httpx.Response | BaseException) -> None:
        self.answers = list(answers)
        self.diary: list[str] = []
        self.requests: list[Request] = []
        self.uploaded = b""
        self.bodies: list[bytes] = []
        self.patient = False
        self.open = self.closed = 0
        self.profile = Profile(published=False)
        self.timeout = 60.0
        self.policy = RetryPolicy(attempts=3)

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        yield

    async def send(
        self, request: Request, *, body: Body | None = None, patient: bool = False
    ) -> httpx.Response:
        self.patient = patient
        sent = b""
        while body is not None and (chunk := body.read(10_000)):
            sent += chunk
            body.tell_sent()
        self.bodies.append(sent)
        self.uploaded += sent
        return self._answer(request)

    @asynccontextmanager
    async def stream(self, request: Request, *, live: bool = False) -> AsyncGenerator[Incoming]:
        response = self._answer(request)
        self.open += 1
        try:
            yield Incoming(response, self._chunks(response))
        finally:
            response.close()
            self.open -= 1
            self.closed += 1

    async def sleep(self, seconds: float) -> None:
        self.diary.append(f"sleep {seconds:g}")

    async def call(self, function: Callable[..., Any], *args: Any, abandon: bool = False) -> Any:
        return function(*args)

    async def outlive(self, cleanup: Callable[[Any], Any], seconds: float) -> None:
        self.diary.append(f"outlive {seconds:g}")
        await cleanup(self)

    def _answer(self, request: Request) -> httpx.Response:
        assert self.open == 0
        self.diary.append(f"{request['method']} {request['url']}")
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        answer.request = httpx.Request(
            request["method"], f"http://test{request['url']}", params=request.get("params")
        )
        if not answer.is_success:
            raise from_answer(answer)
        return answer

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        for chunk in response.iter_bytes():
            yield chunk


@pytest.fixture
def scripted() -> type[ScriptedIO]:
    return ScriptedIO
