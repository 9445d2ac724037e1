from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.digest_algorithm import DigestAlgorithm
from ...models.file_info import FileInfo
from ...models.problem import Problem
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    *,
    follow_symlinks: bool | Unset = True,
    digest: DigestAlgorithm | Unset = UNSET,
    path: str,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    params["follow_symlinks"] = follow_symlinks

    json_digest: str | Unset = UNSET
    if not isinstance(digest, Unset):
        json_digest = digest.value

    params["digest"] = json_digest

    params["path"] = path

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/sandboxes/{sandbox_id}/files/stat".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
        ),
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> FileInfo | Problem:
    if response.status_code == 200:
        response_200 = FileInfo.from_dict(response.json())

        return response_200

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[FileInfo | Problem]:
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
    follow_symlinks: bool | Unset = True,
    digest: DigestAlgorithm | Unset = UNSET,
    path: str,
) -> Response[FileInfo | Problem]:
    """Look at a file or a directory

    Args:
        sandbox_id (str):
        follow_symlinks (bool | Unset):  Default: True.
        digest (DigestAlgorithm | Unset): `xxh3-64` is XXH3 of 64 bits without a seed, in its
            canonical form: eight bytes, the highest first. It costs a tenth
            of `sha-256` and finds what goes wrong by accident; who fears that somebody changes what
            is sent needs TLS.
        path (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[FileInfo | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        follow_symlinks=follow_symlinks,
        digest=digest,
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
    follow_symlinks: bool | Unset = True,
    digest: DigestAlgorithm | Unset = UNSET,
    path: str,
) -> FileInfo | Problem | None:
    """Look at a file or a directory

    Args:
        sandbox_id (str):
        follow_symlinks (bool | Unset):  Default: True.
        digest (DigestAlgorithm | Unset): `xxh3-64` is XXH3 of 64 bits without a seed, in its
            canonical form: eight bytes, the highest first. It costs a tenth
            of `sha-256` and finds what goes wrong by accident; who fears that somebody changes what
            is sent needs TLS.
        path (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        FileInfo | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        client=client,
        follow_symlinks=follow_symlinks,
        digest=digest,
        path=path,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    follow_symlinks: bool | Unset = True,
    digest: DigestAlgorithm | Unset = UNSET,
    path: str,
) -> Response[FileInfo | Problem]:
    """Look at a file or a directory

    Args:
        sandbox_id (str):
        follow_symlinks (bool | Unset):  Default: True.
        digest (DigestAlgorithm | Unset): `xxh3-64` is XXH3 of 64 bits without a seed, in its
            canonical form: eight bytes, the highest first. It costs a tenth
            of `sha-256` and finds what goes wrong by accident; who fears that somebody changes what
            is sent needs TLS.
        path (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[FileInfo | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        follow_symlinks=follow_symlinks,
        digest=digest,
        path=path,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    follow_symlinks: bool | Unset = True,
    digest: DigestAlgorithm | Unset = UNSET,
    path: str,
) -> FileInfo | Problem | None:
    """Look at a file or a directory

    Args:
        sandbox_id (str):
        follow_symlinks (bool | Unset):  Default: True.
        digest (DigestAlgorithm | Unset): `xxh3-64` is XXH3 of 64 bits without a seed, in its
            canonical form: eight bytes, the highest first. It costs a tenth
            of `sha-256` and finds what goes wrong by accident; who fears that somebody changes what
            is sent needs TLS.
        path (str):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        FileInfo | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            client=client,
            follow_symlinks=follow_symlinks,
            digest=digest,
            path=path,
        )
    ).parsed
