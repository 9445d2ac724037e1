"""Which limits this machine can keep sandboxes to."""

from __future__ import annotations

import logging

from lunette.server.engines.bubblewrap._hunting import Hunting
from lunette.server.engines.bubblewrap._limits import Limits
from lunette.server.engines.bubblewrap._limits_cgroup1 import Cgroup1Limits
from lunette.server.engines.bubblewrap._limits_cgroup2 import Cgroup2Limits
from lunette.server.engines.bubblewrap._limits_watched import WatchedLimits

__all__ = ["find_limits", "open_limits"]

logger = logging.getLogger(__name__)


def find_limits(hunting: Hunting) -> Limits:
    """Return the strictest that can be had, as far as can be seen without trying."""
    try:
        found = Cgroup2Limits.found() or Cgroup1Limits.found()
    except (OSError, ValueError, IndexError) as error:  # a /proc that is none we know
        logger.info("no control groups can be found: %s", error)
        found = None
    return found or WatchedLimits(hunting)


def open_limits(limits: Limits, hunting: Hunting) -> Limits:
    """Open *limits*, or those that need nothing, and return them."""
    try:
        limits.open()
    except OSError as error:
        logger.warning("no limits by %s: %s", limits.name, error)
        return WatchedLimits(hunting)
    return limits
