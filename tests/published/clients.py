"""Clients of the published server, and what they have sent in short."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from lunette import LunetteClient, RetryPolicy

from .messages import Entry
from .server import PublishedServer

IMAGE = {"image": "python:3.11-slim"}
SOON = RetryPolicy(attempts=3, first_delay=0.001, longest_delay=0.002)

Body = Callable[[Any], Coroutine[Any, Any, None]]
Perform = Callable[..., None]


def client_of(server: PublishedServer, **options: Any) -> LunetteClient:
    settings: dict[str, Any] = {"api_key": server.key, "base_url": server.url, "retry": SOON}
    return LunetteClient(**settings | options)


def in_short(entries: list[Entry]) -> list[str]:
    return [re.sub("[0-9a-f-]{36}", "ID", f"{entry.method} {entry.path}") for entry in entries]
