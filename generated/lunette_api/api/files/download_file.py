from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.problem import Problem
from ...types import File, FileTypes
from ...types import UNSET, Unset
from io import BytesIO
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    *,
    path: str,
    range_: str | Unset = UNSET,
    if_range: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(range_, Unset):
        headers["Range"] = range_

    if not isinstance(if_range, Unset):
        headers["If-Range"] = if_range

    if not isinstance(if_match, Unset):
        headers["If-Match"] = if_match

    params: dict[str, Any] = {}

    params["path"] = path

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/sandboxes/{sandbox_id}/files".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
        ),
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> File | Problem:
    if response.status_code == 200:
        response_200 = File(payload=BytesIO(response.content))

        return response_200

    if response.status_code == 206:
        response_206 = File(payload=BytesIO(response.content))

        return response_206

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[File | Problem]:
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
    path: str,
    range_: str | Unset = UNSET,
    if_range: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> Response[File | Problem]:
    """Read a file as it is

     Streams the bytes of a regular file with their `Content-Length`. The file is opened inside the
    sandbox. `ETag`
    is a strong validator (RFC 9110): it changes whenever the file does, as far as the clock of its file
    system
    tells. A `Range` of one range in bytes is answered by 206 with its part; with an `If-Range` that is
    not the
    file's `ETag` it is ignored, and the whole file comes. Other forms of `Range` are ignored.

    Args:
        sandbox_id (str):
        path (str):
        range_ (str | Unset):
        if_range (str | Unset):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[File | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        path=path,
        range_=range_,
        if_range=if_range,
        if_match=if_match,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    path: str,
    range_: str | Unset = UNSET,
    if_range: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> File | Problem | None:
    """Read a file as it is

     Streams the bytes of a regular file with their `Content-Length`. The file is opened inside the
    sandbox. `ETag`
    is a strong validator (RFC 9110): it changes whenever the file does, as far as the clock of its file
    system
    tells. A `Range` of one range in bytes is answered by 206 with its part; with an `If-Range` that is
    not the
    file's `ETag` it is ignored, and the whole file comes. Other forms of `Range` are ignored.

    Args:
        sandbox_id (str):
        path (str):
        range_ (str | Unset):
        if_range (str | Unset):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        File | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        client=client,
        path=path,
        range_=range_,
        if_range=if_range,
        if_match=if_match,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    path: str,
    range_: str | Unset = UNSET,
    if_range: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> Response[File | Problem]:
    """Read a file as it is

     Streams the bytes of a regular file with their `Content-Length`. The file is opened inside the
    sandbox. `ETag`
    is a strong validator (RFC 9110): it changes whenever the file does, as far as the clock of its file
    system
    tells. A `Range` of one range in bytes is answered by 206 with its part; with an `If-Range` that is
    not the
    file's `ETag` it is ignored, and the whole file comes. Other forms of `Range` are ignored.

    Args:
        sandbox_id (str):
        path (str):
        range_ (str | Unset):
        if_range (str | Unset):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[File | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        path=path,
        range_=range_,
        if_range=if_range,
        if_match=if_match,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    path: str,
    range_: str | Unset = UNSET,
    if_range: str | Unset = UNSET,
    if_match: str | Unset = UNSET,
) -> File | Problem | None:
    """Read a file as it is

     Streams the bytes of a regular file with their `Content-Length`. The file is opened inside the
    sandbox. `ETag`
    is a strong validator (RFC 9110): it changes whenever the file does, as far as the clock of its file
    system
    tells. A `Range` of one range in bytes is answered by 206 with its part; with an `If-Range` that is
    not the
    file's `ETag` it is ignored, and the whole file comes. Other forms of `Range` are ignored.

    Args:
        sandbox_id (str):
        path (str):
        range_ (str | Unset):
        if_range (str | Unset):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        File | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            client=client,
            path=path,
            range_=range_,
            if_range=if_range,
            if_match=if_match,
        )
    ).parsed
