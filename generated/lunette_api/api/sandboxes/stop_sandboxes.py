from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.problem import Problem
from ...models.stop_request import StopRequest
from ...models.stop_result import StopResult
from typing import cast


def _get_kwargs(
    *,
    body: StopRequest,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/sandboxes/stop",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | StopResult:
    if response.status_code == 200:
        response_200 = StopResult.from_dict(response.json())

        return response_200

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | StopResult]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: StopRequest,
) -> Response[Problem | StopResult]:
    """Destroy many sandboxes

     Destroys each sandbox of the list and says which it could not. An id that is already gone counts as
    stopped;
    one that never was is `failed`. `save_state` is accepted as false only, until snapshots exist.

    Args:
        body (StopRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | StopResult]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    body: StopRequest,
) -> Problem | StopResult | None:
    """Destroy many sandboxes

     Destroys each sandbox of the list and says which it could not. An id that is already gone counts as
    stopped;
    one that never was is `failed`. `save_state` is accepted as false only, until snapshots exist.

    Args:
        body (StopRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | StopResult
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: StopRequest,
) -> Response[Problem | StopResult]:
    """Destroy many sandboxes

     Destroys each sandbox of the list and says which it could not. An id that is already gone counts as
    stopped;
    one that never was is `failed`. `save_state` is accepted as false only, until snapshots exist.

    Args:
        body (StopRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | StopResult]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: StopRequest,
) -> Problem | StopResult | None:
    """Destroy many sandboxes

     Destroys each sandbox of the list and says which it could not. An id that is already gone counts as
    stopped;
    one that never was is `failed`. `save_state` is accepted as false only, until snapshots exist.

    Args:
        body (StopRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | StopResult
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
