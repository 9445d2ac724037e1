"""What lunette costs, against named baselines in the same run: `nox -s bench`.

`--quick` takes a tenth of the rounds, to see that it runs.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator

import crowd
import images
import load
import rows
import streams
import transfers


def main() -> None:
    """Measure everything, one group after the other."""
    share = 10 if "--quick" in sys.argv[1:] else 1
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, medians (quartiles).\n")
    print("| what | lunette | against | ratio | goal |")
    print("|---|---|---|---|---|")
    groups = (
        (rows.verbs, 1000),
        (rows.cold_process, 20),
        (rows.client_overhead, 3000),
        (rows.imports, 30),
        (images.images, 100),
        (streams.first_byte, 300),
        (streams.throughput, 5),
        (transfers.files, 5),
        (transfers.digests, 5),
        (transfers.directories, 10),
        (transfers.held_up, 200),
        (crowd.crowd, 300),
    )
    for group, rounds in groups:
        for row in group(max(4, rounds // share)):
            print(row, flush=True)
    found = sorted(rows.distributions())
    verdict = "met" if len(found) <= 12 else "missed"
    print(f"| distributions that the client needs | {len(found)} | - | - | <= 12: {verdict} |")
    print(f"The distributions: {', '.join(found)}.\n")
    for line in _loads(rounds=1 if share > 1 else 5):
        print(line, flush=True)


def _loads(*, rounds: int) -> Iterator[str]:
    """Measure many calls at once, each client in turns with the others."""
    goals = {load.DEFAULT: 5.0, load.FASTEST: 12.0}
    with load.noop() as place:
        for width in (100, 500):
            taken = load.compare(place, width, rounds=rounds)
            title = f"a server that does nothing, {width} at once"
            yield from load.table(title, taken, goals if width == 100 else {}, ratio=True)
            yield ""
    goals = {load.DEFAULT: 650.0, load.FASTEST: 950.0}
    with load.real() as place:
        taken = load.compare(place, 100, rounds=rounds, calls=2000)
        yield from load.table("`true`, embedded, 100 at once", taken, goals, ratio=False)


main()
