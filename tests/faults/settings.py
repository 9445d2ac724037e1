"""What the tests of this directory have in common, and what the one who runs them can say.

Faults are drawn by a seed: `LUNETTE_FAULT_SEED` repeats a run as far as its requests come in the
same order. `LUNETTE_FAULT_CUTS` is how many connections the storms cut, unless the tests of this
directory have taken `LUNETTE_FAULT_SECONDS` before.
"""

from __future__ import annotations

import os
import random
import time

from attrs import field, frozen

from lunette import RetryPolicy

SEED = int(os.environ.get("LUNETTE_FAULT_SEED") or random.SystemRandom().randrange(2**32))
SECONDS = float(os.environ.get("LUNETTE_FAULT_SECONDS") or 120)
CUTS = int(os.environ.get("LUNETTE_FAULT_CUTS") or 1000)

ONCE = RetryPolicy(attempts=1)
PATIENT = RetryPolicy(attempts=50, deadline=60, first_delay=0.002, longest_delay=0.02)
HOST = {"image": "host"}
WORLDS = ("blocking", "asyncio", "trio")
# A client with this timeout is answered at once that its command runs, and asks for its end.
FOLLOWING = 1.9
LOG = "/workspace/log"
GUARD = 30.0


@frozen
class TimeBox:
    """The time that the tests of this directory may take."""

    begun: float = field(factory=time.monotonic)

    def until(self, share: float) -> float:
        """Return when a *share* of the time that is left will be over."""
        now = time.monotonic()
        return now + max(5.0, share * (self.begun + SECONDS - now))
