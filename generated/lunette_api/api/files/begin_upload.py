from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.problem import Problem
from ...models.upload import Upload
from ...models.upload_request import UploadRequest
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    upload_id: str,
    *,
    body: UploadRequest,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/sandboxes/{sandbox_id}/uploads/{upload_id}".format(
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
) -> Problem | Upload:
    if response.status_code == 200:
        response_200 = Upload.from_dict(response.json())

        return response_200

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | Upload]:
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
    body: UploadRequest,
) -> Response[Problem | Upload]:
    """Begin to send a file or a directory

     The id is the client's to make. A repeat answers how far the upload is; with another body it is
    `422 key_reused`. Nothing can be seen of it under its path before it is committed, except with
    `if_exists: append`. A sandbox has at most `limits.uploads` of them open at a time, of which
    `limits.archives`
    may be directories (`429 too_many_requests`).

    Args:
        sandbox_id (str):
        upload_id (str):
        body (UploadRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Upload]
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
    body: UploadRequest,
) -> Problem | Upload | None:
    """Begin to send a file or a directory

     The id is the client's to make. A repeat answers how far the upload is; with another body it is
    `422 key_reused`. Nothing can be seen of it under its path before it is committed, except with
    `if_exists: append`. A sandbox has at most `limits.uploads` of them open at a time, of which
    `limits.archives`
    may be directories (`429 too_many_requests`).

    Args:
        sandbox_id (str):
        upload_id (str):
        body (UploadRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | Upload
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
    body: UploadRequest,
) -> Response[Problem | Upload]:
    """Begin to send a file or a directory

     The id is the client's to make. A repeat answers how far the upload is; with another body it is
    `422 key_reused`. Nothing can be seen of it under its path before it is committed, except with
    `if_exists: append`. A sandbox has at most `limits.uploads` of them open at a time, of which
    `limits.archives`
    may be directories (`429 too_many_requests`).

    Args:
        sandbox_id (str):
        upload_id (str):
        body (UploadRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Upload]
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
    body: UploadRequest,
) -> Problem | Upload | None:
    """Begin to send a file or a directory

     The id is the client's to make. A repeat answers how far the upload is; with another body it is
    `422 key_reused`. Nothing can be seen of it under its path before it is committed, except with
    `if_exists: append`. A sandbox has at most `limits.uploads` of them open at a time, of which
    `limits.archives`
    may be directories (`429 too_many_requests`).

    Args:
        sandbox_id (str):
        upload_id (str):
        body (UploadRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | Upload
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            upload_id=upload_id,
            client=client,
            body=body,
        )
    ).parsed
