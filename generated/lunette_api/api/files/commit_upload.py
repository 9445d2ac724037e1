from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.commit_request import CommitRequest
from ...models.problem import Problem
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    upload_id: str,
    *,
    body: CommitRequest,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/sandboxes/{sandbox_id}/uploads/{upload_id}/commit".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
            upload_id=quote(str(upload_id), safe=""),
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
    upload_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: CommitRequest,
) -> Response[Any | Problem]:
    """Give what was sent its name

     Where `length` or `digest` is not that of what has come, it is `400 digest_mismatch`, and the upload
    is given up.
    A directory that is there already is merged with: what is of the same name is replaced, each file at
    once, and
    the rest stays. A repeat is 204 too.

    Args:
        sandbox_id (str):
        upload_id (str):
        body (CommitRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        upload_id=upload_id,
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    upload_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: CommitRequest,
) -> Any | Problem | None:
    """Give what was sent its name

     Where `length` or `digest` is not that of what has come, it is `400 digest_mismatch`, and the upload
    is given up.
    A directory that is there already is merged with: what is of the same name is replaced, each file at
    once, and
    the rest stays. A repeat is 204 too.

    Args:
        sandbox_id (str):
        upload_id (str):
        body (CommitRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        upload_id=upload_id,
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    upload_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: CommitRequest,
) -> Response[Any | Problem]:
    """Give what was sent its name

     Where `length` or `digest` is not that of what has come, it is `400 digest_mismatch`, and the upload
    is given up.
    A directory that is there already is merged with: what is of the same name is replaced, each file at
    once, and
    the rest stays. A repeat is 204 too.

    Args:
        sandbox_id (str):
        upload_id (str):
        body (CommitRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        upload_id=upload_id,
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    upload_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: CommitRequest,
) -> Any | Problem | None:
    """Give what was sent its name

     Where `length` or `digest` is not that of what has come, it is `400 digest_mismatch`, and the upload
    is given up.
    A directory that is there already is merged with: what is of the same name is replaced, each file at
    once, and
    the rest stays. A repeat is 204 too.

    Args:
        sandbox_id (str):
        upload_id (str):
        body (CommitRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            upload_id=upload_id,
            client=client,
            body=body,
        )
    ).parsed
