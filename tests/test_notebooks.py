"""A notebook: both spellings work in a cell, and interrupting the kernel kills the command."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from .embedded import until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the embedded server needs Linux"),
    # What Jupyter does is not ours to mend.
    pytest.mark.filterwarnings("default"),
]

GUARD = 60
nbformat: Any = import_module("nbformat.v4")  # which has no types

SETUP = """
import asyncio, pathlib, threading, warnings
import lunette
warnings.simplefilter("error")
client = lunette.LunetteClient()
sandbox = client.create_sandbox({"image": "host"})

def tell(path):
    while "begun" not in sandbox.exec("ls").stdout:
        pass
    pathlib.Path(path).touch()
"""
IS_ALIVE = """print("3599" in sandbox.exec("cat /proc/[0-9]*/cmdline").stdout)"""


class Notebook:
    """Cells that are run one after another, in a kernel of their own."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    async def run(self, source: str) -> str:
        """Run a cell and return what it printed, and the name of its error."""
        cells = self._executor.nb.cells
        cells.append(nbformat.new_code_cell(source))
        await self._executor.async_execute_cell(cells[-1], len(cells) - 1)
        outputs = cells[-1].outputs
        return "".join(out.get("text", "") + out.get("ename", "") for out in outputs)

    async def interrupt(self) -> None:
        await self._executor.km.interrupt_kernel()


@contextlib.asynccontextmanager
async def notebook() -> AsyncGenerator[Notebook]:
    from nbclient import NotebookClient

    executor: Any = NotebookClient(nbformat.new_notebook(), timeout=GUARD, allow_errors=True)
    async with executor.async_setup_kernel():
        cells = Notebook(executor)
        assert await cells.run(SETUP) == ""
        try:
            yield cells
        finally:
            await cells.run("sandbox.destroy(); client.close()")


@pytest.fixture(autouse=True)
def jupyter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep Jupyter from the home of whoever runs the tests."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


def in_a_notebook(body: Callable[[Notebook], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with notebook() as cells:
            await body(cells)

    asyncio.run(main())


# Not an awaited one too: ipykernel 7 cancels a cell that awaits only when its loop wakes by itself.
def test_an_interrupted_cell_kills_its_command(tmp_path: Path) -> None:
    told = tmp_path / "told"

    async def body(cells: Notebook) -> None:
        await cells.run(f"threading.Thread(target=tell, args=[{str(told)!r}]).start()")
        cell = asyncio.create_task(cells.run("sandbox.exec('touch begun; sleep 3599')"))
        await anyio.to_thread.run_sync(until, told.exists)
        await cells.interrupt()
        assert await cell == "KeyboardInterrupt"
        assert await cells.run(IS_ALIVE) == "False\n"
        assert await cells.run("print(sandbox.exec('echo next').stdout)") == "next\n\n"

    in_a_notebook(body)


def test_both_spellings_work_in_cells() -> None:
    async def body(cells: Notebook) -> None:
        blocking = "print(sandbox.exec('echo blocking').stdout)"
        awaited = "print((await sandbox.aexec('echo awaited')).stdout)"
        for _ in range(2):
            assert await cells.run(blocking) == "blocking\n\n"
            assert await cells.run(awaited) == "awaited\n\n"
        many = "print(len(await asyncio.gather(*[sandbox.aexec('true') for _ in range(20)])))"
        assert await cells.run(many) == "20\n"
        scoped = """
            async with lunette.LunetteClient() as other:
                async with await other.create_sandbox({"image": "host"}) as mine:
                    print((await mine.aexec("echo scoped")).stdout)
        """
        assert await cells.run(scoped) == "scoped\n\n"

    in_a_notebook(body)
