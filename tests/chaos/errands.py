"""What a client does all the time: `errands.py BASE_URL REPORT SEED WORLD`.

It writes a line to REPORT for each call that ended, and ends itself with a traceback where a call
ended in any other way than with a right result or an error of lunette's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from lunette import LunetteClient, LunetteError, RetryPolicy

_IMAGE = {"image": "host"}
_MIB = 1 << 20
_MOST = 4
_POLICY = RetryPolicy(attempts=4, deadline=8, first_delay=0.02, longest_delay=0.5)


class Errands:
    """Both worlds alike: *call* ends a verb in its world."""

    def __init__(self, client: Any, report: IO[str], chance: random.Random, prefix: str) -> None:
        self._client = client
        self._report = report
        self._chance = chance
        self._prefix = prefix
        self._kept: list[Any] = []

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            await self._errand()

    async def _errand(self) -> None:
        sandbox = await self._call("create", self._client, "create_sandbox", _IMAGE)
        if sandbox is None:
            return
        self._kept.append(sandbox)
        for _ in range(self._chance.randrange(4)):
            await self._chance.choice([self._compute, self._leave, self._move])(sandbox)
        while len(self._kept) > self._chance.randrange(_MOST):
            await self._call("destroy", self._kept.pop(0), "destroy")

    async def _compute(self, sandbox: Any) -> None:
        number = self._chance.randrange(10**6)
        found = await self._call("exec", sandbox, "exec", f"echo $(({number} + 1))", timeout=5)
        # A sandbox that is struck while it computes says so by its exit code.
        if found is not None and found.success:
            assert found.stdout == f"{number + 1}\n", found

    async def _leave(self, sandbox: Any) -> None:
        await self._call("leave", sandbox, "exec", "sleep 1000 > /dev/null 2>&1 &", timeout=5)

    async def _move(self, sandbox: Any) -> None:
        data = self._chance.randbytes(self._chance.choice((100, 3 * _MIB)))
        await self._call("upload", sandbox, "upload", data, "f")
        found = await self._call("read", sandbox.files, "read_bytes", "f")
        assert found in (None, data)

    async def _call(self, name: str, of: Any, verb: str, *args: Any, **options: Any) -> Any:
        try:
            found = getattr(of, self._prefix + verb)(*args, **options)
            if self._prefix:
                found = await found
        except LunetteError as error:
            self._note(f"{name} {type(error).__name__} {getattr(error, 'code', None) or ''}")
            return None
        self._note(f"{name} done")
        return found

    def _note(self, line: str) -> None:
        self._report.write(f"{line}\n")
        self._report.flush()


def _blocking(url: str, report: IO[str], chance: random.Random) -> None:
    with LunetteClient(base_url=url, timeout=10, retry=_POLICY) as client:
        steps = Errands(client, report, chance, "").run()
        steps.send(None)  # a coroutine that never waits


async def _async(url: str, report: IO[str], chance: random.Random) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with (
        LunetteClient(base_url=url, timeout=10, retry=_POLICY) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(3):
            errands = Errands(client, report, random.Random(chance.random()), "a")
            group.create_task(errands.run())


def main() -> None:
    url, path, seed, world = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    run: Callable[..., Any] = _blocking
    with Path(path).open("a", encoding="utf-8") as report:
        chance = random.Random(f"{seed} {world}")
        if world == "async":
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(_async(url, report, chance))
        else:
            run(url, report, chance)


if __name__ == "__main__":
    main()
