from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.create_sandbox_form import CreateSandboxForm
from ...models.problem import Problem
from ...models.sandbox_created import SandboxCreated
from ...models.sandbox_info import SandboxInfo
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    *,
    body: CreateSandboxForm,
    idempotency_key: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(idempotency_key, Unset):
        headers["Idempotency-Key"] = idempotency_key

    if not isinstance(prefer, Unset):
        headers["Prefer"] = prefer

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/sandboxes",
    }

    _kwargs["files"] = body.to_multipart()

    headers["Content-Type"] = "multipart/form-data; boundary=+++"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | SandboxCreated | SandboxInfo:
    if response.status_code == 200:
        response_200 = SandboxCreated.from_dict(response.json())

        return response_200

    if response.status_code == 202:
        response_202 = SandboxInfo.from_dict(response.json())

        return response_202

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | SandboxCreated | SandboxInfo]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: CreateSandboxForm,
    idempotency_key: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
) -> Response[Problem | SandboxCreated | SandboxInfo]:
    """Make a sandbox (the published form)

     The published wire's way to make a sandbox; the server chooses the id. `multipart/form-data`, or
    `application/x-www-form-urlencoded` when no file is sent. One of `image` and `service` is needed;
    where both are
    given, `service` wins and `image` fills in a missing `image` key. Answers when the sandbox is ready.

    Args:
        idempotency_key (str | Unset):
        prefer (str | Unset):
        body (CreateSandboxForm):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SandboxCreated | SandboxInfo]
    """

    kwargs = _get_kwargs(
        body=body,
        idempotency_key=idempotency_key,
        prefer=prefer,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    body: CreateSandboxForm,
    idempotency_key: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
) -> Problem | SandboxCreated | SandboxInfo | None:
    """Make a sandbox (the published form)

     The published wire's way to make a sandbox; the server chooses the id. `multipart/form-data`, or
    `application/x-www-form-urlencoded` when no file is sent. One of `image` and `service` is needed;
    where both are
    given, `service` wins and `image` fills in a missing `image` key. Answers when the sandbox is ready.

    Args:
        idempotency_key (str | Unset):
        prefer (str | Unset):
        body (CreateSandboxForm):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SandboxCreated | SandboxInfo
    """

    return sync_detailed(
        client=client,
        body=body,
        idempotency_key=idempotency_key,
        prefer=prefer,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: CreateSandboxForm,
    idempotency_key: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
) -> Response[Problem | SandboxCreated | SandboxInfo]:
    """Make a sandbox (the published form)

     The published wire's way to make a sandbox; the server chooses the id. `multipart/form-data`, or
    `application/x-www-form-urlencoded` when no file is sent. One of `image` and `service` is needed;
    where both are
    given, `service` wins and `image` fills in a missing `image` key. Answers when the sandbox is ready.

    Args:
        idempotency_key (str | Unset):
        prefer (str | Unset):
        body (CreateSandboxForm):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SandboxCreated | SandboxInfo]
    """

    kwargs = _get_kwargs(
        body=body,
        idempotency_key=idempotency_key,
        prefer=prefer,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: CreateSandboxForm,
    idempotency_key: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
) -> Problem | SandboxCreated | SandboxInfo | None:
    """Make a sandbox (the published form)

     The published wire's way to make a sandbox; the server chooses the id. `multipart/form-data`, or
    `application/x-www-form-urlencoded` when no file is sent. One of `image` and `service` is needed;
    where both are
    given, `service` wins and `image` fills in a missing `image` key. Answers when the sandbox is ready.

    Args:
        idempotency_key (str | Unset):
        prefer (str | Unset):
        body (CreateSandboxForm):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SandboxCreated | SandboxInfo
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
            idempotency_key=idempotency_key,
            prefer=prefer,
        )
    ).parsed
