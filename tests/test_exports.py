from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from typing import Any

import pytest

import lunette

EXPORTED = [
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
CLIENT_MODULES = [
    module.name
    for module in pkgutil.iter_modules(lunette.__path__)
    if module.name not in {"cli", "server"}
]


def test_exports_are_locked() -> None:
    assert lunette.__all__ == EXPORTED
    assert all(getattr(lunette, name).__name__ == name for name in EXPORTED if not name.isupper())
    assert set(EXPORTED) <= set(dir(lunette))


def test_published_homes() -> None:
    from lunette import client, process, sandbox

    assert sandbox.Sandbox is lunette.Sandbox
    assert sandbox.ExecResult is lunette.ExecResult
    assert sandbox.SandboxDestroyedError is lunette.SandboxDestroyedError
    assert client.LunetteClient is lunette.LunetteClient
    assert process.PIPE is lunette.PIPE


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        getattr(lunette, "no" + "pe")


@pytest.mark.parametrize("name", CLIENT_MODULES)
def test_every_module_says_what_it_is_and_what_it_exports(name: str) -> None:
    module: Any = importlib.import_module(f"lunette.{name}")
    assert module.__doc__
    assert module.__all__ == sorted(module.__all__, key=lambda n: (not n.isupper(), n))


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return set(json.loads(output.stdout))


def test_importing_lunette_imports_no_httpx() -> None:
    assert not loaded_by("import lunette") & {"httpx", "attrs", "asyncio", "lunette.errors"}


def test_touching_the_client_imports_little_more_than_httpx() -> None:
    extra = loaded_by("import lunette; lunette.LunetteClient") - loaded_by("import httpx")
    heavy = {
        "anyio",
        "asyncio",
        "attr",
        "attrs",
        "lunette_api",
        "lunette._embedded",
        "pathspec",
        "yaml",
    }
    assert not extra & heavy
