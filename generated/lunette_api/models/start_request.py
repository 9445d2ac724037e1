from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.start_request_input_encoding import StartRequestInputEncoding
from ..types import UNSET, Unset
from typing import cast

if TYPE_CHECKING:
    from ..models.start_request_env import StartRequestEnv
    from ..models.terminal_size import TerminalSize


T = TypeVar("T", bound="StartRequest")


@_attrs_define
class StartRequest:
    """
    Attributes:
        command (list[str] | str): A string for `/bin/sh -c`, or a program and its arguments.
        cwd (str | Unset): Where the command starts. Default and start of a relative path is `working_dir`.
        env (StartRequestEnv | Unset): Variables on top of the service's `environment`.
        user (str | Unset): `user[:group]`, each a name of the sandbox's own `/etc/passwd` and `/etc/group` or a number.
            Default is the user of
            the sandbox; another one only where the sandbox's is root and ids are to be had (`422 not_supported`).
        timeout (float | Unset): Seconds until the process and all that it started is killed. Default is no limit.
        input_ (str | Unset): What the process reads first on its standard input.
        input_encoding (StartRequestInputEncoding | Unset):  Default: StartRequestInputEncoding.UTF_8.
        interactive (bool | Unset): Standard input stays open after `input` for `PUT .../input`. With `tty` it always
            does.
             Default: False.
        tty (TerminalSize | Unset): A terminal of the sandbox's own is the standard input, output and error of the
            process, which writes one stream,
            `stdout`. `TERM` is `xterm-256color` unless `env` or the service says otherwise.
        name (str | Unset): A name for people, shown in the list of processes. It need not be unique.
        output_limit (int | Unset): The bytes that `result` has of standard output, and as many of standard error: half
            from the beginning, half
            from the end. What is followed is not limited by it.
             Default: 10485760.
    """

    command: list[str] | str
    cwd: str | Unset = UNSET
    env: StartRequestEnv | Unset = UNSET
    user: str | Unset = UNSET
    timeout: float | Unset = UNSET
    input_: str | Unset = UNSET
    input_encoding: StartRequestInputEncoding | Unset = StartRequestInputEncoding.UTF_8
    interactive: bool | Unset = False
    tty: TerminalSize | Unset = UNSET
    name: str | Unset = UNSET
    output_limit: int | Unset = 10485760

    def to_dict(self) -> dict[str, Any]:
        from ..models.start_request_env import StartRequestEnv  # noqa: PLC0415
        from ..models.terminal_size import TerminalSize  # noqa: PLC0415

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

        interactive = self.interactive

        tty: dict[str, Any] | Unset = UNSET
        if not isinstance(self.tty, Unset):
            tty = self.tty.to_dict()

        name = self.name

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
        if interactive is not UNSET:
            field_dict["interactive"] = interactive
        if tty is not UNSET:
            field_dict["tty"] = tty
        if name is not UNSET:
            field_dict["name"] = name
        if output_limit is not UNSET:
            field_dict["output_limit"] = output_limit

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.start_request_env import StartRequestEnv  # noqa: PLC0415
        from ..models.terminal_size import TerminalSize  # noqa: PLC0415

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
        env: StartRequestEnv | Unset
        if isinstance(_env, Unset):
            env = UNSET
        else:
            env = StartRequestEnv.from_dict(_env)

        user = d.pop("user", UNSET)

        timeout = d.pop("timeout", UNSET)

        input_ = d.pop("input", UNSET)

        _input_encoding = d.pop("input_encoding", UNSET)
        input_encoding: StartRequestInputEncoding | Unset
        if isinstance(_input_encoding, Unset):
            input_encoding = UNSET
        else:
            input_encoding = StartRequestInputEncoding(_input_encoding)

        interactive = d.pop("interactive", UNSET)

        _tty = d.pop("tty", UNSET)
        tty: TerminalSize | Unset
        if isinstance(_tty, Unset):
            tty = UNSET
        else:
            tty = TerminalSize.from_dict(_tty)

        name = d.pop("name", UNSET)

        output_limit = d.pop("output_limit", UNSET)

        start_request = cls(
            command=command,
            cwd=cwd,
            env=env,
            user=user,
            timeout=timeout,
            input_=input_,
            input_encoding=input_encoding,
            interactive=interactive,
            tty=tty,
            name=name,
            output_limit=output_limit,
        )

        return start_request
