from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.problem import Problem
from ...models.upload import Upload
from ...types import File, FileTypes
from io import BytesIO
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    upload_id: str,
    *,
    body: File,
    offset: int,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    params: dict[str, Any] = {}

    params["offset"] = offset

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "patch",
        "url": "/sandboxes/{sandbox_id}/uploads/{upload_id}".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
            upload_id=quote(str(upload_id), safe=""),
        ),
        "params": params,
    }

    _kwargs["content"] = body.payload
    headers["Content-Type"] = "application/octet-stream"

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
    body: File,
    offset: int,
) -> Response[Problem | Upload]:
    """Send the bytes of an upload, or some of them

     The body begins at `offset`; what has come before is left out, so that a repeat doubles nothing. An
    `offset`
    after what has come is `409 upload_gap`. All that came of a body counts, also where it was cut. A
    request that
    still sends to the same upload is ended first. An upload that failed, such as for a full disk,
    answers so from
    then on, and is then only to be deleted.

    Args:
        sandbox_id (str):
        upload_id (str):
        offset (int):
        body (File):

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
        offset=offset,
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
    body: File,
    offset: int,
) -> Problem | Upload | None:
    """Send the bytes of an upload, or some of them

     The body begins at `offset`; what has come before is left out, so that a repeat doubles nothing. An
    `offset`
    after what has come is `409 upload_gap`. All that came of a body counts, also where it was cut. A
    request that
    still sends to the same upload is ended first. An upload that failed, such as for a full disk,
    answers so from
    then on, and is then only to be deleted.

    Args:
        sandbox_id (str):
        upload_id (str):
        offset (int):
        body (File):

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
        offset=offset,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    upload_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: File,
    offset: int,
) -> Response[Problem | Upload]:
    """Send the bytes of an upload, or some of them

     The body begins at `offset`; what has come before is left out, so that a repeat doubles nothing. An
    `offset`
    after what has come is `409 upload_gap`. All that came of a body counts, also where it was cut. A
    request that
    still sends to the same upload is ended first. An upload that failed, such as for a full disk,
    answers so from
    then on, and is then only to be deleted.

    Args:
        sandbox_id (str):
        upload_id (str):
        offset (int):
        body (File):

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
        offset=offset,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    upload_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: File,
    offset: int,
) -> Problem | Upload | None:
    """Send the bytes of an upload, or some of them

     The body begins at `offset`; what has come before is left out, so that a repeat doubles nothing. An
    `offset`
    after what has come is `409 upload_gap`. All that came of a body counts, also where it was cut. A
    request that
    still sends to the same upload is ended first. An upload that failed, such as for a full disk,
    answers so from
    then on, and is then only to be deleted.

    Args:
        sandbox_id (str):
        upload_id (str):
        offset (int):
        body (File):

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
            offset=offset,
        )
    ).parsed
