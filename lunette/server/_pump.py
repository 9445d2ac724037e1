"""From a process into its log, and from there into its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve

from lunette.server._clock import Clock
from lunette.server._log import Gap, Log
from lunette.server._run import seen
from lunette.server._segments import Block, Stored, Stream, read_block
from lunette.server.engines.protocol import Exit, Process
from lunette.server.output import Outcome, Output

__all__ = ["pump", "with_output"]


async def pump(process: Process, log: Log, seconds: float | None) -> tuple[Exit, bool]:
    """Take what a process writes until it ends, or is killed after *seconds*; return how it ended,
    and whether that was the timeout.
    """
    over = asyncio.ensure_future(process.wait())
    over.add_done_callback(seen)
    over.add_done_callback(lambda _: log.be_unbounded())
    clock = None if seconds is None else Clock(process, seconds)
    try:
        async for stream, data in process.output():
            log.write(stream, data)
            await log.room()
        exit_ = await over
        if clock is not None:
            await clock.finished()
    finally:
        over.cancel()
        if clock is not None:
            clock.stop()
    return exit_, clock is not None and clock.timed_out(exit_)


async def with_output(outcome: Outcome, log: Log, limit: int) -> Outcome:
    """Return *outcome* with the two ends of each stream, as far as the log still has them."""
    content = log.content()
    if all(isinstance(piece, Block) for piece in content):
        found = _outputs(content, log.lost(), limit)
    else:
        found = await asyncio.to_thread(_outputs, content, log.lost(), limit)
    stdout, stderr = found[1].kept(), found[2].kept()
    truncated = log.end - len(stdout) - len(stderr)
    return evolve(outcome, stdout=stdout, stderr=stderr, truncated=truncated)


def _outputs(
    content: Sequence[Block | tuple[Path, Stored] | Gap], lost: Mapping[Stream, int], limit: int
) -> Mapping[Stream, Output]:
    found: dict[Stream, Output] = {1: Output(limit), 2: Output(limit)}
    for piece in content:
        if isinstance(piece, Gap):
            for stream, output in found.items():
                output.lose(lost[stream])
            continue
        block = piece if isinstance(piece, Block) else read_block(*piece)
        with memoryview(block.data) as data:
            for stream, start, stop in block.runs(block.begin):
                found[stream].write(data[start:stop])
    return found
