"""Digests of what comes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading

from lunette.server._digests import Digest

GUARD = 10.0
THREADS = 64  # more than a loop has


def test_hashing_needs_no_thread_of_the_loop() -> None:
    async def main() -> str:
        over = threading.Event()
        for _ in range(THREADS):
            asyncio.get_running_loop().run_in_executor(None, over.wait, 2 * GUARD)
        digest = Digest()
        try:
            async with asyncio.timeout(GUARD):
                await digest.update(bytes(1 << 20))
                return await digest.value()
        finally:
            over.set()

    expected = base64.b64encode(hashlib.sha256(bytes(1 << 20)).digest()).decode()
    assert asyncio.run(main()) == f"sha-256=:{expected}:"
