from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.output_event import OutputEvent
from ...models.problem import Problem
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    process_id: str,
    *,
    follow: bool | Unset = True,
    last_event_id: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(last_event_id, Unset):
        headers["Last-Event-ID"] = last_event_id

    params: dict[str, Any] = {}

    params["follow"] = follow

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/sandboxes/{sandbox_id}/processes/{process_id}/output".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
            process_id=quote(str(process_id), safe=""),
        ),
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> OutputEvent | Problem:
    if response.status_code == 200:
        response_200 = OutputEvent.from_dict(response.text)

        return response_200

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[OutputEvent | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    follow: bool | Unset = True,
    last_event_id: str | Unset = UNSET,
) -> Response[OutputEvent | Problem]:
    """Follow what a process writes

     Server-sent events (WHATWG HTML, section 9.2), from the beginning or from after `Last-Event-ID`,
    until the
    process has ended. Each `id` is the offset after the event: how many bytes the process had written
    by then, both
    streams together. An offset that the process has not reached is `422 invalid_request`. The events:

    * `stdout`, `stderr`: `data` are the bytes in base64.
    * `gap`: bytes that were dropped from the log; `data` is `{"bytes": n}`.
    * `exit`: the last one. `data` is `{"exit_code", "signal", "timed_out", "duration"}`, the middle two
    only
      where they say something.
    * `error`: the last one, where there is no end to tell, such as of a sandbox that was lost; `data`
    is a `Problem`.

    Events are small at the beginning of a connection and become larger, at most 256 KiB of output, so
    that
    each connection brings something however short it lives. A comment comes when nothing else did for
    15 seconds. Nothing is compressed, and nothing held back. With
    `follow=false` it ends where the log does now, with no last event if the process still runs. Only of
    what was
    started by `PUT`: a command of `exec` has no log (`422 not_supported`).

    Args:
        sandbox_id (str):
        process_id (str):
        follow (bool | Unset):  Default: True.
        last_event_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[OutputEvent | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        process_id=process_id,
        follow=follow,
        last_event_id=last_event_id,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    follow: bool | Unset = True,
    last_event_id: str | Unset = UNSET,
) -> OutputEvent | Problem | None:
    """Follow what a process writes

     Server-sent events (WHATWG HTML, section 9.2), from the beginning or from after `Last-Event-ID`,
    until the
    process has ended. Each `id` is the offset after the event: how many bytes the process had written
    by then, both
    streams together. An offset that the process has not reached is `422 invalid_request`. The events:

    * `stdout`, `stderr`: `data` are the bytes in base64.
    * `gap`: bytes that were dropped from the log; `data` is `{"bytes": n}`.
    * `exit`: the last one. `data` is `{"exit_code", "signal", "timed_out", "duration"}`, the middle two
    only
      where they say something.
    * `error`: the last one, where there is no end to tell, such as of a sandbox that was lost; `data`
    is a `Problem`.

    Events are small at the beginning of a connection and become larger, at most 256 KiB of output, so
    that
    each connection brings something however short it lives. A comment comes when nothing else did for
    15 seconds. Nothing is compressed, and nothing held back. With
    `follow=false` it ends where the log does now, with no last event if the process still runs. Only of
    what was
    started by `PUT`: a command of `exec` has no log (`422 not_supported`).

    Args:
        sandbox_id (str):
        process_id (str):
        follow (bool | Unset):  Default: True.
        last_event_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        OutputEvent | Problem
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        process_id=process_id,
        client=client,
        follow=follow,
        last_event_id=last_event_id,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    follow: bool | Unset = True,
    last_event_id: str | Unset = UNSET,
) -> Response[OutputEvent | Problem]:
    """Follow what a process writes

     Server-sent events (WHATWG HTML, section 9.2), from the beginning or from after `Last-Event-ID`,
    until the
    process has ended. Each `id` is the offset after the event: how many bytes the process had written
    by then, both
    streams together. An offset that the process has not reached is `422 invalid_request`. The events:

    * `stdout`, `stderr`: `data` are the bytes in base64.
    * `gap`: bytes that were dropped from the log; `data` is `{"bytes": n}`.
    * `exit`: the last one. `data` is `{"exit_code", "signal", "timed_out", "duration"}`, the middle two
    only
      where they say something.
    * `error`: the last one, where there is no end to tell, such as of a sandbox that was lost; `data`
    is a `Problem`.

    Events are small at the beginning of a connection and become larger, at most 256 KiB of output, so
    that
    each connection brings something however short it lives. A comment comes when nothing else did for
    15 seconds. Nothing is compressed, and nothing held back. With
    `follow=false` it ends where the log does now, with no last event if the process still runs. Only of
    what was
    started by `PUT`: a command of `exec` has no log (`422 not_supported`).

    Args:
        sandbox_id (str):
        process_id (str):
        follow (bool | Unset):  Default: True.
        last_event_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[OutputEvent | Problem]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        process_id=process_id,
        follow=follow,
        last_event_id=last_event_id,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    process_id: str,
    *,
    client: AuthenticatedClient | Client,
    follow: bool | Unset = True,
    last_event_id: str | Unset = UNSET,
) -> OutputEvent | Problem | None:
    """Follow what a process writes

     Server-sent events (WHATWG HTML, section 9.2), from the beginning or from after `Last-Event-ID`,
    until the
    process has ended. Each `id` is the offset after the event: how many bytes the process had written
    by then, both
    streams together. An offset that the process has not reached is `422 invalid_request`. The events:

    * `stdout`, `stderr`: `data` are the bytes in base64.
    * `gap`: bytes that were dropped from the log; `data` is `{"bytes": n}`.
    * `exit`: the last one. `data` is `{"exit_code", "signal", "timed_out", "duration"}`, the middle two
    only
      where they say something.
    * `error`: the last one, where there is no end to tell, such as of a sandbox that was lost; `data`
    is a `Problem`.

    Events are small at the beginning of a connection and become larger, at most 256 KiB of output, so
    that
    each connection brings something however short it lives. A comment comes when nothing else did for
    15 seconds. Nothing is compressed, and nothing held back. With
    `follow=false` it ends where the log does now, with no last event if the process still runs. Only of
    what was
    started by `PUT`: a command of `exec` has no log (`422 not_supported`).

    Args:
        sandbox_id (str):
        process_id (str):
        follow (bool | Unset):  Default: True.
        last_event_id (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        OutputEvent | Problem
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            process_id=process_id,
            client=client,
            follow=follow,
            last_event_id=last_event_id,
        )
    ).parsed
