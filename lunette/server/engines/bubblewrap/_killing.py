"""Freezing a sandbox, and ending commands with all that they started, from outside of it, where
nothing in it can interfere.

A process belongs to a command if it descends from it, shares its session, or carries its marker in
the environment that it was started with. They are looked for while the whole sandbox is frozen:
what runs can fork, exit and get another parent faster than it is found. What double-forks, leaves
the session *and* clears its environment before the kill begins is a daemon of the sandbox and lives
until the sandbox ends.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Mapping, Sequence

from attrs import define, field

from lunette.server.engines.bubblewrap._freezer import Freezer
from lunette.server.engines.bubblewrap._proc import (
    PAUSE_SECONDS,
    STILL,
    STOPPED,
    Key,
    Proc,
    Process,
    Reserve,
)

__all__ = ["Hunt"]

_BEFORE_SECONDS = 0.2
_SIGNAL_SECONDS = 2.0  # to look, and again to signal


@define
class Hunt:
    """The end of some commands; blocking, so not for the loop.

    *markers* are those of the commands by their first processes, *root* is the worker, whose
    descendants are the sandbox with its first process *pid1*. *reserve* is what there is to give up
    where the server has no descriptor left. In a sandbox that is *paused*, nothing goes on; where
    it is *held*, nothing can.
    """

    markers: Mapping[int, str]
    root: int
    pid1: int
    reserve: Reserve
    paused: bool = False
    held: bool = False
    _stopped_before: set[Key] = field(factory=set[Key])

    def before(self) -> None:
        """Note, before the sandbox is frozen, who has been stopped by somebody else."""
        proc = self._proc(_BEFORE_SECONDS)
        with contextlib.suppress(OSError):  # then they go on: better than no kill
            self._stopped_before = {p.key for p in self._inside(proc) if p.state == STOPPED}

    def freeze(self, deadline: float) -> bool:
        """Wait until nothing moves any more; False if something does after *deadline* seconds."""
        try:
            return self._frozen(self._proc(deadline)) is not None
        except OSError:  # there was no descriptor to be had
            return False

    def hold(self, freezer: Freezer, deadline: float) -> bool:
        """Let *freezer* hold all; False if it does not in *deadline* seconds."""
        proc = self._proc(deadline)
        held: set[Key] = set()
        while not proc.late:
            found = [process for process in self._inside(proc) if process.key not in held]
            freezer.hold(process.pid for process in found if proc.is_alive(process))
            held |= {process.key for process in found}
            if not found and freezer.is_frozen:
                return True
        return False

    def is_frozen(self) -> bool:
        """Whether nothing moves, as far as can be seen now."""
        proc = self._proc(_SIGNAL_SECONDS)
        try:
            return all(process.state in STILL for process in self._inside(proc))
        except OSError:
            return True  # who asks does so again

    def thaw(self, deadline: float) -> bool:
        """Let all go on that nobody else has stopped; False if *deadline* seconds are too few."""
        proc = self._proc(deadline)
        try:
            self._go_on(self._inside(proc), proc)
        except OSError:
            return False
        return not proc.late

    def kill_and_thaw(self, deadline: float) -> bool:
        """Kill the commands, let the rest go on; False if not all is dead in *deadline* seconds."""
        try:
            return self._kill_and_thaw(self._proc(deadline))
        except OSError:
            return False

    def _kill_and_thaw(self, proc: Proc) -> bool:
        everything = self._inside(proc) if self.held else self._frozen(proc)
        if everything is None:
            return False
        members = self._members(everything, proc)
        if proc.late:  # somebody may not be known as a member
            return False
        for process in members.values():
            proc.signal(process, signal.SIGKILL)
        if not self.paused:
            self._go_on([one for one in everything if one.pid not in members], proc)
        while any(proc.is_alive(process) for process in members.values()):
            if proc.late:
                return False
            time.sleep(PAUSE_SECONDS)
        return True

    def _go_on(self, everything: Sequence[Process], proc: Proc) -> None:
        for process in reversed(everything):  # children first: no shell sees one of its own stopped
            if process.key not in self._stopped_before:
                proc.signal(process, signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Signal the commands as they are now, parents first; nobody is frozen for it, and who is
        not found in time is left out.
        """
        looking = self._proc(_SIGNAL_SECONDS)
        members = self._members(self._inside(looking), looking)
        sending = self._proc(_SIGNAL_SECONDS)
        for process in members.values():
            sending.signal(process, number)

    def _proc(self, seconds: float) -> Proc:
        return Proc(time.monotonic() + seconds, self.reserve)

    def _frozen(self, proc: Proc) -> list[Process] | None:
        """Return all that lives in the sandbox, once nothing in it moves any more; None if it does.

        Who was about to exit still does, and its children go to pid 1; who is given children or
        reaps one while the list of them is read, hides some.
        """
        before: set[Key] | None = None
        while not proc.late:
            found = self._inside(proc)
            now = {process.key for process in found}
            if now == before and all(process.state in STILL for process in found):
                return found
            before = now
            for process in found:
                if process.state not in STILL:
                    proc.signal(process, signal.SIGSTOP)
            time.sleep(PAUSE_SECONDS)
        return None

    def _inside(self, proc: Proc) -> list[Process]:
        return proc.inside(self.root, self.pid1)

    def _members(self, everything: Sequence[Process], proc: Proc) -> dict[int, Process]:
        """The living processes of the commands, as far as they are known in time; *everything* has
        parents before children.
        """
        found: dict[int, Process] = {}
        for process in everything:
            if process.parent in found or self._is_member(process, proc):
                found[process.pid] = process
        return found

    def _is_member(self, process: Process, proc: Proc) -> bool:
        if process.pid in self.markers or process.session in self.markers:
            return True
        return proc.is_marked(process, self.markers.values())
