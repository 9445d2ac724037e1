from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.extend_request import ExtendRequest
from ...models.problem import Problem
from ...models.sandbox_info import SandboxInfo
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    *,
    body: ExtendRequest,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/sandboxes/{sandbox_id}/lifetime".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | SandboxInfo:
    if response.status_code == 200:
        response_200 = SandboxInfo.from_dict(response.json())

        return response_200

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | SandboxInfo]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: ExtendRequest,
) -> Response[Problem | SandboxInfo]:
    """Let a sandbox live longer

     The sandbox lives for so many seconds from now at least, whatever its `ttl` and its `idle_timeout`
    say; it never
    becomes shorter. Repeating it does no harm.

    Args:
        sandbox_id (str):
        body (ExtendRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SandboxInfo]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: ExtendRequest,
) -> Problem | SandboxInfo | None:
    """Let a sandbox live longer

     The sandbox lives for so many seconds from now at least, whatever its `ttl` and its `idle_timeout`
    say; it never
    becomes shorter. Repeating it does no harm.

    Args:
        sandbox_id (str):
        body (ExtendRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SandboxInfo
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: ExtendRequest,
) -> Response[Problem | SandboxInfo]:
    """Let a sandbox live longer

     The sandbox lives for so many seconds from now at least, whatever its `ttl` and its `idle_timeout`
    say; it never
    becomes shorter. Repeating it does no harm.

    Args:
        sandbox_id (str):
        body (ExtendRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SandboxInfo]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: ExtendRequest,
) -> Problem | SandboxInfo | None:
    """Let a sandbox live longer

     The sandbox lives for so many seconds from now at least, whatever its `ttl` and its `idle_timeout`
    say; it never
    becomes shorter. Repeating it does no harm.

    Args:
        sandbox_id (str):
        body (ExtendRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SandboxInfo
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            client=client,
            body=body,
        )
    ).parsed
