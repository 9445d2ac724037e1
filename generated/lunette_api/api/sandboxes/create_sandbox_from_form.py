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
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    *,
    body: CreateSandboxForm,
    idempotency_key: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(idempotency_key, Unset):
        headers["Idempotency-Key"] = idempotency_key

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
) -> Problem | SandboxCreated:
    if response.status_code == 200:
        response_200 = SandboxCreated.from_dict(response.json())

        return response_200

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | SandboxCreated]:
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
) -> Response[Problem | SandboxCreated]:
    """Make a sandbox (the published form)

     The published wire's way to make a sandbox; the server chooses the id. `multipart/form-data`, or
    `application/x-www-form-urlencoded` when no file is sent. One of `image` and `service` is needed;
    where both are
    given, `service` wins and `image` fills in a missing `image` key. Answers when the sandbox is ready.

    Args:
        idempotency_key (str | Unset):
        body (CreateSandboxForm):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SandboxCreated]
    """

    kwargs = _get_kwargs(
        body=body,
        idempotency_key=idempotency_key,
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
) -> Problem | SandboxCreated | None:
    """Make a sandbox (the published form)

     The published wire's way to make a sandbox; the server chooses the id. `multipart/form-data`, or
    `application/x-www-form-urlencoded` when no file is sent. One of `image` and `service` is needed;
    where both are
    given, `service` wins and `image` fills in a missing `image` key. Answers when the sandbox is ready.

    Args:
        idempotency_key (str | Unset):
        body (CreateSandboxForm):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SandboxCreated
    """

    return sync_detailed(
        client=client,
        body=body,
        idempotency_key=idempotency_key,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: CreateSandboxForm,
    idempotency_key: str | Unset = UNSET,
) -> Response[Problem | SandboxCreated]:
    """Make a sandbox (the published form)

     The published wire's way to make a sandbox; the server chooses the id. `multipart/form-data`, or
    `application/x-www-form-urlencoded` when no file is sent. One of `image` and `service` is needed;
    where both are
    given, `service` wins and `image` fills in a missing `image` key. Answers when the sandbox is ready.

    Args:
        idempotency_key (str | Unset):
        body (CreateSandboxForm):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | SandboxCreated]
    """

    kwargs = _get_kwargs(
        body=body,
        idempotency_key=idempotency_key,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: CreateSandboxForm,
    idempotency_key: str | Unset = UNSET,
) -> Problem | SandboxCreated | None:
    """Make a sandbox (the published form)

     The published wire's way to make a sandbox; the server chooses the id. `multipart/form-data`, or
    `application/x-www-form-urlencoded` when no file is sent. One of `image` and `service` is needed;
    where both are
    given, `service` wins and `image` fills in a missing `image` key. Answers when the sandbox is ready.

    Args:
        idempotency_key (str | Unset):
        body (CreateSandboxForm):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | SandboxCreated
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
            idempotency_key=idempotency_key,
        )
    ).parsed
