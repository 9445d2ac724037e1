from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.problem import Problem
from ...types import File, FileTypes
from io import BytesIO
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    archive_id: str,
    *,
    offset: int,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    params["offset"] = offset

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/sandboxes/{sandbox_id}/archives/{archive_id}".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
            archive_id=quote(str(archive_id), safe=""),
        ),
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> File | Problem:
    if response.status_code == 200:
        response_200 = File(payload=BytesIO(response.content))

        return response_200

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
    archive_id: str,
    *,
    client: AuthenticatedClient | Client,
    offset: int,
) -> Response[File | Problem]:
    """Read the next piece of a directory

     The bytes from `offset` on, at most `limits.archive_piece` of them; `Archive-Complete: ?1` (RFC
    9651) says that
    they are the last, and then `Repr-Digest` (RFC 9530) is the digest of all. Whoever asks from an
    offset has all
    that is before it: what is before the last piece is gone, and is `416 range_not_satisfiable`, as is
    what is after it.

    Args:
        sandbox_id (str):
        archive_id (str):
        offset (int):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[File | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        archive_id=archive_id,
        offset=offset,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    archive_id: str,
    *,
    client: AuthenticatedClient | Client,
    offset: int,
) -> File | Problem | None:
    """Read the next piece of a directory

     The bytes from `offset` on, at most `limits.archive_piece` of them; `Archive-Complete: ?1` (RFC
    9651) says that
    they are the last, and then `Repr-Digest` (RFC 9530) is the digest of all. Whoever asks from an
    offset has all
    that is before it: what is before the last piece is gone, and is `416 range_not_satisfiable`, as is
    what is after it.

    Args:
        sandbox_id (str):
        archive_id (str):
        offset (int):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        File | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        archive_id=archive_id,
        client=client,
        offset=offset,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    archive_id: str,
    *,
    client: AuthenticatedClient | Client,
    offset: int,
) -> Response[File | Problem]:
    """Read the next piece of a directory

     The bytes from `offset` on, at most `limits.archive_piece` of them; `Archive-Complete: ?1` (RFC
    9651) says that
    they are the last, and then `Repr-Digest` (RFC 9530) is the digest of all. Whoever asks from an
    offset has all
    that is before it: what is before the last piece is gone, and is `416 range_not_satisfiable`, as is
    what is after it.

    Args:
        sandbox_id (str):
        archive_id (str):
        offset (int):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[File | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        archive_id=archive_id,
        offset=offset,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    archive_id: str,
    *,
    client: AuthenticatedClient | Client,
    offset: int,
) -> File | Problem | None:
    """Read the next piece of a directory

     The bytes from `offset` on, at most `limits.archive_piece` of them; `Archive-Complete: ?1` (RFC
    9651) says that
    they are the last, and then `Repr-Digest` (RFC 9530) is the digest of all. Whoever asks from an
    offset has all
    that is before it: what is before the last piece is gone, and is `416 range_not_satisfiable`, as is
    what is after it.

    Args:
        sandbox_id (str):
        archive_id (str):
        offset (int):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        File | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            archive_id=archive_id,
            client=client,
            offset=offset,
        )
    ).parsed
