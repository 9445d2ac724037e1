"""Write what a process reads: every byte once, whatever the network does."""

# The builders of requests are the one private part of the generated code that is used, and only in
# the files of this package.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from .. import errors
from .._answers import from_answer
from .._io import IO, Request
from . import parsed, seconds_to_wait
from ._command import encodable

__all__ = ["Input", "close_input", "write"]

# As `limits.input_chunk` of a server of ours.
_PIECE = 1024 * 1024


class Input:
    """How far the standard input of one process is."""

    def __init__(self, sandbox_id: str, process_id: str, taken: int = 0) -> None:
        self.sandbox_id = sandbox_id
        self.process_id = process_id
        self.taken = taken
        # Not while a write is under way, nor after one that was given up.
        self.is_sure = True


async def write(io: IO, input: Input, data: str | bytes) -> None:
    """Write *data*, and return when the process has taken all of it."""
    left = memoryview(_bytes(data))
    if not input.is_sure:
        await _put(io, input, b"")
    while left:
        before = input.taken
        await _put(io, input, bytes(left[:_PIECE]))
        left = left[input.taken - before :]


async def close_input(io: IO, input: Input) -> None:
    """Close the standard input of a process; once more is no error."""
    try:
        if not input.is_sure:
            await _put(io, input, b"")
        await _put(io, input, b"", end=True)
    except errors.ProcessInputClosedError:
        pass


async def _put(io: IO, input: Input, piece: bytes, *, end: bool = False) -> None:
    """Offer a *piece*, and learn how far the process has come with it."""
    from lunette_api.models import InputAccepted

    was_sure, input.is_sure = input.is_sure, False
    response = await io.send(_request(io, input, piece, end))
    taken = parsed(response, InputAccepted.from_dict).offset
    if was_sure and not input.taken <= taken <= input.taken + len(piece):
        raise from_answer(
            response,
            f"the standard input of process {input.process_id} is at {taken}, where"
            f" {input.taken} bytes were written: somebody else writes to it too",
        )
    input.taken, input.is_sure = taken, True


def _request(io: IO, input: Input, piece: bytes, end: bool) -> Request:
    from lunette_api.api.commands import write_input
    from lunette_api.types import UNSET

    request = write_input._get_kwargs(
        input.sandbox_id,
        input.process_id,
        offset=input.taken,
        end=end or UNSET,
        wait=seconds_to_wait(io),
    )
    return request | {"content": piece}


def _bytes(data: object) -> bytes | bytearray | memoryview:
    if isinstance(data, memoryview):
        return data.cast("B")
    if isinstance(data, bytes | bytearray):
        return data
    return encodable(data, "data", "a string or bytes").encode()
