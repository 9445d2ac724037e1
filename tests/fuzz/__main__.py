"""Schemathesis against `lunette serve`, with every check: `nox -s fuzz`.

It ends when enough requests were answered; the server's access log counts them. What is sent
follows from the seed, except for what the answers decide.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from origin import serving_images
from server import SPEC, FuzzError, Server, serving

_HERE = Path(__file__).parent
_CONFIG = _HERE / "schemathesis.toml"
# Requests of a pass: schemathesis keeps the history of each.
_LONGEST_PASS = 15_000
# What the phases send beside fuzzing, and how many requests an example of the others gives.
_FIXED, _PER_EXAMPLE = 900, 16
_REQUEST_SECONDS = 120  # a pull syncs a disk that other tests may have filled with work
_HURRY_SECONDS = 20


def main() -> None:
    """Attack the server until enough was sent, and exit with 1 where something is wrong."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that all is cleaned up
    begun = time.monotonic()
    print(f"seed {options.seed}: {options.requests} requests", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="f-") as directory:
            Path(directory).chmod(0o755)  # root's sandboxes run as other users
            sent = _serve_and_attack(Path(directory), options, begun + options.seconds)
    except FuzzError as error:
        sys.exit(f"seed {options.seed}: {error}")
    print(f"seed {options.seed}: {sent} requests in {time.monotonic() - begun:.0f} s, no failure")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=3000, help="as many at least")
    parser.add_argument("--seconds", type=float, default=600, help="as long at most")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    return parser.parse_args()


def _serve_and_attack(directory: Path, options: argparse.Namespace, deadline: float) -> int:
    with serving_images() as origin, serving(directory, origin) as server:
        try:
            _attack(server, directory, options, deadline)
            server.check()
        finally:
            print(_table(server), *server.complaints, sep="\n", flush=True)
    return server.answers.total()


def _attack(server: Server, directory: Path, options: argparse.Namespace, deadline: float) -> None:
    """Let schemathesis run, with one seed after the other, until enough requests were sent."""
    for seed in itertools.count(options.seed):
        sent = server.answers.total()
        if sent >= options.requests:
            return
        command = _command(server, seed, options.requests - sent, first=seed == options.seed)
        code = _run(command, server, directory, deadline)
        print(f"seed {seed}: {server.answers.total() - sent} requests", flush=True)
        if code is None:
            raise FuzzError(f"only {server.answers.total()} requests in {options.seconds:.0f} s")
        if code != 0:
            raise FuzzError("schemathesis found something, or failed")
        server.check()


def _command(server: Server, seed: int, missing: int, *, first: bool) -> list[str]:
    """Return the command of a pass; the first one has all phases, of which two are always alike."""
    phases = "examples,coverage,fuzzing,stateful" if first else "fuzzing,stateful"
    examples = max(5, (min(missing, _LONGEST_PASS) - (_FIXED if first else 0)) // _PER_EXAMPLE)
    return [
        *(sys.executable, "-P", "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run"),
        *(str(SPEC), "--url", server.url, "-H", f"X-API-Key: {server.api_key}"),
        *("--checks", "all", "--phases", phases),
        *("--seed", str(seed), "--max-examples", str(examples), "--continue-on-failure"),
        # What the server answers depends on what came before: a failure does not shrink.
        *("--no-shrink", "--generation-database", "none", "--suppress-health-check", "all"),
        *("--request-timeout", str(_REQUEST_SECONDS), "--warnings", "off", "--no-color"),
    ]


def _run(command: list[str], server: Server, directory: Path, deadline: float) -> int | None:
    """Return the exit code of a pass; None of one that took too long."""
    settings = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(_HERE), os.environ.get("PYTHONPATH")))),
        "SCHEMATHESIS_HOOKS": "hooks",
        "LUNETTE_BASE_URL": server.url,
        "LUNETTE_API_KEY": server.api_key,
        "LUNETTE_FUZZ_SEED": command[command.index("--seed") + 1],
        "NO_PROXY": "*",
    }
    process = subprocess.Popen(command, cwd=directory, env={**os.environ, **settings})
    try:
        return process.wait(max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_HURRY_SECONDS)
        return None
    finally:
        process.kill()
        process.wait()


def _table(server: Server) -> str:
    """Show how often each operation answered with each status."""
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for (operation, status), count in sorted(server.answers.items()):
        rows[operation].append(f"{status}: {count}")
    return "\n".join(f"{operation:26} {', '.join(found)}" for operation, found in rows.items())


main()
