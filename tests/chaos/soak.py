"""A server under work for long: its memory, descriptors, threads and disk stay as they are.

`nox -s soak` takes 20 minutes, or `-- --seconds N`.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from world import ChaosError, World

_PAUSE = 2.0
# What it may grow by from the second third to the last, in its own unit.
_MOST = {"memory, MiB": 8.0, "descriptors": 16.0, "threads": 4.0, "disk, MiB": 64.0}

_Sample = Mapping[str, float]


def main() -> None:
    """Print the medians of the second third and of the last, and fail where one has grown."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that all is cleaned up
    with tempfile.TemporaryDirectory(prefix="c-") as directory:
        Path(directory).chmod(0o755)  # root's sandboxes run as other users
        try:
            samples = _soak(Path(directory), options)
        except ChaosError as error:
            sys.exit(f"seed {options.seed}: {error}")
    third = len(samples) // 3
    grown = [_compare(name, samples[third : 2 * third], samples[-third:]) for name in _MOST]
    sys.exit(any(grown))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/chaos/soak.py", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    return parser.parse_args()


def _soak(directory: Path, options: argparse.Namespace) -> list[_Sample]:
    samples: list[_Sample] = []
    deadline = time.monotonic() + options.seconds
    with World(directory, options.seed) as world:
        while time.monotonic() < deadline:
            time.sleep(_PAUSE)
            world.mend()
            assert world.server is not None
            samples.append(_sample(world.server.pid, world.state))
    print(world.told())
    return samples


def _sample(pid: int, state: Path) -> _Sample:
    """Return what a server holds now."""
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return {
        "memory, MiB": int(fields[fields.index("Pss:") + 1]) / 1024,
        "descriptors": _count(f"/proc/{pid}/fd"),
        "threads": _count(f"/proc/{pid}/task"),
        "disk, MiB": sum(_sizes(state)) / 2**20,
    }


def _count(path: str) -> int:
    return sum(1 for _ in Path(path).iterdir())


def _sizes(root: Path) -> list[int]:
    found: list[int] = []
    for where, _, names in os.walk(root):
        for name in names:
            try:
                found.append(Path(where, name).lstat().st_blocks * 512)
            except OSError:  # removed meanwhile
                continue
    return found


def _compare(name: str, before: list[_Sample], after: list[_Sample]) -> bool:
    first, last = (statistics.median(sample[name] for sample in part) for part in (before, after))
    is_grown = last - first > _MOST[name]
    print(f"{name}: {first:.1f}, then {last:.1f}{', too much' if is_grown else ''}")
    return is_grown


if __name__ == "__main__":
    main()
