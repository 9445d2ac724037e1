from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.exec_request import ExecRequest
from ...models.exec_response import ExecResponse
from ...models.problem import Problem
from ...models.process import Process
from ...types import UNSET, Unset
from typing import cast


def _get_kwargs(
    sandbox_id: str,
    *,
    body: ExecRequest,
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
        "url": "/sandboxes/{sandbox_id}/exec".format(
            sandbox_id=quote(str(sandbox_id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> ExecResponse | Problem | Process:
    if response.status_code == 200:
        response_200 = ExecResponse.from_dict(response.json())

        return response_200

    if response.status_code == 202:
        response_202 = Process.from_dict(response.json())

        return response_202

    response_default = Problem.from_dict(response.json())

    return response_default


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[ExecResponse | Problem | Process]:
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
    body: ExecRequest,
    idempotency_key: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
) -> Response[ExecResponse | Problem | Process]:
    """Run a command to its end

     A string runs by `/bin/sh -c`, a list of strings without a shell. A failed command is a result, not
    an error:
    the answer is 200 with its `exit_code`. A command that is not found has exit code 127, one that
    cannot be
    executed 126, and `stderr` says why. Death by signal n is exit code 128+n with `signal` n.

    A `cwd` that is not there is `404 file_not_found`, one that is no directory `409 not_a_directory`,
    both with
    its `path`; then nothing was started.

    The answer comes when the command itself ends, even if children that it left in the background still
    hold its
    output open; they live on. (What was started is what descends from the command, is in its session or
    carries
    its marker `LUNETTE_EXEC_ID` in its environment.) When `timeout` runs out, the command and all that
    it started is killed and the
    answer is 200 with `timed_out` and the output so far.

    A client that disconnects does not end the command. It asks again under the same `Idempotency-Key`,
    or sends
    `DELETE .../processes/{key}` with it.

    Args:
        sandbox_id (str):
        idempotency_key (str | Unset):
        prefer (str | Unset):
        body (ExecRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ExecResponse | Problem | Process]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        body=body,
        idempotency_key=idempotency_key,
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
    body: ExecRequest,
    idempotency_key: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
) -> ExecResponse | Problem | Process | None:
    """Run a command to its end

     A string runs by `/bin/sh -c`, a list of strings without a shell. A failed command is a result, not
    an error:
    the answer is 200 with its `exit_code`. A command that is not found has exit code 127, one that
    cannot be
    executed 126, and `stderr` says why. Death by signal n is exit code 128+n with `signal` n.

    A `cwd` that is not there is `404 file_not_found`, one that is no directory `409 not_a_directory`,
    both with
    its `path`; then nothing was started.

    The answer comes when the command itself ends, even if children that it left in the background still
    hold its
    output open; they live on. (What was started is what descends from the command, is in its session or
    carries
    its marker `LUNETTE_EXEC_ID` in its environment.) When `timeout` runs out, the command and all that
    it started is killed and the
    answer is 200 with `timed_out` and the output so far.

    A client that disconnects does not end the command. It asks again under the same `Idempotency-Key`,
    or sends
    `DELETE .../processes/{key}` with it.

    Args:
        sandbox_id (str):
        idempotency_key (str | Unset):
        prefer (str | Unset):
        body (ExecRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ExecResponse | Problem | Process
    """

    return sync_detailed(
        sandbox_id=sandbox_id,
        client=client,
        body=body,
        idempotency_key=idempotency_key,
        prefer=prefer,
    ).parsed


async def asyncio_detailed(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: ExecRequest,
    idempotency_key: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
) -> Response[ExecResponse | Problem | Process]:
    """Run a command to its end

     A string runs by `/bin/sh -c`, a list of strings without a shell. A failed command is a result, not
    an error:
    the answer is 200 with its `exit_code`. A command that is not found has exit code 127, one that
    cannot be
    executed 126, and `stderr` says why. Death by signal n is exit code 128+n with `signal` n.

    A `cwd` that is not there is `404 file_not_found`, one that is no directory `409 not_a_directory`,
    both with
    its `path`; then nothing was started.

    The answer comes when the command itself ends, even if children that it left in the background still
    hold its
    output open; they live on. (What was started is what descends from the command, is in its session or
    carries
    its marker `LUNETTE_EXEC_ID` in its environment.) When `timeout` runs out, the command and all that
    it started is killed and the
    answer is 200 with `timed_out` and the output so far.

    A client that disconnects does not end the command. It asks again under the same `Idempotency-Key`,
    or sends
    `DELETE .../processes/{key}` with it.

    Args:
        sandbox_id (str):
        idempotency_key (str | Unset):
        prefer (str | Unset):
        body (ExecRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ExecResponse | Problem | Process]
    """

    kwargs = _get_kwargs(
        sandbox_id=sandbox_id,
        body=body,
        idempotency_key=idempotency_key,
        prefer=prefer,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    sandbox_id: str,
    *,
    client: AuthenticatedClient | Client,
    body: ExecRequest,
    idempotency_key: str | Unset = UNSET,
    prefer: str | Unset = UNSET,
) -> ExecResponse | Problem | Process | None:
    """Run a command to its end

     A string runs by `/bin/sh -c`, a list of strings without a shell. A failed command is a result, not
    an error:
    the answer is 200 with its `exit_code`. A command that is not found has exit code 127, one that
    cannot be
    executed 126, and `stderr` says why. Death by signal n is exit code 128+n with `signal` n.

    A `cwd` that is not there is `404 file_not_found`, one that is no directory `409 not_a_directory`,
    both with
    its `path`; then nothing was started.

    The answer comes when the command itself ends, even if children that it left in the background still
    hold its
    output open; they live on. (What was started is what descends from the command, is in its session or
    carries
    its marker `LUNETTE_EXEC_ID` in its environment.) When `timeout` runs out, the command and all that
    it started is killed and the
    answer is 200 with `timed_out` and the output so far.

    A client that disconnects does not end the command. It asks again under the same `Idempotency-Key`,
    or sends
    `DELETE .../processes/{key}` with it.

    Args:
        sandbox_id (str):
        idempotency_key (str | Unset):
        prefer (str | Unset):
        body (ExecRequest):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ExecResponse | Problem | Process
    """

    return (
        await asyncio_detailed(
            sandbox_id=sandbox_id,
            client=client,
            body=body,
            idempotency_key=idempotency_key,
            prefer=prefer,
        )
    ).parsed
