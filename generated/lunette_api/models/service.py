from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset
from typing import cast

if TYPE_CHECKING:
    from ..models.service_deploy import ServiceDeploy
    from ..models.service_environment_type_0 import ServiceEnvironmentType0
    from ..models.service_extra_hosts_type_1 import ServiceExtraHostsType1
    from ..models.service_labels_type_0 import ServiceLabelsType0
    from ..models.service_storage_opt import ServiceStorageOpt
    from ..models.service_ulimits import ServiceUlimits


T = TypeVar("T", bound="Service")


@_attrs_define
class Service:
    """A Compose service (https://github.com/compose-spec/compose-spec/blob/main/05-services.md). `service_keys` of
    `GET /capabilities` names the keys that this server's engine supports. Any other key that Compose knows is
    `422 not_supported`, and so is a value that the engine cannot keep (a limit is never ignored); a key that
    Compose does not know is `422 invalid_service`. Keys that begin with `x-` are ignored, except `x-lunette`, which
    is reserved. `env_file`, `build` and what else names a file of the client's is the client's to read.

    Sizes are bytes, or a string with one of Docker's units, all powers of 1,024: `b`, `k`, `m`, `g`, `t`, each
    also with a `b` or `ib` after it.

        Attributes:
            image (str): `host` is the server's own `/usr`, read-only, with its Python. Anything else is a reference to an
                OCI or
                Docker image, as Docker spells it. Of an image its environment, working directory and user are honoured,
                its entrypoint and command are not: without a command of the service, a sandbox idles.
            command (list[str] | None | str | Unset): Runs when the sandbox starts; when it ends, the sandbox is `stopped`.
                A string is split as a shell would
                split it, without a shell. Without a command the sandbox idles.
            entrypoint (list[str] | None | str | Unset): Goes before `command`.
            working_dir (str | Unset): The absolute path at which commands start; it is made if missing. Default is that of
                the image, else
                `/workspace`.
            environment (list[str] | ServiceEnvironmentType0 | Unset): Variables of every command. Values are never shown
                again.
            hostname (str | Unset): A host name after RFC 1123. Default `sandbox`.
            labels (list[str] | ServiceLabelsType0 | Unset): Yours to find sandboxes by.
            network_mode (str | Unset): `none`, which is also the default: no network at all.
            user (int | str | Unset): `user[:group]`, each a name of the image's /etc/passwd and /etc/group or a number
                below 65,536. Everything
                is done as this user: commands and files. Default is that of the image, else root.
            pull_policy (str | Unset): `missing` (the default, also `if_not_present`) pulls an image that is not there,
                `always` asks the registry
                each time, `never` takes what is there.
            platform (str | Unset): `os[/arch[/variant]]`; only that of the machine is supported.
            mem_limit (int | str | Unset): Bytes, or a string with a unit of Docker's.
            cpus (float | str | Unset): Processors, such as 0.5. Where the engine cannot enforce it (`enforces` of `GET
                /capabilities`) it is `422
                not_supported`.
            pids_limit (int | str | Unset): Processes and threads, 5 to 4,096, the four of the sandbox itself included.
                Default `limits.processes`.
            deploy (ServiceDeploy | Unset): `resources.limits` with `memory`, `cpus` and `pids`, as the keys of their own.
            shm_size (int | str | Unset): Bytes, or a string with a unit of Docker's.
            tmpfs (list[str] | str | Unset): Directories in memory, each a path, or `path:options` with Docker's `size`
                (default 1 GiB), `mode`, `uid`,
                `gid`, `ro`, `rw`, `exec`, `noexec` (the default), `nosuid` and `nodev`.
            read_only (bool | Unset): Nothing can be written but `/workspace`, `/tmp`, `/dev/shm` and what `tmpfs` names.
            init (bool | Unset): Every sandbox has a first process that reaps; either value is so.
            extra_hosts (list[str] | ServiceExtraHostsType1 | Unset): Lines for `/etc/hosts`, as `name=address`,
                `name:address` or a mapping. No `host-gateway`.
            stop_signal (int | str | Unset): What the service's command gets when the sandbox is destroyed, by name or
                number; after
                `stop_grace_period` it is killed. Without it everything is killed at once.
            stop_grace_period (str | Unset): How long a destroy waits after `stop_signal`, as `1m30s`; at most 60 s. Default
                10 s.
            ulimits (ServiceUlimits | Unset): By name without `RLIMIT_`, one number for both or `soft` and `hard`; -1 is no
                limit. Commands have them. A
                hard limit over the server's own is `not_supported`; `nproc` and `fsize` never go beyond what `pids_limit`
                and `storage_opt` leave.
            storage_opt (ServiceStorageOpt | Unset): `size`: the disk that the sandbox may use; at most `limits.disk`, which
                is the default.
    """

    image: str
    command: list[str] | None | str | Unset = UNSET
    entrypoint: list[str] | None | str | Unset = UNSET
    working_dir: str | Unset = UNSET
    environment: list[str] | ServiceEnvironmentType0 | Unset = UNSET
    hostname: str | Unset = UNSET
    labels: list[str] | ServiceLabelsType0 | Unset = UNSET
    network_mode: str | Unset = UNSET
    user: int | str | Unset = UNSET
    pull_policy: str | Unset = UNSET
    platform: str | Unset = UNSET
    mem_limit: int | str | Unset = UNSET
    cpus: float | str | Unset = UNSET
    pids_limit: int | str | Unset = UNSET
    deploy: ServiceDeploy | Unset = UNSET
    shm_size: int | str | Unset = UNSET
    tmpfs: list[str] | str | Unset = UNSET
    read_only: bool | Unset = UNSET
    init: bool | Unset = UNSET
    extra_hosts: list[str] | ServiceExtraHostsType1 | Unset = UNSET
    stop_signal: int | str | Unset = UNSET
    stop_grace_period: str | Unset = UNSET
    ulimits: ServiceUlimits | Unset = UNSET
    storage_opt: ServiceStorageOpt | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.service_deploy import ServiceDeploy  # noqa: PLC0415
        from ..models.service_environment_type_0 import ServiceEnvironmentType0  # noqa: PLC0415
        from ..models.service_extra_hosts_type_1 import ServiceExtraHostsType1  # noqa: PLC0415
        from ..models.service_labels_type_0 import ServiceLabelsType0  # noqa: PLC0415
        from ..models.service_storage_opt import ServiceStorageOpt  # noqa: PLC0415
        from ..models.service_ulimits import ServiceUlimits  # noqa: PLC0415

        image = self.image

        command: list[str] | None | str | Unset
        if isinstance(self.command, Unset):
            command = UNSET
        elif isinstance(self.command, list):
            command = self.command

        else:
            command = self.command

        entrypoint: list[str] | None | str | Unset
        if isinstance(self.entrypoint, Unset):
            entrypoint = UNSET
        elif isinstance(self.entrypoint, list):
            entrypoint = self.entrypoint

        else:
            entrypoint = self.entrypoint

        working_dir = self.working_dir

        environment: dict[str, Any] | list[str] | Unset
        if isinstance(self.environment, Unset):
            environment = UNSET
        elif isinstance(self.environment, ServiceEnvironmentType0):
            environment = self.environment.to_dict()
        else:
            environment = self.environment

        hostname = self.hostname

        labels: dict[str, Any] | list[str] | Unset
        if isinstance(self.labels, Unset):
            labels = UNSET
        elif isinstance(self.labels, ServiceLabelsType0):
            labels = self.labels.to_dict()
        else:
            labels = self.labels

        network_mode = self.network_mode

        user: int | str | Unset
        if isinstance(self.user, Unset):
            user = UNSET
        else:
            user = self.user

        pull_policy = self.pull_policy

        platform = self.platform

        mem_limit: int | str | Unset
        if isinstance(self.mem_limit, Unset):
            mem_limit = UNSET
        else:
            mem_limit = self.mem_limit

        cpus: float | str | Unset
        if isinstance(self.cpus, Unset):
            cpus = UNSET
        else:
            cpus = self.cpus

        pids_limit: int | str | Unset
        if isinstance(self.pids_limit, Unset):
            pids_limit = UNSET
        else:
            pids_limit = self.pids_limit

        deploy: dict[str, Any] | Unset = UNSET
        if not isinstance(self.deploy, Unset):
            deploy = self.deploy.to_dict()

        shm_size: int | str | Unset
        if isinstance(self.shm_size, Unset):
            shm_size = UNSET
        else:
            shm_size = self.shm_size

        tmpfs: list[str] | str | Unset
        if isinstance(self.tmpfs, Unset):
            tmpfs = UNSET
        elif isinstance(self.tmpfs, list):
            tmpfs = self.tmpfs

        else:
            tmpfs = self.tmpfs

        read_only = self.read_only

        init = self.init

        extra_hosts: dict[str, Any] | list[str] | Unset
        if isinstance(self.extra_hosts, Unset):
            extra_hosts = UNSET
        elif isinstance(self.extra_hosts, list):
            extra_hosts = self.extra_hosts

        else:
            extra_hosts = self.extra_hosts.to_dict()

        stop_signal: int | str | Unset
        if isinstance(self.stop_signal, Unset):
            stop_signal = UNSET
        else:
            stop_signal = self.stop_signal

        stop_grace_period = self.stop_grace_period

        ulimits: dict[str, Any] | Unset = UNSET
        if not isinstance(self.ulimits, Unset):
            ulimits = self.ulimits.to_dict()

        storage_opt: dict[str, Any] | Unset = UNSET
        if not isinstance(self.storage_opt, Unset):
            storage_opt = self.storage_opt.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "image": image,
            }
        )
        if command is not UNSET:
            field_dict["command"] = command
        if entrypoint is not UNSET:
            field_dict["entrypoint"] = entrypoint
        if working_dir is not UNSET:
            field_dict["working_dir"] = working_dir
        if environment is not UNSET:
            field_dict["environment"] = environment
        if hostname is not UNSET:
            field_dict["hostname"] = hostname
        if labels is not UNSET:
            field_dict["labels"] = labels
        if network_mode is not UNSET:
            field_dict["network_mode"] = network_mode
        if user is not UNSET:
            field_dict["user"] = user
        if pull_policy is not UNSET:
            field_dict["pull_policy"] = pull_policy
        if platform is not UNSET:
            field_dict["platform"] = platform
        if mem_limit is not UNSET:
            field_dict["mem_limit"] = mem_limit
        if cpus is not UNSET:
            field_dict["cpus"] = cpus
        if pids_limit is not UNSET:
            field_dict["pids_limit"] = pids_limit
        if deploy is not UNSET:
            field_dict["deploy"] = deploy
        if shm_size is not UNSET:
            field_dict["shm_size"] = shm_size
        if tmpfs is not UNSET:
            field_dict["tmpfs"] = tmpfs
        if read_only is not UNSET:
            field_dict["read_only"] = read_only
        if init is not UNSET:
            field_dict["init"] = init
        if extra_hosts is not UNSET:
            field_dict["extra_hosts"] = extra_hosts
        if stop_signal is not UNSET:
            field_dict["stop_signal"] = stop_signal
        if stop_grace_period is not UNSET:
            field_dict["stop_grace_period"] = stop_grace_period
        if ulimits is not UNSET:
            field_dict["ulimits"] = ulimits
        if storage_opt is not UNSET:
            field_dict["storage_opt"] = storage_opt

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.service_deploy import ServiceDeploy  # noqa: PLC0415
        from ..models.service_environment_type_0 import ServiceEnvironmentType0  # noqa: PLC0415
        from ..models.service_extra_hosts_type_1 import ServiceExtraHostsType1  # noqa: PLC0415
        from ..models.service_labels_type_0 import ServiceLabelsType0  # noqa: PLC0415
        from ..models.service_storage_opt import ServiceStorageOpt  # noqa: PLC0415
        from ..models.service_ulimits import ServiceUlimits  # noqa: PLC0415

        d = dict(src_dict)
        image = d.pop("image")

        def _parse_command(data: object) -> list[str] | None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                command_type_1 = cast(list[str], data)

                return command_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None | str | Unset, data)

        command = _parse_command(d.pop("command", UNSET))

        def _parse_entrypoint(data: object) -> list[str] | None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                entrypoint_type_1 = cast(list[str], data)

                return entrypoint_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None | str | Unset, data)

        entrypoint = _parse_entrypoint(d.pop("entrypoint", UNSET))

        working_dir = d.pop("working_dir", UNSET)

        def _parse_environment(
            data: object,
        ) -> list[str] | ServiceEnvironmentType0 | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                environment_type_0 = ServiceEnvironmentType0.from_dict(data)

                return environment_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, list):
                raise TypeError()
            environment_type_1 = cast(list[str], data)

            return environment_type_1

        environment = _parse_environment(d.pop("environment", UNSET))

        hostname = d.pop("hostname", UNSET)

        def _parse_labels(data: object) -> list[str] | ServiceLabelsType0 | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                labels_type_0 = ServiceLabelsType0.from_dict(data)

                return labels_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, list):
                raise TypeError()
            labels_type_1 = cast(list[str], data)

            return labels_type_1

        labels = _parse_labels(d.pop("labels", UNSET))

        network_mode = d.pop("network_mode", UNSET)

        def _parse_user(data: object) -> int | str | Unset:
            if isinstance(data, Unset):
                return data
            return cast(int | str | Unset, data)

        user = _parse_user(d.pop("user", UNSET))

        pull_policy = d.pop("pull_policy", UNSET)

        platform = d.pop("platform", UNSET)

        def _parse_mem_limit(data: object) -> int | str | Unset:
            if isinstance(data, Unset):
                return data
            return cast(int | str | Unset, data)

        mem_limit = _parse_mem_limit(d.pop("mem_limit", UNSET))

        def _parse_cpus(data: object) -> float | str | Unset:
            if isinstance(data, Unset):
                return data
            return cast(float | str | Unset, data)

        cpus = _parse_cpus(d.pop("cpus", UNSET))

        def _parse_pids_limit(data: object) -> int | str | Unset:
            if isinstance(data, Unset):
                return data
            return cast(int | str | Unset, data)

        pids_limit = _parse_pids_limit(d.pop("pids_limit", UNSET))

        _deploy = d.pop("deploy", UNSET)
        deploy: ServiceDeploy | Unset
        if isinstance(_deploy, Unset):
            deploy = UNSET
        else:
            deploy = ServiceDeploy.from_dict(_deploy)

        def _parse_shm_size(data: object) -> int | str | Unset:
            if isinstance(data, Unset):
                return data
            return cast(int | str | Unset, data)

        shm_size = _parse_shm_size(d.pop("shm_size", UNSET))

        def _parse_tmpfs(data: object) -> list[str] | str | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                tmpfs_type_1 = cast(list[str], data)

                return tmpfs_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | str | Unset, data)

        tmpfs = _parse_tmpfs(d.pop("tmpfs", UNSET))

        read_only = d.pop("read_only", UNSET)

        init = d.pop("init", UNSET)

        def _parse_extra_hosts(
            data: object,
        ) -> list[str] | ServiceExtraHostsType1 | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                extra_hosts_type_0 = cast(list[str], data)

                return extra_hosts_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            extra_hosts_type_1 = ServiceExtraHostsType1.from_dict(data)

            return extra_hosts_type_1

        extra_hosts = _parse_extra_hosts(d.pop("extra_hosts", UNSET))

        def _parse_stop_signal(data: object) -> int | str | Unset:
            if isinstance(data, Unset):
                return data
            return cast(int | str | Unset, data)

        stop_signal = _parse_stop_signal(d.pop("stop_signal", UNSET))

        stop_grace_period = d.pop("stop_grace_period", UNSET)

        _ulimits = d.pop("ulimits", UNSET)
        ulimits: ServiceUlimits | Unset
        if isinstance(_ulimits, Unset):
            ulimits = UNSET
        else:
            ulimits = ServiceUlimits.from_dict(_ulimits)

        _storage_opt = d.pop("storage_opt", UNSET)
        storage_opt: ServiceStorageOpt | Unset
        if isinstance(_storage_opt, Unset):
            storage_opt = UNSET
        else:
            storage_opt = ServiceStorageOpt.from_dict(_storage_opt)

        service = cls(
            image=image,
            command=command,
            entrypoint=entrypoint,
            working_dir=working_dir,
            environment=environment,
            hostname=hostname,
            labels=labels,
            network_mode=network_mode,
            user=user,
            pull_policy=pull_policy,
            platform=platform,
            mem_limit=mem_limit,
            cpus=cpus,
            pids_limit=pids_limit,
            deploy=deploy,
            shm_size=shm_size,
            tmpfs=tmpfs,
            read_only=read_only,
            init=init,
            extra_hosts=extra_hosts,
            stop_signal=stop_signal,
            stop_grace_period=stop_grace_period,
            ulimits=ulimits,
            storage_opt=storage_opt,
        )

        service.additional_properties = d
        return service

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
