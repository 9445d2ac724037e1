from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.file_list import FileList
from ...models.problem import Problem
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    *,
    depth: int | Unset = 1,
    path: str,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    params["depth"] = depth

    params["path"] = path

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/sandboxes/{sandbox_id}/files/list".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
        ),
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> FileList | Problem:
    if response.status_code == 200:
        response_200 = FileList.from_dict(response.json())

        return response_200

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[FileList | Problem]:
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
    depth: int | Unset = 1,
    path: str,
) -> Response[FileList | Problem]:
    """List a directory

     What is in it, and in the directories in it down to `depth`, a directory before what is in it, else
    by name. The
    directory itself is not among it; links in it are not followed. A listing has at most
    `limits.listing` entries,
    and the answer at most 64 MiB (`413 listing_too_large`). What vanishes or cannot be read meanwhile
    is left out.

    Args:
        sandbox_id (str):
        depth (int | Unset):  Default: 1.
        path (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[FileList | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        depth=depth,
        path=path,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    depth: int | Unset = 1,
    path: str,
) -> FileList | Problem | None:
    """List a directory

     What is in it, and in the directories in it down to `depth`, a directory before what is in it, else
    by name. The
    directory itself is not among it; links in it are not followed. A listing has at most
    `limits.listing` entries,
    and the answer at most 64 MiB (`413 listing_too_large`). What vanishes or cannot be read meanwhile
    is left out.

    Args:
        sandbox_id (str):
        depth (int | Unset):  Default: 1.
        path (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        FileList | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        client=client,
        depth=depth,
        path=path,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    depth: int | Unset = 1,
    path: str,
) -> Response[FileList | Problem]:
    """List a directory

     What is in it, and in the directories in it down to `depth`, a directory before what is in it, else
    by name. The
    directory itself is not among it; links in it are not followed. A listing has at most
    `limits.listing` entries,
    and the answer at most 64 MiB (`413 listing_too_large`). What vanishes or cannot be read meanwhile
    is left out.

    Args:
        sandbox_id (str):
        depth (int | Unset):  Default: 1.
        path (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[FileList | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        depth=depth,
        path=path,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    depth: int | Unset = 1,
    path: str,
) -> FileList | Problem | None:
    """List a directory

     What is in it, and in the directories in it down to `depth`, a directory before what is in it, else
    by name. The
    directory itself is not among it; links in it are not followed. A listing has at most
    `limits.listing` entries,
    and the answer at most 64 MiB (`413 listing_too_large`). What vanishes or cannot be read meanwhile
    is left out.

    Args:
        sandbox_id (str):
        depth (int | Unset):  Default: 1.
        path (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        FileList | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            client=client,
            depth=depth,
            path=path,
        )
    ).parsed
