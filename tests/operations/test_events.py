from __future__ import annotations

import random
from itertools import pairwise

import pytest

from lunette._operations._events import Event, Events

STREAM = (
    b": hello\n\n"
    b"id: 3\nevent: stdout\ndata: YWJj\n\n"
    b"event:stderr\r\ndata:ZA==\r\nid:4\r\n\r\n"
    b"data: one\ndata: two\ndata\n\n"
    b"retry: 10\nunknown: field\nevent: nothing\n\n"
    b'id: 4\nevent: exit\ndata: {"exit_code": 0}\n\n'
    b"event: stdout\ndata: half"
)
FOUND = [
    ("stdout", b"YWJj", "3"),
    ("stderr", b"ZA==", "4"),
    ("message", b"one\ntwo\n", "4"),
    ("exit", b'{"exit_code": 0}', "4"),
]


def found(*chunks: bytes) -> list[tuple[str, bytes, str]]:
    events = Events()
    return [plain(event) for chunk in chunks for event in events.feed(chunk)]


def plain(event: Event) -> tuple[str, bytes, str]:
    return event.kind, bytes(event.data), event.id


def test_events_are_cut_out() -> None:
    assert found(STREAM) == FOUND


def test_events_come_in_any_pieces() -> None:
    assert found(*(STREAM[n : n + 1] for n in range(len(STREAM)))) == FOUND
    dice = random.Random(5)
    for _ in range(200):
        cuts = sorted(dice.choices(range(len(STREAM)), k=dice.randrange(9)))
        edges = [0, *cuts, len(STREAM)]
        pieces = [STREAM[a:b] for a, b in pairwise(edges)]
        assert found(*pieces) == FOUND


def test_an_event_is_there_when_its_last_byte_is() -> None:
    events = Events()
    assert list(events.feed(b"data: a\n")) == []
    assert [plain(event) for event in events.feed(b"\n")] == [("message", b"a", "")]


def test_an_event_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 16777216 bytes"):
        found(b"data: ", *[b"x" * 1024 * 1024] * 17)
    with pytest.raises(ValueError, match="more than 16777216 bytes"):
        found(*[b"data: " + b"x" * 1024 * 1024 + b"\n"] * 17)
