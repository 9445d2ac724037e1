from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.input_accepted import InputAccepted
from ...models.problem import Problem
from ...types import File, FileTypes
from ...types import UNSET, Unset
from io import BytesIO
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    process_id: str,
    *,
    body: File | Unset = UNSET,
    offset: int,
    end: bool | Unset = False,
    wait: float | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    params: dict[str, Any] = {}

    params["offset"] = offset

    params["end"] = end

    params["wait"] = wait

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/sandboxes/{sandbox_id}/processes/{process_id}/input".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
            process_id=quote(str(process_id), safe=""),
        ),
        "params": params,
    }

    if not isinstance(body, Unset):
        _kwargs["content"] = body.payload
    headers["Content-Type"] = "application/octet-stream"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> InputAccepted | Problem:
    if response.status_code == 200:
        response_200 = InputAccepted.from_dict(response.json())

        return response_200

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[InputAccepted | Problem]:
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
    body: File | Unset = UNSET,
    offset: int,
    end: bool | Unset = False,
    wait: float | Unset = UNSET,
) -> Response[InputAccepted | Problem]:
    """Write to the standard input of a process

     Of a process that was started with `interactive` or `tty`. The body, at most `limits.input_chunk`
    bytes, begins
    at `offset` of all that was ever written, `input` of the start included; what has come before is
    left out, so that a repeat doubles nothing. An `offset` after what has
    come is `409 input_gap`. The answer comes when the process has taken all, or after `wait` seconds,
    and says how
    much it has taken: the rest is the client's to send again. With `end` standard input is closed
    behind the body,
    once all of it is taken (on a terminal, ^D is typed). `409 input_closed` means that nobody reads any
    more.

    Args:
        sandbox_id (str):
        process_id (str):
        offset (int):
        end (bool | Unset):  Default: False.
        wait (float | Unset):
        body (File | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[InputAccepted | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        process_id=process_id,
        body=body,
        offset=offset,
        end=end,
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
    body: File | Unset = UNSET,
    offset: int,
    end: bool | Unset = False,
    wait: float | Unset = UNSET,
) -> InputAccepted | Problem | None:
    """Write to the standard input of a process

     Of a process that was started with `interactive` or `tty`. The body, at most `limits.input_chunk`
    bytes, begins
    at `offset` of all that was ever written, `input` of the start included; what has come before is
    left out, so that a repeat doubles nothing. An `offset` after what has
    come is `409 input_gap`. The answer comes when the process has taken all, or after `wait` seconds,
    and says how
    much it has taken: the rest is the client's to send again. With `end` standard input is closed
    behind the body,
    once all of it is taken (on a terminal, ^D is typed). `409 input_closed` means that nobody reads any
    more.

    Args:
        sandbox_id (str):
        process_id (str):
        offset (int):
        end (bool | Unset):  Default: False.
        wait (float | Unset):
        body (File | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        InputAccepted | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        process_id=process_id,
        client=client,
        body=body,
        offset=offset,
        end=end,
        wait=wait,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: File | Unset = UNSET,
    offset: int,
    end: bool | Unset = False,
    wait: float | Unset = UNSET,
) -> Response[InputAccepted | Problem]:
    """Write to the standard input of a process

     Of a process that was started with `interactive` or `tty`. The body, at most `limits.input_chunk`
    bytes, begins
    at `offset` of all that was ever written, `input` of the start included; what has come before is
    left out, so that a repeat doubles nothing. An `offset` after what has
    come is `409 input_gap`. The answer comes when the process has taken all, or after `wait` seconds,
    and says how
    much it has taken: the rest is the client's to send again. With `end` standard input is closed
    behind the body,
    once all of it is taken (on a terminal, ^D is typed). `409 input_closed` means that nobody reads any
    more.

    Args:
        sandbox_id (str):
        process_id (str):
        offset (int):
        end (bool | Unset):  Default: False.
        wait (float | Unset):
        body (File | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[InputAccepted | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        process_id=process_id,
        body=body,
        offset=offset,
        end=end,
        wait=wait,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: File | Unset = UNSET,
    offset: int,
    end: bool | Unset = False,
    wait: float | Unset = UNSET,
) -> InputAccepted | Problem | None:
    """Write to the standard input of a process

     Of a process that was started with `interactive` or `tty`. The body, at most `limits.input_chunk`
    bytes, begins
    at `offset` of all that was ever written, `input` of the start included; what has come before is
    left out, so that a repeat doubles nothing. An `offset` after what has
    come is `409 input_gap`. The answer comes when the process has taken all, or after `wait` seconds,
    and says how
    much it has taken: the rest is the client's to send again. With `end` standard input is closed
    behind the body,
    once all of it is taken (on a terminal, ^D is typed). `409 input_closed` means that nobody reads any
    more.

    Args:
        sandbox_id (str):
        process_id (str):
        offset (int):
        end (bool | Unset):  Default: False.
        wait (float | Unset):
        body (File | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        InputAccepted | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            process_id=process_id,
            client=client,
            body=body,
            offset=offset,
            end=end,
            wait=wait,
        )
    ).parsed
