"""The tag `server` of the contract: what this server is."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lunette._version import version
from lunette.server import _contract
from lunette.server._archive import PIECE
from lunette.server._bodies import JSON_BODY_LIMIT
from lunette.server._json import answer
from lunette.server._lifetimes import Lifetimes
from lunette.server._load import STARTING_COMMANDS, STARTING_SANDBOXES
from lunette.server._resource import Resource
from lunette.server._transfers import ARCHIVES, UPLOADS
from lunette.server.engines.protocol import Engine
from lunette.server.files import READ_LIMIT
from lunette.server.output import LARGEST_OUTPUT_LIMIT, OUTPUT_LIMIT
from lunette.server.processes import INPUT_CHUNK
from lunette.server.registry import Registry
from lunette.server.spec import supported_keys
from lunette.server.store import Store
from lunette.server.trees import LISTING

__all__ = ["About"]


class About:
    """Say what this server is and can do."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resources(self) -> dict[str, Resource]:
        """Return the paths of this tag."""
        return {
            "/health": Resource(GET=self._health),
            "/capabilities": Resource(GET=self._capabilities),
        }

    async def _health(self, request: Request) -> Response:
        return answer({"status": "ok"})

    async def _capabilities(self, request: Request) -> Response:
        engine = await self._registry.engine()
        registry = self._registry
        return answer(_describe(engine, registry.store, registry.lifetimes))


def _describe(engine: Engine, store: Store, lifetimes: Lifetimes) -> dict[str, Any]:
    capabilities = engine.capabilities
    return {
        "name": "lunette",
        "version": version(),
        "api_version": _contract.api_version(),
        "engine": engine.name,
        "isolation": capabilities.isolation,
        "images": list(capabilities.images),
        "service_keys": sorted(supported_keys(capabilities)),
        "network_modes": list(capabilities.network_modes),
        "pulls_images": capabilities.pulls_images,
        "platform": capabilities.platform,
        "lifetimes": lifetimes.to_json(),
        "enforces": list(capabilities.enforces),
        **({"limits_by": capabilities.limits_by} if capabilities.limits_by else {}),
        "limits": {
            **capabilities.limits,
            "json_body": JSON_BODY_LIMIT,
            "output": OUTPUT_LIMIT,
            "output_limit": LARGEST_OUTPUT_LIMIT,
            "log": store.log_limit,
            "logs": store.logs_limit,
            "input_chunk": INPUT_CHUNK,
            "uploads": UPLOADS,
            "archives": ARCHIVES,
            "archive_piece": PIECE,
            "listing": LISTING,
            "read": READ_LIMIT,
            "starting_commands": STARTING_COMMANDS,
            "starting_sandboxes": STARTING_SANDBOXES,
        },
    }
