from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.problem import Problem
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    *,
    recursive: bool | Unset = False,
    path: str,
    idempotency_key: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(idempotency_key, Unset):
        headers["Idempotency-Key"] = idempotency_key

    params: dict[str, Any] = {}

    params["recursive"] = recursive

    params["path"] = path

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "delete",
        "url": "/sandboxes/{sandbox_id}/files".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
        ),
        "params": params,
    }

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
    *,
    client: AuthenticatedClient | Client,
    recursive: bool | Unset = False,
    path: str,
    idempotency_key: str | Unset = UNSET,
) -> Response[Any | Problem]:
    """Remove a file, a symbolic link or a directory

     A symbolic link is removed itself. A directory must be empty (`409 directory_not_empty`), or is
    removed with all
    that is in it where the call is `recursive`; links in it are not followed.

    Args:
        sandbox_id (str):
        recursive (bool | Unset):  Default: False.
        path (str):
        idempotency_key (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        recursive=recursive,
        path=path,
        idempotency_key=idempotency_key,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    recursive: bool | Unset = False,
    path: str,
    idempotency_key: str | Unset = UNSET,
) -> Any | Problem | None:
    """Remove a file, a symbolic link or a directory

     A symbolic link is removed itself. A directory must be empty (`409 directory_not_empty`), or is
    removed with all
    that is in it where the call is `recursive`; links in it are not followed.

    Args:
        sandbox_id (str):
        recursive (bool | Unset):  Default: False.
        path (str):
        idempotency_key (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        client=client,
        recursive=recursive,
        path=path,
        idempotency_key=idempotency_key,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    recursive: bool | Unset = False,
    path: str,
    idempotency_key: str | Unset = UNSET,
) -> Response[Any | Problem]:
    """Remove a file, a symbolic link or a directory

     A symbolic link is removed itself. A directory must be empty (`409 directory_not_empty`), or is
    removed with all
    that is in it where the call is `recursive`; links in it are not followed.

    Args:
        sandbox_id (str):
        recursive (bool | Unset):  Default: False.
        path (str):
        idempotency_key (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        recursive=recursive,
        path=path,
        idempotency_key=idempotency_key,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    recursive: bool | Unset = False,
    path: str,
    idempotency_key: str | Unset = UNSET,
) -> Any | Problem | None:
    """Remove a file, a symbolic link or a directory

     A symbolic link is removed itself. A directory must be empty (`409 directory_not_empty`), or is
    removed with all
    that is in it where the call is `recursive`; links in it are not followed.

    Args:
        sandbox_id (str):
        recursive (bool | Unset):  Default: False.
        path (str):
        idempotency_key (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            client=client,
            recursive=recursive,
            path=path,
            idempotency_key=idempotency_key,
        )
    ).parsed
