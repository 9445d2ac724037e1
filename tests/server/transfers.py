"""Uploads and archives over HTTP, for tests."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import httpx

__all__ = ["begin", "code", "commit", "digest_of", "read_file", "send"]


def digest_of(content: bytes) -> str:
    """Return the member of a `Repr-Digest`."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def begin(client: httpx.Client, sandbox: str, name: str = "u", path: str = "f", **more: Any) -> str:
    """Begin an upload, and return its path."""
    upload = f"{sandbox}/uploads/{name}"
    answer = client.put(upload, json={"path": path, **more})
    assert (answer.status_code, answer.json()) == (
        200,
        {"upload_id": name, "offset": 0, "committed": False},
    )
    return upload


def send(client: httpx.Client, upload: str, offset: int, content: Any) -> httpx.Response:
    headers = {"Content-Type": "application/octet-stream"}
    return client.patch(upload, params={"offset": offset}, content=content, headers=headers)


def commit(client: httpx.Client, upload: str, content: bytes, **more: Any) -> httpx.Response:
    return client.put(f"{upload}/commit", json={"length": len(content), **more})


def read_file(client: httpx.Client, sandbox: str, path: str = "f") -> bytes:
    answer = client.get(f"{sandbox}/files", params={"path": path})
    assert answer.status_code == 200, answer.text
    return answer.content


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]
