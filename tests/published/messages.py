"""Requests and answers of the published wire, and what of them is refused."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus
from typing import Any

from attrs import define, frozen


@define
class Entry:
    """One request, as it stands in the diary."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """By lower-case names."""
    body: Any
    """Of JSON the value, of a form its fields (files are bytes), else bytes."""
    status: int | None = None
    """What was answered; None is nothing (yet), and a connection that was cut."""


@frozen
class Answer:
    status: int
    content: bytes
    headers: Mapping[str, str]


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


def multipart(content: bytes, boundary: str) -> dict[str, str | bytes]:
    """Parse a form; what has a file name stays bytes."""
    fields: dict[str, str | bytes] = {}
    for part in (b"\r\n" + content).split(b"\r\n--" + boundary.encode())[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        found = re.search(rb"content-disposition:([^\r\n]*)", head, re.IGNORECASE)
        message = Message()
        message["Content-Disposition"] = (found[1] if found else b"").decode().strip()
        name = str(message.get_param("name", header="content-disposition"))
        fields[name] = value if message.get_filename() is not None else value.decode()
    return fields


def value_of(text: str | bytes) -> Any:
    """Parse JSON; what is none stays what it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def json_object(entry: Entry) -> dict[str, Any]:
    if not isinstance(entry.body, dict) or "json" not in entry.headers.get("content-type", ""):
        raise refusal(422, "not a JSON object")
    return entry.body


def only(given: dict[str, Any], *required: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what is given if it is what the wire has."""
    if missing := [name for name in required if name not in given]:
        raise refusal(422, f"missing: {', '.join(missing)}")
    if more := [name for name in given if name not in (*required, *optional)]:
        raise refusal(422, f"not on this wire: {', '.join(more)}")
    return given


def strings(given: dict[str, Any]) -> dict[str, str]:
    if wrong := [name for name, value in given.items() if not isinstance(value, str)]:
        raise refusal(422, f"not a string: {', '.join(wrong)}")
    return given


def in_json(status: int, value: Any) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def page(status: int) -> Answer:
    title = html.escape(f"{status} {HTTPStatus(status).phrase}")
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>"
    return Answer(status, page.encode(), {"Content-Type": "text/html; charset=utf-8"})


def refusal(status: int, why: str) -> Refusal:
    return Refusal(in_json(status, {"error": why}))


def gone() -> Refusal:
    return refusal(404, "Sandbox not found")
