from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.create_sandbox import CreateSandbox
from ...models.problem import Problem
from ...models.sandbox_info import SandboxInfo
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    *,
    body: CreateSandbox,
    prefer: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(prefer, Unset):
        headers["Prefer"] = prefer

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/sandboxes/{sandbox_id}".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | SandboxInfo:
    if response.status_code == 200:
        response_200 = SandboxInfo.from_dict(response.json())

        return response_200

    if response.status_code == 201:
        response_201 = SandboxInfo.from_dict(response.json())

        return response_201

    if response.status_code == 202:
        response_202 = SandboxInfo.from_dict(response.json())

        return response_202

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | SandboxInfo]:
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
    body: CreateSandbox,
    prefer: str | Unset = UNSET,
) -> Response[Problem | SandboxInfo]:
    """Make a sandbox under an id that the client chose

     Answers when the sandbox is ready. Repeating the request with the same specification joins the first
    one or
    returns its sandbox (200); another specification under the same id is `422 key_reused`; an id whose
    sandbox is
    gone, or that was deleted before this request arrived, is 410. The id must be a UUID in lower case.

    An image that is not there is pulled first, once for all who ask for it at the same time.

    After a 202 the client follows by `GET /sandboxes/{id}?wait=25` until the state is not `pending` any
    more; its
    `progress` says how far the image is. That answers with the problem, if the sandbox could not be
    made.

    Args:
        sandbox_id (str):
        prefer (str | Unset):
        body (CreateSandbox):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SandboxInfo]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        body=body,
        prefer=prefer,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: CreateSandbox,
    prefer: str | Unset = UNSET,
) -> Problem | SandboxInfo | None:
    """Make a sandbox under an id that the client chose

     Answers when the sandbox is ready. Repeating the request with the same specification joins the first
    one or
    returns its sandbox (200); another specification under the same id is `422 key_reused`; an id whose
    sandbox is
    gone, or that was deleted before this request arrived, is 410. The id must be a UUID in lower case.

    An image that is not there is pulled first, once for all who ask for it at the same time.

    After a 202 the client follows by `GET /sandboxes/{id}?wait=25` until the state is not `pending` any
    more; its
    `progress` says how far the image is. That answers with the problem, if the sandbox could not be
    made.

    Args:
        sandbox_id (str):
        prefer (str | Unset):
        body (CreateSandbox):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SandboxInfo
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        client=client,
        body=body,
        prefer=prefer,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: CreateSandbox,
    prefer: str | Unset = UNSET,
) -> Response[Problem | SandboxInfo]:
    """Make a sandbox under an id that the client chose

     Answers when the sandbox is ready. Repeating the request with the same specification joins the first
    one or
    returns its sandbox (200); another specification under the same id is `422 key_reused`; an id whose
    sandbox is
    gone, or that was deleted before this request arrived, is 410. The id must be a UUID in lower case.

    An image that is not there is pulled first, once for all who ask for it at the same time.

    After a 202 the client follows by `GET /sandboxes/{id}?wait=25` until the state is not `pending` any
    more; its
    `progress` says how far the image is. That answers with the problem, if the sandbox could not be
    made.

    Args:
        sandbox_id (str):
        prefer (str | Unset):
        body (CreateSandbox):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SandboxInfo]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        body=body,
        prefer=prefer,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: CreateSandbox,
    prefer: str | Unset = UNSET,
) -> Problem | SandboxInfo | None:
    """Make a sandbox under an id that the client chose

     Answers when the sandbox is ready. Repeating the request with the same specification joins the first
    one or
    returns its sandbox (200); another specification under the same id is `422 key_reused`; an id whose
    sandbox is
    gone, or that was deleted before this request arrived, is 410. The id must be a UUID in lower case.

    An image that is not there is pulled first, once for all who ask for it at the same time.

    After a 202 the client follows by `GET /sandboxes/{id}?wait=25` until the state is not `pending` any
    more; its
    `progress` says how far the image is. That answers with the problem, if the sandbox could not be
    made.

    Args:
        sandbox_id (str):
        prefer (str | Unset):
        body (CreateSandbox):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SandboxInfo
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            client=client,
            body=body,
            prefer=prefer,
        )
    ).parsed
