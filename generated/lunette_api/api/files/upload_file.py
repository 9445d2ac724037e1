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
    body: File,
    mode: str | Unset = UNSET,
    path: str,
    repr_digest: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(repr_digest, Unset):
        headers["Repr-Digest"] = repr_digest

    params: dict[str, Any] = {}

    params["mode"] = mode

    params["path"] = path

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/sandboxes/{sandbox_id}/files".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
        ),
        "params": params,
    }

    _kwargs["content"] = body.payload
    headers["Content-Type"] = "application/octet-stream"

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
    body: File,
    mode: str | Unset = UNSET,
    path: str,
    repr_digest: str | Unset = UNSET,
) -> Response[Any | Problem]:
    """Write a file, whole or not at all

     Streams the body into a temporary file beside the target and renames it when the last byte is there,
    so that a
    request that is cut leaves the old file as it was. Missing parents are made. Without a `mode` a new
    file has
    0644, and an existing one keeps its own; a symbolic link is followed inside the sandbox. The
    `Content-Type` may
    be left out. With a `Repr-Digest` (RFC 9530) of `sha-256` the body is checked first: `400
    digest_mismatch`.

    Args:
        sandbox_id (str):
        mode (str | Unset):
        path (str):
        repr_digest (str | Unset):
        body (File):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        body=body,
        mode=mode,
        path=path,
        repr_digest=repr_digest,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: File,
    mode: str | Unset = UNSET,
    path: str,
    repr_digest: str | Unset = UNSET,
) -> Any | Problem | None:
    """Write a file, whole or not at all

     Streams the body into a temporary file beside the target and renames it when the last byte is there,
    so that a
    request that is cut leaves the old file as it was. Missing parents are made. Without a `mode` a new
    file has
    0644, and an existing one keeps its own; a symbolic link is followed inside the sandbox. The
    `Content-Type` may
    be left out. With a `Repr-Digest` (RFC 9530) of `sha-256` the body is checked first: `400
    digest_mismatch`.

    Args:
        sandbox_id (str):
        mode (str | Unset):
        path (str):
        repr_digest (str | Unset):
        body (File):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        client=client,
        body=body,
        mode=mode,
        path=path,
        repr_digest=repr_digest,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: File,
    mode: str | Unset = UNSET,
    path: str,
    repr_digest: str | Unset = UNSET,
) -> Response[Any | Problem]:
    """Write a file, whole or not at all

     Streams the body into a temporary file beside the target and renames it when the last byte is there,
    so that a
    request that is cut leaves the old file as it was. Missing parents are made. Without a `mode` a new
    file has
    0644, and an existing one keeps its own; a symbolic link is followed inside the sandbox. The
    `Content-Type` may
    be left out. With a `Repr-Digest` (RFC 9530) of `sha-256` the body is checked first: `400
    digest_mismatch`.

    Args:
        sandbox_id (str):
        mode (str | Unset):
        path (str):
        repr_digest (str | Unset):
        body (File):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        body=body,
        mode=mode,
        path=path,
        repr_digest=repr_digest,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: File,
    mode: str | Unset = UNSET,
    path: str,
    repr_digest: str | Unset = UNSET,
) -> Any | Problem | None:
    """Write a file, whole or not at all

     Streams the body into a temporary file beside the target and renames it when the last byte is there,
    so that a
    request that is cut leaves the old file as it was. Missing parents are made. Without a `mode` a new
    file has
    0644, and an existing one keeps its own; a symbolic link is followed inside the sandbox. The
    `Content-Type` may
    be left out. With a `Repr-Digest` (RFC 9530) of `sha-256` the body is checked first: `400
    digest_mismatch`.

    Args:
        sandbox_id (str):
        mode (str | Unset):
        path (str):
        repr_digest (str | Unset):
        body (File):

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
            body=body,
            mode=mode,
            path=path,
            repr_digest=repr_digest,
        )
    ).parsed
