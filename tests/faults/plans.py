"""What a fault is: its kind, its place, and the draws that choose it."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from .http_messages import Message

Kind: TypeAlias = Literal["cut", "delay", "truncate", "duplicate"]
Direction: TypeAlias = Literal["request", "answer"]
Turn: TypeAlias = Literal["first", "second"]

_UNKNOWN_SIZE = 4096
_TURNS: tuple[Turn, ...] = ("first", "second")


@frozen(kw_only=True)
class Plan:
    """What happens to one request.

    It happens after byte *at* of the *part* of the request or of its answer; a negative *at* counts
    from the end, a *fraction* is one of the size. Of a body in chunks the size is known when its
    last piece is there: a fraction is one of 4 KiB until then, and what should have happened in an
    earlier piece happens before that one. `at=0` of an answer is when the server has answered and
    no byte of it was passed on, `fraction=1.0` of a request when it was delivered whole. What lies
    behind the end of the message never happens, and counts as `missed`.

    * `cut` ends the connection on both sides, with a RST if *reset*, which None leaves to chance.
      (A Unix socket has no RST: its peer reads the end of the file.)
    * `delay` waits *pause* seconds.
    * `truncate` ends the client's side with a FIN; the server's is read to the end of the answer.
    * `duplicate` delivers the request twice, on two connections: the second time at once, piece by
      piece, or, if *later*, when the answer to the first has come whole. *answer* says which answer
      the client gets; the other one is thrown away. Its place is always the whole request.
    """

    kind: Kind
    direction: Direction = "answer"
    part: Literal["message", "head", "body"] = "message"
    at: int | None = None
    fraction: float | None = None
    pause: float = 0.005
    reset: bool | None = None
    later: bool = False
    answer: Turn = "first"
    note: str = field(default="", eq=False)

    def __attrs_post_init__(self) -> None:
        if self.kind == "duplicate":
            return
        if (self.at is None) == (self.fraction is None):
            raise ValueError("a plan has an `at` or a `fraction`")
        if self.kind == "truncate" and self.direction != "answer":
            raise ValueError("only an answer can be truncated")

    def place(self, message: Message) -> int | None:
        """Count the bytes of *message* that pass before it happens; None is not known yet."""
        start, size = message.extent(self.part)
        at = self.at
        if self.fraction is not None:
            whole = _UNKNOWN_SIZE if size is None and self.fraction < 1 else size
            at = None if whole is None else int(self.fraction * whole)
        elif at is not None and at < 0:
            at = None if size is None else max(0, size + at)
        return None if at is None else start + at


Draw: TypeAlias = Callable[[random.Random, bytes], Plan | None]

PLACES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "request head": lambda r: {"direction": "request", "part": "head", "fraction": r.random()},
    "request body": lambda r: {"direction": "request", "part": "body", "fraction": r.random()},
    "delivered": lambda r: {"direction": "request", "fraction": 1.0},
    "answered": lambda r: {"direction": "answer", "at": 0},
    "answer head": lambda r: {"direction": "answer", "part": "head", "fraction": r.random()},
    "answer body": lambda r: {"direction": "answer", "part": "body", "fraction": r.random()},
    "last byte": lambda r: {"direction": "answer", "at": -1},
}
"""Where faults strike, by the name that the `note` of a drawn plan then has."""
_OF_ANSWERS = ("answered", "answer head", "answer body", "last byte")


def faults(
    rate: float,
    *,
    kinds: tuple[Kind, ...] = ("cut", "cut", "cut", "delay", "truncate", "duplicate"),
    only: str = "",
    longest_pause: float = 0.02,
) -> Draw:
    """Draw a fault for a *rate* of the requests whose first line matches the pattern *only*.

    A kind that is named twice is drawn twice as often.
    """

    def draw(chance: random.Random, head: bytes) -> Plan | None:
        if chance.random() >= rate or not _matches(only, head):
            return None
        kind = chance.choice(kinds)
        if kind == "duplicate":
            return Plan(kind=kind, later=chance.random() < 0.5, answer=chance.choice(_TURNS))
        note = chance.choice(_OF_ANSWERS if kind == "truncate" else tuple(PLACES))
        pause = chance.uniform(0.001, longest_pause)
        return Plan(kind=kind, pause=pause, note=note, **PLACES[note](chance))

    return draw


def script(*plans: Plan | None, only: str = "") -> Draw:
    """Give these plans to the first requests whose first line matches the pattern *only*."""
    left = deque(plans)

    def draw(chance: random.Random, head: bytes) -> Plan | None:
        return left.popleft() if left and _matches(only, head) else None

    return draw


def _matches(pattern: str, head: bytes) -> bool:
    return re.search(pattern, head.partition(b"\r\n")[0].decode("latin-1")) is not None
