"""What the verbs do on a server that speaks the published wire alone.

It is that of the hosted service, and all that section 2 of our design says of it: six requests, of
which no POST is ever sent twice. What it cannot do is refused before anything is sent.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .. import errors
from .._answers import file_not_found
from .._io import IO, Request
from . import is_unknown_endpoint, parsed

if TYPE_CHECKING:
    import httpx
    from lunette_api.models import ExecResponse, StopResult

    from .._build import Build

__all__ = ["create", "destroy", "execute", "read", "refuse", "send_form", "stop", "write"]

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


async def create(io: IO, service: Mapping[str, Any], build: Build | None = None) -> str:
    """Make a sandbox and return its id, which is the server's."""
    if build is not None:
        response = await send_form(io, service, build, {})
    else:
        request = {"method": "post", "url": "/sandboxes", "data": _fields(service)}
        response = await io.send(request, patient=True)
    return str(parsed(response, lambda answer: answer["sandbox_id"]))


async def send_form(
    io: IO, service: Mapping[str, Any], build: Build, headers: Mapping[str, str]
) -> httpx.Response:
    """Ask for a sandbox whose image is to be built; the context is sent while it is read.

    It is repeated only if the *headers* have a key by which the server knows it again.
    """
    from .._form import Form

    if build.options:
        service = {**service, "build": build.options}
    # Before the context, so that a server which refuses need not read it.
    fields = _fields(service) | {"dockerfile": build.context.dockerfile}
    form = Form(fields, "build_context", build.context.tar)
    request: Request = {
        "method": "post",
        "url": "/sandboxes",
        "headers": {**headers, "Content-Type": form.content_type},
    }
    try:
        return await io.send(request, body=form, patient=True)
    finally:
        form.close()


def _fields(service: Mapping[str, Any]) -> dict[str, str]:
    image = {"image": service["image"]} if "image" in service else {}
    return image | {"service": json.dumps(service)}


async def execute(
    io: IO, sandbox_id: str, fields: Mapping[str, Any], *, listens: bool = False
) -> ExecResponse:
    """Run a command; *cwd*, *env* and an argv become a part of its text."""
    from lunette_api.models import ExecResponse

    if listens:
        raise refuse("exec with on_stdout or on_stderr", "its output is in the result")
    request = _post(sandbox_id, "exec", {"command": _composed(fields)})
    response = await io.send(request, patient=True)
    return parsed(response, ExecResponse.from_dict)


async def write(io: IO, sandbox_id: str, path: str, content: bytes) -> None:
    """Write a file."""
    try:
        text, encoding = content.decode(), "utf-8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(content).decode("ascii"), "base64"
    body = {"path": path, "content": text, "encoding": encoding}
    await io.send(_post(sandbox_id, "write", body))


async def read(io: IO, sandbox_id: str, path: str) -> bytes:
    """Read a file."""
    request = {"method": "get", "url": _url(sandbox_id, "read"), "params": {"path": path}}
    try:
        response = await io.send(request)
    except errors.APIError as error:
        if error.code is None and error.status_code == 404:
            raise file_not_found(error.response) from error
        raise
    return parsed(response, _content)


async def stop(io: IO, sandbox_ids: list[str]) -> StopResult:
    """Destroy sandboxes."""
    from lunette_api.models import StopResult

    body = {"sandbox_ids": sandbox_ids, "save_state": False}
    request = {"method": "post", "url": "/sandboxes/stop", "json": body}
    return parsed(await io.send(request), StopResult.from_dict)


async def destroy(io: IO, sandbox_id: str) -> None:
    """Destroy a sandbox, or at least forget it where the server has no way to."""
    try:
        answer = await stop(io, [sandbox_id])
    except errors.APIError as error:
        if not is_unknown_endpoint(error):
            raise
        logger.warning("[%s] this server cannot stop sandboxes; it is only forgotten", sandbox_id)
        return
    for failure in answer.failed:
        logger.warning("[%s] could not be stopped: %s", failure.sandbox_id, failure.error)


def refuse(what: str, mend: str = "") -> errors.NotSupportedError:
    """Return the error of what the published wire cannot do."""
    return errors.NotSupportedError(f"this server cannot do it: {what}{mend and f'; {mend}'}")


def _composed(fields: Mapping[str, Any]) -> str:
    for name, mend in _MENDS.items():
        if name in fields:
            raise refuse(f"exec with {name}", mend)
    # `exec`, since without it a shell has its own idea of `exit`, `if` and `A=1`.
    argv: str | list[str] = fields["command"]
    command = argv if isinstance(argv, str) else f"exec {shlex.join(argv)}"
    env: dict[str, str] = fields.get("env", {})
    setting = [f"{_name(name)}={shlex.quote(value)}" for name, value in env.items()]
    moving = [f"cd {shlex.quote(_directory(fields['cwd']))}"] if "cwd" in fields else []
    if not (setting or moving):
        return command
    exporting = [f"export {' '.join(setting)}"] if setting else []
    # In a shell of its own, whose syntax errors and `exit` are its own.
    return " && ".join([*moving, *exporting, f"exec /bin/sh -c {shlex.quote(command)}"])


_MENDS = {
    "timeout": "end the command itself, such as by `timeout 10 ...`",
    "input": "upload it as a file, and write `... < file`",
    "output_limit": "cut the output in the command, such as by head -c",
    "user": "name it in the command, such as by `su`",
}


def _directory(path: str) -> str:
    return f"./{path}" if path.startswith("-") else path  # which `cd` would take for an option


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise refuse(f"exec with the variable {name!r}", "its shell takes letters, digits and _")
    return name


def _content(answer: Any) -> bytes:
    content: str = answer["content"]
    return base64.b64decode(content) if answer["encoding"] == "base64" else content.encode()


def _post(sandbox_id: str, verb: str, body: Mapping[str, Any]) -> Request:
    return {"method": "post", "url": _url(sandbox_id, verb), "json": body}


def _url(sandbox_id: str, verb: str) -> str:
    return f"/sandboxes/{quote(sandbox_id, safe='')}/{verb}"
