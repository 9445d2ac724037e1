"""What it costs to move files, against `curl` on the same server and disk, and `tar | tar`."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from attrs import frozen
from measuring import Baseline, Measure, Row, in_turns, timed

from lunette import LunetteClient, Sandbox
from lunette._digest import Xxh3
from lunette._io import IO
from lunette._operations._sources import opened
from lunette._operations._uploading import Session

__all__ = ["digests", "directories", "files", "held_up", "serving"]

_HOST = {"image": "host"}
_GIB = 1 << 30
_REMOTE = "/workspace/file"
_MOST_MEMORY = 16 * 1024
_MOVE_ON = """
import sys
from lunette import LunetteClient, Sandbox
url, sandbox_id, tree = sys.argv[1:]
with LunetteClient(base_url=url) as client:
    sandbox = Sandbox(client, sandbox_id)
    while True:
        sandbox.upload(tree, "/workspace/tree")
        sandbox.download("/workspace/tree", tree + ".copy")
"""

Verbs = Mapping[str, Callable[[], object]]


@frozen
class Server:
    """A `lunette serve` of our own, and what curl has to say to it."""

    base_url: str
    api_key: str | None
    pid: int

    def url(self, sandbox: Sandbox, path: str) -> list[str]:
        place = f"/sandboxes/{sandbox.sandbox_id}/files?path={quote(path, safe='')}"
        if self.api_key is None:
            return ["--unix-socket", self.base_url.removeprefix("unix://"), f"http://s{place}"]
        return ["-H", f"X-API-Key: {self.api_key}", f"{self.base_url}{place}"]


def files(rounds: int) -> Iterator[Row | str]:
    """Move 1 GiB to disk, in and out, over TCP and over a Unix socket."""
    for kind in ("TCP", "Unix socket"):
        with _world(kind) as (server, sandbox, directory), asyncio.Runner() as runner:
            source, target = str(directory / "source"), str(directory / "target")
            _fill(Path(source))
            place = server.url(sandbox, _REMOTE)
            up: Verbs = {
                "blocking": partial(sandbox.upload, source, _REMOTE),
                "async": lambda: runner.run(sandbox.aupload(source, _REMOTE)),  # noqa: B023
                "curl": partial(_curl, "-T", source, *place),
            }
            down: Verbs = {
                "blocking": partial(sandbox.download, _REMOTE, target),
                "async": lambda: runner.run(sandbox.adownload(_REMOTE, target)),  # noqa: B023
                "curl": partial(_curl, "-o", target, *place),
            }
            for direction, verbs in (("up", up), ("down", down)):
                # Where nothing is: curl writes over what is there, and lunette beside it first.
                fresh = partial(Path(target).unlink, missing_ok=True)
                yield from _against_curl(f"1 GiB {direction}, {kind}", verbs, rounds, fresh)
                yield from _memory(f"1 GiB {direction}, {kind}", verbs, server.pid)


def digests(rounds: int) -> Iterator[Row]:
    """Send 1 GiB with a digest, as always, and without one."""
    with _world("Unix socket") as (_, sandbox, directory):
        source = str(directory / "source")
        _fill(Path(source))
        link = sandbox._link  # pyright: ignore[reportPrivateUsage] - no verb leaves the digest out
        verbs: Verbs = {
            "on": partial(sandbox.upload, source, _REMOTE),
            "off": lambda: link.run(_unseen, sandbox.sandbox_id, source),
        }
        measures: dict[str, Measure] = {name: timed(verb) for name, verb in verbs.items()}
        times = in_turns(measures, rounds=rounds, warm_up=1)
    off = Baseline("digest off", times["off"])
    yield Row("1 GiB up, digest on", times["on"], off, most_ratio=1.25)


class _Unseeing(Xxh3):
    """Costs nothing."""

    def see(self, at: int, chunk: bytes) -> None:
        self.size = at + len(chunk)


async def _unseen(io: IO, sandbox_id: str, path: str) -> None:
    source = opened(path)
    source.digest = _Unseeing()
    session = Session(io, sandbox_id)
    await session.begin({"path": _REMOTE})
    async for piece in source.pieces(io):
        await session.append(piece)
    await session.commit()
    source.close()


def directories(rounds: int) -> Iterator[Row]:
    """Move a directory of 10,000 files of 4 KiB, in and out."""
    with _world("Unix socket") as (_, sandbox, directory):
        source, target = directory / "tree", directory / "copy"
        _plant(source)
        sandbox.upload(source, "/workspace/there")
        verbs: Verbs = {
            "up": lambda: sandbox.upload(source, "/workspace/tree"),
            "down": lambda: sandbox.download("/workspace/there", target),
            "tar": partial(_tar, source, target),
        }
        measures = {name: partial(_anew, sandbox, target, verb) for name, verb in verbs.items()}
        times = in_turns(measures, rounds=rounds, warm_up=1)
    tar = Baseline("`tar` to `tar`", times["tar"])
    for direction in ("up", "down"):
        yield Row(f"10,000 files of 4 KiB {direction}", times[direction], tar, most_ratio=2)


def held_up(rounds: int) -> Iterator[Row]:
    """Run a command while a directory is on its way, again and again."""
    with _world("Unix socket") as (server, sandbox, directory):
        _plant(directory / "tree")
        command = {"exec": timed(lambda: sandbox.exec(("true",)))}
        alone = in_turns(command, rounds=rounds, warm_up=20)["exec"]
        # By another process: what is measured is not this one's interpreter.
        words = [server.base_url, sandbox.sandbox_id, str(directory / "tree")]
        with subprocess.Popen([sys.executable, "-c", _MOVE_ON, *words]) as mover:
            beside = in_turns(command, rounds=rounds, warm_up=20)["exec"]
            mover.kill()
    yield Row("`exec` beside a directory", beside, Baseline("alone", alone), most_ratio=3)


def _against_curl(
    what: str, verbs: Verbs, rounds: int, fresh: Callable[[], object]
) -> Iterator[Row]:
    def measure(verb: Callable[[], object]) -> float:
        fresh()
        return timed(verb)()

    measures: dict[str, Measure] = {name: partial(measure, verb) for name, verb in verbs.items()}
    times = in_turns(measures, rounds=rounds, warm_up=1)
    curl = Baseline("`curl`", times["curl"])
    for world in ("blocking", "async"):
        yield Row(f"{what}, {world}", times[world], curl, most_ratio=1.25)


def _memory(what: str, verbs: Verbs, server: int) -> Iterator[str]:
    """How much more than before this process and the server use at their peak."""
    for world in ("blocking", "async"):
        pids = os.getpid(), server
        before = [_peak(pid, anew=True) for pid in pids]
        verbs[world]()
        grown = [_peak(pid) - was for pid, was in zip(pids, before, strict=True)]
        client, there = (f"{size / 1024:.1f} MiB" for size in grown)
        verdict = "met" if max(grown) < _MOST_MEMORY else "missed"
        row = f"| {what}, {world}, memory | {client} | the server: {there} | -"
        yield f"{row} | < 16 MiB: {verdict} |"


def _peak(pid: int, *, anew: bool = False) -> int:
    """Return the most memory that a process has used since it was asked *anew*, in KiB."""
    if anew:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    line = next(
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1])


@contextmanager
def _world(kind: str) -> Generator[tuple[Server, Sandbox, Path]]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(_serving(kind, directory))
        client = stack.enter_context(LunetteClient(server.api_key, server.base_url))
        yield server, stack.enter_context(client.create_sandbox(_HOST)), directory


@contextmanager
def serving(kind: str) -> Generator[Server]:
    """Have a server of its own, over TCP or over a Unix socket."""
    with tempfile.TemporaryDirectory() as directory, _serving(kind, Path(directory)) as server:
        yield server


@contextmanager
def _serving(kind: str, directory: Path) -> Generator[Server]:
    where = ["--port", "0"] if kind == "TCP" else ["--uds", str(directory / "sock")]
    main = "from lunette.cli import main; main()"
    state = ["--state", str(directory / "state")]
    command = [sys.executable, "-c", main, "serve", *where, *state]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(2 if kind == "TCP" else 1)]
            values = [line.strip().partition("=")[2] for line in said]
            yield Server(values[0], values[1] if kind == "TCP" else None, process.pid)
        finally:
            process.terminate()


def _curl(*arguments: str) -> None:
    subprocess.run(["curl", "-sSf", *arguments], check=True, stdout=subprocess.DEVNULL)


def _tar(source: Path, target: Path) -> None:
    target.mkdir()
    with subprocess.Popen(["tar", "-C", source, "-c", "."], stdout=subprocess.PIPE) as packing:
        subprocess.run(["tar", "-C", target, "-x"], stdin=packing.stdout, check=True)


def _anew(sandbox: Sandbox, target: Path, move: Callable[[], object]) -> float:
    """Measure *move* to where there is nothing yet."""
    sandbox.exec("rm -rf /workspace/tree")
    shutil.rmtree(target, ignore_errors=True)
    return timed(move)()


def _fill(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(_GIB >> 24):
            file.write(os.urandom(1 << 24))


def _plant(root: Path) -> None:
    for number in range(10_000):
        path = root / f"{number % 100:02}" / f"file-{number:05}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(4096))
