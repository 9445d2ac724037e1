"""What is sent again, how often and when; no time passes."""

from __future__ import annotations

import io as streams
import logging
import pickle
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from lunette import RetryPolicy, errors
from lunette import _retry as retry_module
from lunette._answers import from_transport
from lunette._io import Body, Incoming, run
from lunette._retry import Resuming, Retrying

from .operations.conftest import ScriptedIO

GET = {"method": "get", "url": "/x"}
POST = {"method": "post", "url": "/x"}
KEYED = {"method": "post", "url": "/x", "headers": {"Idempotency-Key": "k"}}
OK = httpx.Response(200)
CUT = from_transport(httpx.ReadError("cut"))
NEVER = from_transport(httpx.ConnectError("refused"))
LOST = from_transport(httpx.ReadError("cut"), errors.SandboxLostError)


def answer(status: int, code: str | None = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"code": code} if code else {}, headers=named)


class Clock:
    """Passes only while an operation sleeps, or when an answer says how long it took."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class TimedIO(ScriptedIO):
    def __init__(self, clock: Clock, *answers: Any, takes: float = 0.0) -> None:
        super().__init__(*answers)
        self.clock = clock
        self.takes = takes
        self.pauses: list[float] = []

    async def send(
        self, request: Any, *, body: Body | None = None, patient: bool = False
    ) -> httpx.Response:
        self.clock.now += self.takes
        return await super().send(request, body=body, patient=patient)

    async def sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TimedIO]:
    clock = Clock()
    monkeypatch.setattr(retry_module.time, "monotonic", clock)
    monkeypatch.setattr(retry_module.random, "uniform", lambda low, high: high)
    return lambda *answers, **more: TimedIO(clock, *answers, **more)


def send(io: Any, request: Any, **policy: Any) -> httpx.Response:
    return run(Retrying(io, RetryPolicy(**policy)).send(request))


REPEATED = [
    (GET, CUT),
    (KEYED, CUT),
    ({"method": "put", "url": "/x"}, CUT),
    ({"method": "delete", "url": "/x"}, answer(504)),
    (GET, from_transport(httpx.ReadTimeout("slow"))),
    (GET, from_transport(httpx.RemoteProtocolError("half"))),
    (POST, NEVER),
    (POST, from_transport(httpx.ConnectTimeout("slow"))),
    (GET, answer(502)),
    (KEYED, answer(503, "no_capacity")),
    (GET, answer(408)),
    (POST, answer(429)),
    (KEYED, answer(429, "too_many_requests")),
]
FINAL = [
    (POST, CUT),
    (POST, from_transport(httpx.ReadTimeout("slow"))),
    (POST, answer(502)),
    (POST, answer(503, "no_capacity")),
    (GET, answer(500)),
    (GET, answer(404)),
    (GET, answer(401)),
    (KEYED, answer(409, "outcome_expired")),
    (GET, answer(410, "sandbox_lost")),
    (GET, answer(503, "engine_unavailable")),
    (GET, LOST),
    (GET, errors.ClientClosedError("closed")),
]


@pytest.mark.parametrize(("request_", "fault"), REPEATED)
def test_what_cannot_do_anything_twice_is_sent_again(
    scripted: Any, request_: Any, fault: Any
) -> None:
    io = scripted(fault, fault, OK)
    assert send(io, request_).status_code == 200
    assert io.pauses == [0.1, 0.2]


@pytest.mark.parametrize(("request_", "fault"), FINAL)
def test_what_could_is_not(scripted: Any, request_: Any, fault: Any) -> None:
    io = scripted(fault, OK)
    with pytest.raises(errors.LunetteError):
        send(io, request_)
    assert len(io.requests) == 1


def test_no_post_of_the_published_wire_is_repeated(scripted: Any) -> None:
    for fault in (answer(429), answer(503), CUT):
        io = scripted(fault, OK)
        io.profile.published = True
        with pytest.raises(errors.LunetteError):
            send(io, POST)
        assert len(io.requests) == 1
    io = scripted(NEVER, OK)
    io.profile.published = True
    assert send(io, POST).status_code == 200


def test_attempts_end(scripted: Any) -> None:
    io = scripted(*[CUT] * 3)
    with pytest.raises(httpx.ReadError):
        send(io, GET, attempts=3)
    assert len(io.requests) == 3
    with pytest.raises(httpx.ReadError):
        send(scripted(CUT), GET, attempts=1)


def test_pauses_double_up_to_the_longest(scripted: Any) -> None:
    io = scripted(*[CUT] * 7, OK)
    send(io, GET, attempts=9, first_delay=1, longest_delay=10)
    assert io.pauses == [1, 2, 4, 8, 10, 10, 10]


def test_the_pause_is_random() -> None:
    pauses = {RetryPolicy().pause(1, None) for _ in range(50)}
    assert len(pauses) > 10
    assert 0.05 <= min(pauses) <= max(pauses) <= 0.1
    assert RetryPolicy().pause(10_000, None) <= 5


def test_a_server_may_ask_for_a_longer_pause(scripted: Any) -> None:
    io = scripted(answer(429, Retry_After="7"), OK)
    send(io, POST)
    assert io.pauses == [7.1]
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    io = scripted(answer(503, Retry_After=soon), OK)
    send(io, GET)
    assert 28 <= io.pauses[0] <= 31


@pytest.mark.parametrize(
    "odd",
    [
        "soon",
        "Jan 99999999999 00:00:00 99 1e5 Jan",
        "-1",
        "1e3",
        "",
        "Wed, 99 Foo 2026 00:00:00 GMT",
    ],
)
def test_an_odd_retry_after_is_none(scripted: Any, odd: str) -> None:
    io = scripted(answer(429, Retry_After=odd), OK)
    send(io, GET)
    assert io.pauses == [0.1]


def test_the_deadline_is_counted_from_the_first_failure(scripted: Any) -> None:
    io = scripted(*[CUT] * 9, takes=20.0)
    with pytest.raises(httpx.ReadError):
        send(io, GET, attempts=9, deadline=60)
    assert len(io.requests) == 4
    timeouts = [request.get("timeout") for request in io.requests]
    assert timeouts == [None, *map(pytest.approx, (59.9, 39.7, 19.3))]


@pytest.mark.parametrize(
    "held",
    [
        {"headers": {"Idempotency-Key": "k", "Prefer": "respond-async, wait=20"}},
        {"params": {"wait": 20.0}},
    ],
)
def test_an_answer_that_is_held_back_has_that_time_too(scripted: Any, held: Any) -> None:
    io = scripted(CUT, OK, takes=3.0)
    send(io, GET | held, deadline=10)
    assert io.requests[1]["timeout"] == pytest.approx(29.9)


def test_a_pause_beyond_the_deadline_is_not_begun(scripted: Any) -> None:
    io = scripted(answer(429, Retry_After="120"), OK)
    with pytest.raises(errors.RateLimitError) as caught:
        send(io, POST)
    assert caught.value.retry_after == 120
    assert io.pauses == []


def test_a_body_is_sent_from_its_beginning_again(scripted: Any) -> None:
    class Halfway(TimedIO):
        seen: list[bytes] = []  # noqa: RUF012 - one test

        async def send(
            self, request: Any, *, body: Body | None = None, patient: bool = False
        ) -> httpx.Response:
            assert body is not None
            self.seen.append(body.read(3))
            return self._answer(request)

    io: Any = Halfway(Clock(), CUT, OK)
    body = Body(streams.BytesIO(b"abcdef"), 6)
    run(Retrying(io, RetryPolicy()).send({"method": "put", "url": "/x"}, body=body))
    assert io.seen == [b"abc", b"abc"]


def test_a_stream_is_begun_again_and_never_continued(scripted: Any) -> None:
    async def read(io: Any) -> list[bytes]:
        async with io.stream(GET) as incoming:
            return [chunk async for chunk in incoming.chunks]

    io = scripted(CUT, answer(502), httpx.Response(200, content=b"all of it"))
    assert b"".join(run(read(Retrying(io, RetryPolicy())))) == b"all of it"
    assert len(io.requests) == 3
    with pytest.raises(httpx.ReadError):
        run(read(Retrying(scripted(*[CUT] * 3), RetryPolicy(attempts=3))))

    class Broken(TimedIO):
        def stream(self, request: Any, *, live: bool = False) -> Any:
            self.requests.append(request)
            return _broken()

    broken: Any = Broken(Clock())
    with pytest.raises(httpx.ReadError):
        run(read(Retrying(broken, RetryPolicy())))
    assert len(broken.requests) == 1


def _broken() -> Any:
    @asynccontextmanager
    async def body() -> Any:
        async def chunks() -> Any:
            yield b"half"
            raise CUT

        yield Incoming(httpx.Response(200), chunks())

    return body()


def test_a_clean_up_is_short(scripted: Any) -> None:
    io = scripted(*[CUT] * 50, takes=0.5)
    retrying = Retrying(io, RetryPolicy(attempts=50, longest_delay=0.1))

    async def cleanup(io: Any) -> None:
        await io.send(GET)

    with pytest.raises(httpx.ReadError):
        run(retrying.outlive(cleanup, 2))
    assert 3 <= len(io.requests) <= 4
    assert all(request["timeout"] <= 2 for request in io.requests)
    assert retrying.timeout == 60


def test_what_is_logged(scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="lunette")
    send(scripted(CUT, OK), GET)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage() == "GET /x: cut; attempt 2 of 6 in 0.10 s"


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"deadline": -1}, {"first_delay": 0}, {"longest_delay": 0}],
)
def test_a_policy_that_is_none(wrong: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


def test_a_policy_is_a_value() -> None:
    assert pickle.loads(pickle.dumps(RetryPolicy(attempts=2))) == RetryPolicy(attempts=2)


def test_a_transfer_goes_on_for_as_long_as_something_comes() -> None:
    policy = RetryPolicy(attempts=3, first_delay=1, longest_delay=8)
    resuming = Resuming(policy)
    cut = from_transport(httpx.ReadError("cut"))
    for _ in range(20):
        assert resuming.pause_after(cut, progress=True) == 0
    pauses = [resuming.pause_after(cut, progress=False) for _ in range(3)]
    assert [pause is None for pause in pauses] == [False, False, True]
    resuming.begin_anew()
    assert resuming.pause_after(cut, progress=False) is not None


def test_a_transfer_does_not_go_on_after_what_is_final() -> None:
    resuming = Resuming(RetryPolicy())
    for error in (httpx.ConnectError("no"), httpx.PoolTimeout("no")):
        assert not resuming.may_go_on(from_transport(error))
    cut = from_transport(httpx.ReadError("cut"))
    assert not Resuming(RetryPolicy(attempts=1)).may_go_on(cut)
    assert Resuming(RetryPolicy(deadline=0)).pause_after(cut, progress=False) is None
