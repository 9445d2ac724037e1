"""Who is struck, and how."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from world import World, descendants

__all__ = ["Striker"]

# How often each kind is struck, against the others.
_KINDS = {"server": 1, "client": 2, "fork server": 2, "worker": 3, "bwrap": 3, "inside": 6}
_KILLS = 0.5
_LONGEST_STOP = 1.0
_FORK_SERVER = b"lunette-forkserver\0"
_SERVERS = (b"\0serve\0", b"lunette.server\0")


class Striker:
    """Draws a victim, kills it, or stops it for a while; *struck* counts them."""

    def __init__(self, chance: random.Random, world: World) -> None:
        self.rounds = 0
        self.struck: Counter[str] = Counter()
        self._chance = chance
        self._world = world
        self._stopped: list[tuple[float, int]] = []

    def strike(self) -> None:
        """Strike one of those who are there, and let those go on whose time is over."""
        self._wake(time.monotonic())
        kind = self._chance.choices(list(_KINDS), list(_KINDS.values()))[0]
        victims = self._victims(kind)
        self.rounds += 1
        if not victims:
            self.struck["nobody"] += 1
            return
        pid = self._chance.choice(victims)
        kills = self._chance.random() < _KILLS
        self._note_client(pid, kills)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL if kills else signal.SIGSTOP)
            self.struck[f"{kind} {'killed' if kills else 'stopped'}"] += 1
        if not kills:
            until = time.monotonic() + self._chance.random() * _LONGEST_STOP
            self._stopped.append((until, pid))

    def let_go(self) -> None:
        """Let all go on that were stopped."""
        self._wake(float("inf"))

    def _wake(self, now: float) -> None:
        for until, pid in self._stopped:
            if until <= now:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        self._stopped = [entry for entry in self._stopped if entry[0] > now]

    def _note_client(self, pid: int, kills: bool) -> None:
        for client in self._world.clients:
            if client.process.pid == pid:
                client.is_struck = client.is_struck or kills
                client.moved = time.monotonic()

    def _victims(self, kind: str) -> list[int]:
        if kind == "client":
            return [client.process.pid for client in self._world.clients]
        return [pid for pid in descendants(os.getpid()) if _kind(pid) == kind]


def _kind(pid: int) -> str | None:
    process = Path(f"/proc/{pid}")
    try:
        command = (process / "cmdline").read_bytes()
        if (process / "ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
            return "inside"
        if command.startswith(_FORK_SERVER):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            is_forked = Path(f"/proc/{parent}/cmdline").read_bytes().startswith(_FORK_SERVER)
            return "worker" if is_forked else "fork server"
    except OSError:  # it ended meanwhile
        return None
    if command.startswith(b"bwrap\0"):
        return "bwrap"
    return "server" if any(word in command for word in _SERVERS) else None
