from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.problem import Problem
from ...models.process import Process
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    process_id: str,
    *,
    wait: float | Unset = UNSET,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    params["wait"] = wait

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/sandboxes/{sandbox_id}/processes/{process_id}".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
            process_id=quote(str(process_id), safe=""),
        ),
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | Process:
    if response.status_code == 200:
        response_200 = Process.from_dict(response.json())

        return response_200

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
    wait: float | Unset = UNSET,
) -> Response[Problem | Process]:
    """Look at a command, or wait for its end

     With `wait` the answer comes when the command has ended, or after that many seconds. An outcome that
    was
    dropped is made again from the log of a process, as far as that is there.

    Args:
        sandbox_id (str):
        process_id (str):
        wait (float | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Process]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        process_id=process_id,
        wait=wait,
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
    wait: float | Unset = UNSET,
) -> Problem | Process | None:
    """Look at a command, or wait for its end

     With `wait` the answer comes when the command has ended, or after that many seconds. An outcome that
    was
    dropped is made again from the log of a process, as far as that is there.

    Args:
        sandbox_id (str):
        process_id (str):
        wait (float | Unset):

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
        wait=wait,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    wait: float | Unset = UNSET,
) -> Response[Problem | Process]:
    """Look at a command, or wait for its end

     With `wait` the answer comes when the command has ended, or after that many seconds. An outcome that
    was
    dropped is made again from the log of a process, as far as that is there.

    Args:
        sandbox_id (str):
        process_id (str):
        wait (float | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Process]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        process_id=process_id,
        wait=wait,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    wait: float | Unset = UNSET,
) -> Problem | Process | None:
    """Look at a command, or wait for its end

     With `wait` the answer comes when the command has ended, or after that many seconds. An outcome that
    was
    dropped is made again from the log of a process, as far as that is there.

    Args:
        sandbox_id (str):
        process_id (str):
        wait (float | Unset):

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
            wait=wait,
        )
    ).parsed
