"""Kill and stop everything that runs, at random, and see that nothing is left: `nox -s chaos`.

A server, its clients, its fork server and what is in its sandboxes get SIGKILL and SIGSTOP while
they work. Meanwhile every call ends with a right result or an error of lunette's. Afterwards there
is no process, mount, cgroup, socket, file or row of theirs. What is struck follows from the seed,
except for what runs just then.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from remains import Remains
from victims import Striker
from world import ChaosError, World

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2): who loses its parent becomes a child of ours


def main() -> None:
    """Strike so many times, or as long as there is time; exit with 1 where something is wrong."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that all is cleaned up
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    begun = time.monotonic()
    print(f"seed {options.seed}: {options.rounds} rounds", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="c-") as directory:
            Path(directory).chmod(0o755)  # root's sandboxes run as other users
            struck = _storm(Path(directory), options, begun + options.seconds)
    except ChaosError as error:
        sys.exit(f"{error}\nseed {options.seed}: failed after {time.monotonic() - begun:.0f} s")
    rounds, taken = sum(struck.values()), time.monotonic() - begun
    print(", ".join(f"{what}: {count}" for what, count in sorted(struck.items())))
    print(f"seed {options.seed}: {rounds} rounds in {taken:.0f} s, nothing is left")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5000, help="as many, if there is time")
    parser.add_argument("--seconds", type=float, default=10, help="as long, and a little more")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    return parser.parse_args()


def _storm(directory: Path, options: argparse.Namespace, deadline: float) -> dict[str, int]:
    remains = Remains(directory)
    chance = random.Random(options.seed)
    with World(directory, options.seed) as world:
        striker = Striker(chance, world)
        try:
            while striker.rounds < options.rounds and time.monotonic() < deadline:
                striker.strike()
                world.mend()
                time.sleep(chance.random() * 0.05)
        finally:
            striker.let_go()
    remains.check(world.state, world.groups)
    print(world.told())
    return striker.struck


if __name__ == "__main__":
    main()
