"""What lunette costs, against named baselines in the same run: `nox -s bench`.

`--quick` takes a tenth of the rounds, to see that it runs.
"""

from __future__ import annotations

import os
import platform
import sys

import rows


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
    )
    for group, rounds in groups:
        for row in group(max(4, rounds // share)):
            print(row, flush=True)
    found = sorted(rows.distributions())
    verdict = "met" if len(found) <= 12 else "missed"
    print(f"| distributions that the client needs | {len(found)} | - | - | <= 12: {verdict} |")
    per_second = rows.concurrent(100, max(3, 20 // share))
    print(f"\n100 concurrent `aexec`, embedded: {per_second:.0f} a second.")
    print(f"The distributions: {', '.join(found)}.")


main()
