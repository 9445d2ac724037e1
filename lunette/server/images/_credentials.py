"""What `docker login` left for this user: Docker's config.json, and its credential helpers."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from attrs import field, frozen

from ._documents import Document, read_object
from .errors import RegistryError
from .reference import DOCKER_HUB

__all__ = ["Credentials", "find_credentials"]

_HELPER = re.compile(r"[A-Za-z0-9_-]+")
_HELPER_SECONDS = 10.0
_NOT_FOUND = "credentials not found"
_IS_TOKEN = "<token>"
_LARGEST_FILE = 4 * 2**20
_HUB_NAMES = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")

Unusable = Callable[[str], RegistryError]


@frozen
class Credentials:
    """A user's password, or an identity token that stands for both; neither is ever shown."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)

    @property
    def basic(self) -> str:
        """The header that carries user and password."""
        both = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(both).decode()}"


def find_credentials(registry: str) -> Credentials | None:
    """Return the login for *registry* (HOST or HOST:PORT, "docker.io"), None if there is none.

    Raise RegistryError, naming the file and no secret, where the file or a helper is broken.
    """
    path = _path()
    content = None if path is None else _read(path)
    if path is None or content is None:
        return None

    def unusable(why: str) -> RegistryError:
        return RegistryError(f"{path} {why}: mend it, or set DOCKER_CONFIG to another directory")

    config = read_object(content, unusable)
    names = _HUB_NAMES if registry == DOCKER_HUB else (registry,)
    found = _of_helper(config, names, unusable)
    return found or _of_file(_section(config, "auths", unusable), names, unusable)


def _path() -> Path | None:
    if directory := os.environ.get("DOCKER_CONFIG"):
        return Path(directory) / "config.json"
    with contextlib.suppress(RuntimeError):  # a user without a home
        return Path.home() / ".docker" / "config.json"
    return None


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryError(
            f"cannot read {path}: {error.strerror}; mend it, or set DOCKER_CONFIG"
        ) from error


def _section(config: Document, key: str, unusable: Unusable) -> Document:
    section: Any = config.get(key) or {}
    if not isinstance(section, dict):
        raise unusable(f"has a {key} that is no object")
    return cast("Document", section)


def _of_file(logins: Document, names: tuple[str, ...], unusable: Unusable) -> Credentials | None:
    by_host = {_host(key): value for key, value in logins.items()}
    for name in names:
        found: Any = logins.get(name, by_host.get(name))
        if not found:
            continue
        if not isinstance(found, dict):
            raise unusable(f"has a login for {name} that is no object")
        return _login(cast("Document", found), lambda why: unusable(f"{why} for {name}"))  # noqa: B023
    return None


def _host(key: str) -> str:
    """Strip what very old versions of Docker wrote around the host."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _login(found: Document, unusable: Unusable) -> Credentials | None:
    user, password = found.get("username"), found.get("password")
    if auth := found.get("auth"):
        user, password = _decoded(auth, unusable)
    token = found.get("identitytoken") or None
    if not (user or token):
        return None  # what is left where a helper has the rest
    texts = (user or "", password or "", token or "")
    if not all(isinstance(text, str) for text in texts):
        raise unusable("has a login that is no text")
    return Credentials(texts[0], texts[1], token)


def _decoded(auth: Any, unusable: Unusable) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (TypeError, ValueError, binascii.Error):
        raise unusable("has an auth that is no base64") from None
    if not colon:
        raise unusable("has an auth without a password")
    return user, password.rstrip("\0")


def _of_helper(config: Document, names: tuple[str, ...], unusable: Unusable) -> Credentials | None:
    helpers = _section(config, "credHelpers", unusable)
    for name in names:
        if name in helpers:
            return _ask(helpers[name], name, unusable)
    if store := config.get("credsStore"):
        return _ask(store, names[0], unusable)
    return None


def _ask(helper: Any, server: str, unusable: Unusable) -> Credentials | None:
    if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
        raise unusable("names a credential helper by what is no name")
    program = f"docker-credential-{helper}"
    code, output = _run(program, server, unusable)
    if code != 0:
        if _NOT_FOUND in output.decode(errors="replace"):
            return None
        raise unusable(f"names {program}, which failed with exit code {code}")
    found = read_object(output, lambda why: unusable(f"names {program}, whose answer {why}"))
    user, secret = found.get("Username"), found.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str):
        raise unusable(f"names {program}, whose answer has no Username and Secret")
    if user == _IS_TOKEN:
        return Credentials("", "", secret)
    return Credentials(user, secret) if user else None


def _run(program: str, server: str, unusable: Unusable) -> tuple[int, bytes]:
    try:
        process = subprocess.Popen(
            [program, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise unusable(f"names {program}, which cannot be run ({error.strerror})") from error
    with process:
        try:
            output, _ = process.communicate(server.encode(), timeout=_HELPER_SECONDS)
        except subprocess.TimeoutExpired:
            # All that it started: whatever keeps the pipe open would keep us.
            os.killpg(process.pid, signal.SIGKILL)
            raise unusable(f"names {program}, which gave no answer in time") from None
    return process.returncode, output
