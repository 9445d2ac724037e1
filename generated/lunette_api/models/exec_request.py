from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.exec_request_input_encoding import ExecRequestInputEncoding
from ..types import UNSET, Unset
from typing import cast

if TYPE_CHECKING:
    from ..models.exec_request_env import ExecRequestEnv


T = TypeVar("T", bound="ExecRequest")


@_attrs_define
class ExecRequest:
    """
    Attributes:
        command (list[str] | str): A string for `/bin/sh -c`, or a program and its arguments.
        cwd (str | Unset): Where the command starts. Default and start of a relative path is `working_dir`.
        env (ExecRequestEnv | Unset): Variables on top of the service's `environment`.
        user (str | Unset): `user[:group]`, each a name of the sandbox's own `/etc/passwd` and `/etc/group` or a number.
            Default is the user of
            the sandbox; another one only where the sandbox's is root and ids are to be had (`422 not_supported`).
        timeout (float | Unset): Seconds until the command and all that it started is killed. Default is no limit.
        input_ (str | Unset): What the command reads on its standard input. Without it, standard input is empty.
        input_encoding (ExecRequestInputEncoding | Unset):  Default: ExecRequestInputEncoding.UTF_8.
        output_limit (int | Unset): The bytes that are kept of standard output, and as many of standard error: half from
            the beginning, half
            from the end.
             Default: 10485760.
    """

    command: list[str] | str
    cwd: str | Unset = UNSET
    env: ExecRequestEnv | Unset = UNSET
    user: str | Unset = UNSET
    timeout: float | Unset = UNSET
    input_: str | Unset = UNSET
    input_encoding: ExecRequestInputEncoding | Unset = ExecRequestInputEncoding.UTF_8
    output_limit: int | Unset = 10485760

    def to_dict(self) -> dict[str, Any]:
        from ..models.exec_request_env import ExecRequestEnv  # noqa: PLC0415

        command: list[str] | str
        if isinstance(self.command, list):
            command = self.command

        else:
            command = self.command

        cwd = self.cwd

        env: dict[str, Any] | Unset = UNSET
        if not isinstance(self.env, Unset):
            env = self.env.to_dict()

        user = self.user

        timeout = self.timeout

        input_ = self.input_

        input_encoding: str | Unset = UNSET
        if not isinstance(self.input_encoding, Unset):
            input_encoding = self.input_encoding.value

        output_limit = self.output_limit

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "command": command,
            }
        )
        if cwd is not UNSET:
            field_dict["cwd"] = cwd
        if env is not UNSET:
            field_dict["env"] = env
        if user is not UNSET:
            field_dict["user"] = user
        if timeout is not UNSET:
            field_dict["timeout"] = timeout
        if input_ is not UNSET:
            field_dict["input"] = input_
        if input_encoding is not UNSET:
            field_dict["input_encoding"] = input_encoding
        if output_limit is not UNSET:
            field_dict["output_limit"] = output_limit

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.exec_request_env import ExecRequestEnv  # noqa: PLC0415

        d = dict(src_dict)

        def _parse_command(data: object) -> list[str] | str:
            try:
                if not isinstance(data, list):
                    raise TypeError()
                command_type_1 = cast(list[str], data)

                return command_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | str, data)

        command = _parse_command(d.pop("command"))

        cwd = d.pop("cwd", UNSET)

        _env = d.pop("env", UNSET)
        env: ExecRequestEnv | Unset
        if isinstance(_env, Unset):
            env = UNSET
        else:
            env = ExecRequestEnv.from_dict(_env)

        user = d.pop("user", UNSET)

        timeout = d.pop("timeout", UNSET)

        input_ = d.pop("input", UNSET)

        _input_encoding = d.pop("input_encoding", UNSET)
        input_encoding: ExecRequestInputEncoding | Unset
        if isinstance(_input_encoding, Unset):
            input_encoding = UNSET
        else:
            input_encoding = ExecRequestInputEncoding(_input_encoding)

        output_limit = d.pop("output_limit", UNSET)

        exec_request = cls(
            command=command,
            cwd=cwd,
            env=env,
            user=user,
            timeout=timeout,
            input_=input_,
            input_encoding=input_encoding,
            output_limit=output_limit,
        )

        return exec_request
