from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.problem import Problem
from ...models.process import Process
from ...models.start_request import StartRequest
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    process_id: str,
    *,
    body: StartRequest,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/sandboxes/{sandbox_id}/processes/{process_id}".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
            process_id=quote(str(process_id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | Process:
    if response.status_code == 200:
        response_200 = Process.from_dict(response.json())

        return response_200

    if response.status_code == 201:
        response_201 = Process.from_dict(response.json())

        return response_201

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | Process]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: StartRequest,
) -> Response[Problem | Process]:
    """Start a process that lives on by itself

     As `exec`, but the answer comes when the process has started. A repeat with the same body returns
    the process,
    with another body it is `422 key_reused`; where nothing was started, the key is free again. A
    program that is
    not found, or cannot be executed, is a process that has ended with 127 or 126.

    Args:
        sandbox_id (str):
        process_id (str):
        body (StartRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Process]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        process_id=process_id,
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: StartRequest,
) -> Problem | Process | None:
    """Start a process that lives on by itself

     As `exec`, but the answer comes when the process has started. A repeat with the same body returns
    the process,
    with another body it is `422 key_reused`; where nothing was started, the key is free again. A
    program that is
    not found, or cannot be executed, is a process that has ended with 127 or 126.

    Args:
        sandbox_id (str):
        process_id (str):
        body (StartRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | Process
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        process_id=process_id,
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: StartRequest,
) -> Response[Problem | Process]:
    """Start a process that lives on by itself

     As `exec`, but the answer comes when the process has started. A repeat with the same body returns
    the process,
    with another body it is `422 key_reused`; where nothing was started, the key is free again. A
    program that is
    not found, or cannot be executed, is a process that has ended with 127 or 126.

    Args:
        sandbox_id (str):
        process_id (str):
        body (StartRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Process]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        process_id=process_id,
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: StartRequest,
) -> Problem | Process | None:
    """Start a process that lives on by itself

     As `exec`, but the answer comes when the process has started. A repeat with the same body returns
    the process,
    with another body it is `422 key_reused`; where nothing was started, the key is free again. A
    program that is
    not found, or cannot be executed, is a process that has ended with 127 or 126.

    Args:
        sandbox_id (str):
        process_id (str):
        body (StartRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | Process
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            process_id=process_id,
            client=client,
            body=body,
        )
    ).parsed
