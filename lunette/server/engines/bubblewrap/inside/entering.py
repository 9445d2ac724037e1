"""Going into a sandbox, and becoming what a command there may be."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from lunette.server.engines.bubblewrap.inside import kernel
from lunette.server.engines.bubblewrap.inside.spawning import become
from lunette.server.engines.bubblewrap.inside.wire import Message

__all__ = ["enter", "enter_checked", "settle"]


def enter(pid1: int, base: int | None, furnish: Callable[[], None]) -> None:
    """Go where *pid1* is, as the first user id of its range, if it has one; for *furnish* see
    `kernel.enter_namespaces`.
    """
    _become(base)
    kernel.enter_namespaces(pid1, furnish)
    os.chdir("/")


def enter_checked(pid1: int, pidfd: int, base: int | None) -> None:
    """As `enter`, long after its start: *pid1* must still be the process behind *pidfd*."""
    enter(pid1, base, lambda: _check_alive(pidfd))


def _check_alive(pidfd: int) -> None:
    """All was opened by a pid, which is not given to another process before the first has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if poll.poll(0):
        raise ProcessLookupError("the sandbox has ended")


def settle(message: Message) -> None:
    """Inside: become what a command may be, for good."""
    kernel.limit_capabilities(message["capabilities"])
    if message["base"] is not None:
        become(**message["user"])
    kernel.set_capabilities(message["capabilities"] if os.getuid() == 0 else 0)
    kernel.no_new_privileges()
    kernel.set_seccomp()
    kernel.set_dumpable(False)


def _become(base: int | None) -> None:
    """Take the first user id of a range, with its group and no other; None stays who it is."""
    if base is None:
        return
    os.setgroups([])
    os.setresgid(base, base, base)
    os.setresuid(base, base, base)
