"""How images are called: the grammar of Docker's distribution/reference."""

from __future__ import annotations

import ipaddress
import re

from attrs import frozen

from .errors import InvalidReferenceError

__all__ = ["DOCKER_HUB", "Reference"]

DOCKER_HUB = "docker.io"
_OFFICIAL = "library/"
_LONGEST_REPOSITORY = 255
_LONGEST_QUOTED = 100
_LONGEST = 1024  # host, repository, tag and digest at their longest have 700

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?P<v6>[a-fA-F0-9:]+)\])(?::(?P<port>[0-9]+))?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")
_IMAGE_ID = re.compile(r"[a-f0-9]{64}")

_NAME_RULE = (
    "a name has lower-case letters and digits, with single '.', '_', '__' or '-' between them,"
    " in parts that '/' separates"
)
_TAG_RULE = (
    "a tag has up to 128 letters, digits, '_', '.' and '-', and begins with neither '.' nor '-'"
)


@frozen
class Reference:
    """Where an image is: *repository* of *registry* ("docker.io"), by *tag* or *digest*.

    Where both are given, the digest says which image it is.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as Docker does: "python" is docker.io/library/python:latest.

        Raise InvalidReferenceError, whose message says what is wrong with *text*.
        """
        _refuse_what_is_no_name(text)
        named, _, digest = text.partition("@")
        if "@" in text and not _DIGEST.fullmatch(digest):
            raise _invalid(text, "after '@' comes a digest, sha256: and 64 hexadecimal digits")
        registry, rest = _split_registry(named)
        repository, colon, tag = rest.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _invalid(text, _TAG_RULE)
        _check_registry(text, registry)
        if registry == DOCKER_HUB and "/" not in repository:
            repository = _OFFICIAL + repository
        _check_repository(text, repository)
        wanted = tag or (None if digest else "latest")
        return cls(registry, repository, wanted, digest or None)

    def __str__(self) -> str:
        return self._spelled(f"{self.registry}/{self.repository}")

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The short form, as Docker shows it: "python:3.11-slim"."""
        if self.registry != DOCKER_HUB:
            return str(self)
        short = self.repository.removeprefix(_OFFICIAL)
        # docker.io/library/a/b is not a/b.
        return self._spelled(self.repository if "/" in short else short)

    @property
    def wanted(self) -> str:
        """What the registry is asked for: the digest, or else the tag."""
        return self.digest or self.tag or "latest"

    def _spelled(self, name: str) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{name}{tag}{digest}"


def _refuse_what_is_no_name(text: str) -> None:
    """Find the mistakes for which there is a better word than the grammar has."""
    if not text:
        raise InvalidReferenceError("the name of the image is empty")
    if len(text) > _LONGEST:
        raise _invalid(text, f"it has over {_LONGEST} characters")
    if "://" in text:
        raise _invalid(text, "a reference has no scheme: write HOST/NAME:TAG")
    if not text.isprintable() or not text.isascii() or " " in text:
        raise _invalid(text, "it has spaces, control characters or letters beyond ASCII")
    if _IMAGE_ID.fullmatch(text):
        raise _invalid(text, "64 hexadecimal digits are the id of an image, not its name")


def _split_registry(named: str) -> tuple[str, str]:
    first, slash, rest = named.partition("/")
    is_host = any(c in first for c in ".:") or first == "localhost" or first != first.lower()
    if not slash or not is_host:
        return DOCKER_HUB, named
    return (DOCKER_HUB if first == "index.docker.io" else first), rest


def _check_registry(text: str, registry: str) -> None:
    found = _HOST.fullmatch(registry)
    if found is None or (found["v6"] and not _is_address(found["v6"])):
        raise _invalid(text, "what comes before the first '/' is no HOST or HOST:PORT")
    if found["port"] and not (len(found["port"]) <= 5 and 0 < int(found["port"]) < 65536):
        raise _invalid(text, "a port is a number from 1 to 65535")


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _check_repository(text: str, repository: str) -> None:
    if len(repository) > _LONGEST_REPOSITORY:
        raise _invalid(text, f"the name has over {_LONGEST_REPOSITORY} characters")
    if _REPOSITORY.fullmatch(repository):
        return
    if _REPOSITORY.fullmatch(repository.lower()):
        raise _invalid(text, "the name of an image is in lower case")
    raise _invalid(text, _NAME_RULE)


def _invalid(text: str, why: str) -> InvalidReferenceError:
    shown = re.sub(r"://[^/]*@", "://***@", text)  # it may have a password
    shown = shown if len(shown) <= _LONGEST_QUOTED else f"{shown[:_LONGEST_QUOTED]}..."
    return InvalidReferenceError(f"{shown!r} is no reference to an image: {why}")
