from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.problem import Problem
from ...models.terminal_size import TerminalSize
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    process_id: str,
    *,
    body: TerminalSize,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/sandboxes/{sandbox_id}/processes/{process_id}/terminal".format(
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
) -> Any | Problem:
    if response.status_code == 204:
        response_204 = cast(Any, None)
        return response_204

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Any | Problem]:
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
    body: TerminalSize,
) -> Response[Any | Problem]:
    """Set the size of a process's terminal

     What runs in it is told by SIGWINCH. Of a process without a terminal it is `422 not_supported`; one
    that has
    ended is 204 too.

    Args:
        sandbox_id (str):
        process_id (str):
        body (TerminalSize): A terminal of the sandbox's own is the standard input, output and
            error of the process, which writes one stream,
            `stdout`. `TERM` is `xterm-256color` unless `env` or the service says otherwise.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
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
    body: TerminalSize,
) -> Any | Problem | None:
    """Set the size of a process's terminal

     What runs in it is told by SIGWINCH. Of a process without a terminal it is `422 not_supported`; one
    that has
    ended is 204 too.

    Args:
        sandbox_id (str):
        process_id (str):
        body (TerminalSize): A terminal of the sandbox's own is the standard input, output and
            error of the process, which writes one stream,
            `stdout`. `TERM` is `xterm-256color` unless `env` or the service says otherwise.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
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
    body: TerminalSize,
) -> Response[Any | Problem]:
    """Set the size of a process's terminal

     What runs in it is told by SIGWINCH. Of a process without a terminal it is `422 not_supported`; one
    that has
    ended is 204 too.

    Args:
        sandbox_id (str):
        process_id (str):
        body (TerminalSize): A terminal of the sandbox's own is the standard input, output and
            error of the process, which writes one stream,
            `stdout`. `TERM` is `xterm-256color` unless `env` or the service says otherwise.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
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
    body: TerminalSize,
) -> Any | Problem | None:
    """Set the size of a process's terminal

     What runs in it is told by SIGWINCH. Of a process without a terminal it is `422 not_supported`; one
    that has
    ended is 204 too.

    Args:
        sandbox_id (str):
        process_id (str):
        body (TerminalSize): A terminal of the sandbox's own is the standard input, output and
            error of the process, which writes one stream,
            `stdout`. `TERM` is `xterm-256color` unless `env` or the service says otherwise.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            process_id=process_id,
            client=client,
            body=body,
        )
    ).parsed
