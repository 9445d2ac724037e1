"""Code sandboxes: on this machine, on your server, on a fleet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._retry import RetryPolicy
    from .client import AsyncLunetteClient, LunetteClient
    from .errors import (
        APIError,
        AsyncUsageWarning,
        AuthenticationError,
        ClientClosedError,
        ConfigError,
        EmbeddedServerError,
        ExecFailedError,
        ExecTimeoutError,
        ImageError,
        ImageNotFoundError,
        LunetteError,
        NotSupportedError,
        OutcomeExpiredError,
        ProcessInputClosedError,
        ProcessNotFoundError,
        ProcessRunningError,
        RateLimitError,
        RequestTimeoutError,
        SandboxDestroyedError,
        SandboxExpiredError,
        SandboxFailedError,
        SandboxFileError,
        SandboxFileExistsError,
        SandboxFileNotFoundError,
        SandboxIsADirectoryError,
        SandboxLostError,
        SandboxNotADirectoryError,
        SandboxNotFoundError,
        SandboxOutOfMemoryError,
        SandboxPausedError,
        SandboxPermissionError,
        SandboxStoppedError,
        ServiceError,
        TransportError,
        VersionError,
    )
    from .files import AsyncFile, Files
    from .process import PIPE, Process
    from .results import (
        ExecResult,
        FileInfo,
        ImageInfo,
        ProcessInfo,
        SandboxInfo,
        SandboxStats,
        StopFailure,
        StopResult,
    )
    from .sandbox import AsyncSandbox, Sandbox
    from .service import ComposeService

__all__ = [
    "PIPE",
    "APIError",
    "AsyncFile",
    "AsyncLunetteClient",
    "AsyncSandbox",
    "AsyncUsageWarning",
    "AuthenticationError",
    "ClientClosedError",
    "ComposeService",
    "ConfigError",
    "EmbeddedServerError",
    "ExecFailedError",
    "ExecResult",
    "ExecTimeoutError",
    "FileInfo",
    "Files",
    "ImageError",
    "ImageInfo",
    "ImageNotFoundError",
    "LunetteClient",
    "LunetteError",
    "NotSupportedError",
    "OutcomeExpiredError",
    "Process",
    "ProcessInfo",
    "ProcessInputClosedError",
    "ProcessNotFoundError",
    "ProcessRunningError",
    "RateLimitError",
    "RequestTimeoutError",
    "RetryPolicy",
    "Sandbox",
    "SandboxDestroyedError",
    "SandboxExpiredError",
    "SandboxFailedError",
    "SandboxFileError",
    "SandboxFileExistsError",
    "SandboxFileNotFoundError",
    "SandboxInfo",
    "SandboxIsADirectoryError",
    "SandboxLostError",
    "SandboxNotADirectoryError",
    "SandboxNotFoundError",
    "SandboxOutOfMemoryError",
    "SandboxPausedError",
    "SandboxPermissionError",
    "SandboxStats",
    "SandboxStoppedError",
    "ServiceError",
    "StopFailure",
    "StopResult",
    "TransportError",
    "VersionError",
]

_MODULES = {
    "_retry": ["RetryPolicy"],
    "client": ["AsyncLunetteClient", "LunetteClient"],
    "files": ["AsyncFile", "Files"],
    "process": ["PIPE", "Process"],
    "results": [
        "ExecResult",
        "FileInfo",
        "ImageInfo",
        "ProcessInfo",
        "SandboxInfo",
        "SandboxStats",
        "StopFailure",
        "StopResult",
    ],
    "sandbox": ["AsyncSandbox", "Sandbox"],
    "service": ["ComposeService"],
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    # The server runs this file too, and must not pay for httpx; every other name is an error class.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
