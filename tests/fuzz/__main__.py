"""Schemathesis against `lunette serve`, with every check: `nox -s fuzz`.

It ends when enough requests were answered, which the server's access log counts, or when the time
is up. What is sent follows from the seed, except for what the answers decide. The last lines say
what was found.
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
import threading
import time
from collections import defaultdict
from pathlib import Path

from findings import Findings, last_lines, said
from origin import serving_images
from server import REQUEST_SECONDS, SPEC, FuzzError, Server, serving

_HERE = Path(__file__).parent
_CONFIG = _HERE / "schemathesis.toml"
# Examples of the first pass: every phase has its turn soon, on a slow machine too.
_FIRST_EXAMPLES = 25
# Requests of another pass: schemathesis keeps the history of each; and of an example.
_LONGEST_PASS, _PER_EXAMPLE = 15_000, 20
_SHORTEST_PASS_SECONDS = 20
_INTERRUPTED = 130


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
        sys.exit(f"{error}\nseed {options.seed}: failed after {time.monotonic() - begun:.0f} s")
    print(f"seed {options.seed}: {sent} requests in {time.monotonic() - begun:.0f} s, no failure")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=3000, help="as many, if there is time")
    parser.add_argument("--seconds", type=float, default=100, help="as long, and a little more")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    return parser.parse_args()


def _serve_and_attack(directory: Path, options: argparse.Namespace, deadline: float) -> int:
    with serving_images() as origin, serving(directory, origin) as server:
        try:
            _attack(server, directory, options, deadline)
            server.check()
        finally:
            print(_table(server), *last_lines(server.complaints), sep="\n", flush=True)
    return server.answers.total()


def _attack(server: Server, directory: Path, options: argparse.Namespace, deadline: float) -> None:
    """Let schemathesis run, with one seed after the other, until enough was sent or time is up."""
    for seed in itertools.count(options.seed):
        sent = server.answers.total()
        is_first = seed == options.seed
        is_late = time.monotonic() > deadline - _SHORTEST_PASS_SECONDS
        if sent >= options.requests or (is_late and not is_first):
            return
        command = _command(server, seed, options.requests - sent, first=is_first)
        _Pass(command, server, directory).run(deadline)
        print(f"seed {seed}: {server.answers.total() - sent} requests", flush=True)
        if not server.answers:  # slow is no fault; a request without an answer is found elsewhere
            raise FuzzError(f"no request in {options.seconds:.0f} s")
        server.check()


def _command(server: Server, seed: int, missing: int, *, first: bool) -> list[str]:
    """Return the command of a pass; the first one has all phases, of which two are always alike."""
    phases = "examples,coverage,fuzzing,stateful" if first else "fuzzing,stateful"
    examples = max(5, min(missing, _LONGEST_PASS) // _PER_EXAMPLE)
    examples = min(examples, _FIRST_EXAMPLES) if first else examples
    return [
        *(sys.executable, "-P", "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run"),
        *(str(SPEC), "--url", server.url, "-H", f"X-API-Key: {server.api_key}"),
        *("--checks", "all", "--phases", phases),
        *("--seed", str(seed), "--max-examples", str(examples), "--continue-on-failure"),
        # What the server answers depends on what came before: a failure does not shrink.
        *("--no-shrink", "--generation-database", "none", "--suppress-health-check", "all"),
        # By itself, 10 s: less than an answer may wait that was asked to wait.
        *("--request-timeout", str(REQUEST_SECONDS), "--max-response-time", str(REQUEST_SECONDS)),
        *("--warnings", "off", "--no-color"),
    ]


class _Pass:
    """One run of schemathesis."""

    def __init__(self, command: list[str], server: Server, directory: Path) -> None:
        path = directory / "findings"
        settings = {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(_HERE), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            "SCHEMATHESIS_HOOKS": "hooks",
            "LUNETTE_BASE_URL": server.url,
            "LUNETTE_API_KEY": server.api_key,
            "LUNETTE_FUZZ_SEED": command[command.index("--seed") + 1],
            "LUNETTE_FUZZ_FINDINGS": str(path),
            "NO_PROXY": "*",
        }
        self._findings = Findings(path)
        self._output: list[str] = []
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )

    def run(self, deadline: float) -> None:
        """See it end, by itself or because the time is up; raise what it found."""
        reading = threading.Thread(target=self._read)
        reading.start()
        try:
            code = self._ended(deadline)
        finally:
            self._process.kill()
            self._process.wait()
            reading.join()
        found = [*self._findings.lines(), *said(self._output)]
        if code not in (0, _INTERRUPTED):
            found = found or last_lines(self._output)
            found.append(f"schemathesis ended with {code}")
        if found:
            raise FuzzError("\n".join(["what schemathesis found:", *found]))

    def _ended(self, deadline: float) -> int:
        try:
            return self._process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print("the time is up", flush=True)
            self._process.send_signal(signal.SIGINT)
        try:
            # It waits for its last answer, which may be one that never comes.
            self._process.wait(REQUEST_SECONDS + _SHORTEST_PASS_SECONDS)
        except subprocess.TimeoutExpired:
            raise FuzzError("\n".join([*last_lines(self._output), "it does not end"])) from None
        return _INTERRUPTED

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(line, end="", flush=True)
            self._output.append(line)


def _table(server: Server) -> str:
    """Show how often each operation answered with each status."""
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for (operation, status), count in sorted(server.answers.items()):
        rows[operation].append(f"{status}: {count}")
    return "\n".join(f"{operation:26} {', '.join(found)}" for operation, found in rows.items())


main()
