from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.archive_request import ArchiveRequest
from ...models.problem import Problem
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    archive_id: str,
    *,
    body: ArchiveRequest,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/sandboxes/{sandbox_id}/archives/{archive_id}".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
            archive_id=quote(str(archive_id), safe=""),
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
    archive_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: ArchiveRequest,
) -> Response[Any | Problem]:
    """Begin to read a directory

     The id is the client's to make. A repeat is the same; with another body it is `422 key_reused`. The
    archive has
    what is in the directory, by paths relative to it: directories, regular files and symbolic links,
    with their
    permissions and times of change; of other kinds nothing. A sandbox has at most `limits.archives` of
    them and of
    uploads of directories open at a time (`429 too_many_requests`).

    Args:
        sandbox_id (str):
        archive_id (str):
        body (ArchiveRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        archive_id=archive_id,
        body=body,
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
    body: ArchiveRequest,
) -> Any | Problem | None:
    """Begin to read a directory

     The id is the client's to make. A repeat is the same; with another body it is `422 key_reused`. The
    archive has
    what is in the directory, by paths relative to it: directories, regular files and symbolic links,
    with their
    permissions and times of change; of other kinds nothing. A sandbox has at most `limits.archives` of
    them and of
    uploads of directories open at a time (`429 too_many_requests`).

    Args:
        sandbox_id (str):
        archive_id (str):
        body (ArchiveRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        archive_id=archive_id,
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    archive_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: ArchiveRequest,
) -> Response[Any | Problem]:
    """Begin to read a directory

     The id is the client's to make. A repeat is the same; with another body it is `422 key_reused`. The
    archive has
    what is in the directory, by paths relative to it: directories, regular files and symbolic links,
    with their
    permissions and times of change; of other kinds nothing. A sandbox has at most `limits.archives` of
    them and of
    uploads of directories open at a time (`429 too_many_requests`).

    Args:
        sandbox_id (str):
        archive_id (str):
        body (ArchiveRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        archive_id=archive_id,
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    archive_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: ArchiveRequest,
) -> Any | Problem | None:
    """Begin to read a directory

     The id is the client's to make. A repeat is the same; with another body it is `422 key_reused`. The
    archive has
    what is in the directory, by paths relative to it: directories, regular files and symbolic links,
    with their
    permissions and times of change; of other kinds nothing. A sandbox has at most `limits.archives` of
    them and of
    uploads of directories open at a time (`429 too_many_requests`).

    Args:
        sandbox_id (str):
        archive_id (str):
        body (ArchiveRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            archive_id=archive_id,
            client=client,
            body=body,
        )
    ).parsed
