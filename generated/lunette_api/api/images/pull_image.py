from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.image import Image
from ...models.problem import Problem
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    reference: str,
    *,
    prefer: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(prefer, Unset):
        headers["Prefer"] = prefer

    _kwargs: dict[str, Any] = {
        "method": "put",
        "url": "/images/{reference}".format(
            reference=quote(str(reference), safe=""),
        ),
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Image | Problem:
    if response.status_code == 200:
        response_200 = Image.from_dict(response.json())

        return response_200

    if response.status_code == 202:
        response_202 = Image.from_dict(response.json())

        return response_202

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Image | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    reference: str,
    *,
    client: AuthenticatedClient | Client,
    prefer: str | Unset = UNSET,
) -> Response[Image | Problem]:
    """Pull an image

     Asks the registry what the reference stands for, downloads what is missing of it and unpacks it.
    Idempotent: a
    repeat joins the pull that is under way; after a 202 the client follows it by sending the same
    again. A pull that
    nobody asks for during a minute ends; what has come of it is taken up by the next.

    Args:
        reference (str):
        prefer (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Image | Problem]
    """

    kwargs = _get_kwargs(
        reference=reference,
        prefer=prefer,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    reference: str,
    *,
    client: AuthenticatedClient | Client,
    prefer: str | Unset = UNSET,
) -> Image | Problem | None:
    """Pull an image

     Asks the registry what the reference stands for, downloads what is missing of it and unpacks it.
    Idempotent: a
    repeat joins the pull that is under way; after a 202 the client follows it by sending the same
    again. A pull that
    nobody asks for during a minute ends; what has come of it is taken up by the next.

    Args:
        reference (str):
        prefer (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Image | Problem
    """

    return sync_detailed(
        reference=reference,
        client=client,
        prefer=prefer,
    ).parsed


async def asyncio_detailed(
    reference: str,
    *,
    client: AuthenticatedClient | Client,
    prefer: str | Unset = UNSET,
) -> Response[Image | Problem]:
    """Pull an image

     Asks the registry what the reference stands for, downloads what is missing of it and unpacks it.
    Idempotent: a
    repeat joins the pull that is under way; after a 202 the client follows it by sending the same
    again. A pull that
    nobody asks for during a minute ends; what has come of it is taken up by the next.

    Args:
        reference (str):
        prefer (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Image | Problem]
    """

    kwargs = _get_kwargs(
        reference=reference,
        prefer=prefer,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    reference: str,
    *,
    client: AuthenticatedClient | Client,
    prefer: str | Unset = UNSET,
) -> Image | Problem | None:
    """Pull an image

     Asks the registry what the reference stands for, downloads what is missing of it and unpacks it.
    Idempotent: a
    repeat joins the pull that is under way; after a 202 the client follows it by sending the same
    again. A pull that
    nobody asks for during a minute ends; what has come of it is taken up by the next.

    Args:
        reference (str):
        prefer (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Image | Problem
    """

    return (
        await asyncio_detailed(
            reference=reference,
            client=client,
            prefer=prefer,
        )
    ).parsed
