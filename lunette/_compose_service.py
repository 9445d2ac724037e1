"""The types of a Compose service, each key in both of its forms.

https://github.com/compose-spec/compose-spec/blob/main/05-services.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

__all__ = [
    "ComposeBuild",
    "ComposeDeploy",
    "ComposeEnvFile",
    "ComposeHealthcheck",
    "ComposeLimits",
    "ComposeResources",
    "ComposeService",
    "ComposeUlimit",
]

_Number = int | float | str
_Flag = bool | str
_Command = str | Sequence[str] | None
_Texts = str | Sequence[str]
_Sections = Sequence[str | Mapping[str, Any]]
_Variables = Mapping[str, str | int | float | None] | Sequence[str]
"""Also labels and the like; bool is an int."""


class _EnvFilePath(TypedDict):
    path: str


class ComposeEnvFile(_EnvFilePath, total=False):
    """An entry of `env_file`."""

    required: _Flag
    format: Literal["raw"]


class ComposeBuild(TypedDict, total=False):
    """What of `build` lunette knows."""

    context: str
    dockerfile: str
    args: _Variables
    labels: _Variables
    target: str


class ComposeLimits(TypedDict, total=False):
    """`deploy.resources.limits`."""

    cpus: _Number
    memory: int | str
    pids: int | str


class ComposeResources(TypedDict, total=False):
    """`deploy.resources`."""

    limits: ComposeLimits
    reservations: Mapping[str, Any]


class ComposeDeploy(TypedDict, total=False):
    """`deploy`."""

    endpoint_mode: str
    labels: _Variables
    mode: str
    placement: Mapping[str, Any]
    replicas: int | str
    resources: ComposeResources
    restart_policy: Mapping[str, Any]
    rollback_config: Mapping[str, Any]
    update_config: Mapping[str, Any]


class ComposeHealthcheck(TypedDict, total=False):
    """`healthcheck`."""

    disable: _Flag
    interval: str
    retries: _Number
    start_interval: str
    start_period: str
    test: _Texts
    timeout: str


class ComposeUlimit(TypedDict):
    """An entry of `ulimits` that has two values."""

    soft: int | str
    hard: int | str


class ComposeService(TypedDict, total=False):
    """A Compose service, such as `{"image": "python:3.11-slim"}`.

    Which of the keys a server supports, its `/capabilities` say; it refuses the others by name.
    Keys that begin with `x-` are left out here, and taken all the same.
    """

    annotations: _Variables
    attach: _Flag
    blkio_config: Mapping[str, Any]
    build: str | ComposeBuild
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    cgroup: str
    cgroup_parent: str
    command: _Command
    configs: _Sections
    container_name: str
    cpu_count: int | str
    cpu_percent: _Number
    cpu_period: _Number
    cpu_quota: _Number
    cpu_rt_period: _Number
    cpu_rt_runtime: _Number
    cpu_shares: _Number
    cpus: _Number
    cpuset: str
    credential_spec: Mapping[str, Any]
    depends_on: Sequence[str] | Mapping[str, Any]
    deploy: ComposeDeploy | None
    develop: Mapping[str, Any] | None
    device_cgroup_rules: Sequence[str]
    devices: _Sections
    dns: _Texts
    dns_opt: Sequence[str]
    dns_search: _Texts
    domainname: str
    entrypoint: _Command
    env_file: str | Sequence[str | ComposeEnvFile]
    environment: _Variables
    expose: Sequence[str | int]
    extends: str | Mapping[str, Any]
    external_links: Sequence[str]
    extra_hosts: Mapping[str, _Texts] | Sequence[str]
    gpus: str | Sequence[Mapping[str, Any]]
    group_add: Sequence[str | int]
    healthcheck: ComposeHealthcheck
    hostname: str
    image: str
    init: _Flag
    ipc: str
    isolation: str
    label_file: _Texts
    labels: _Variables
    links: Sequence[str]
    logging: Mapping[str, Any]
    mac_address: str
    mem_limit: int | str
    mem_reservation: int | str
    mem_swappiness: int | str
    memswap_limit: int | str
    models: Sequence[str] | Mapping[str, Any]
    network_mode: str
    networks: Sequence[str] | Mapping[str, Any]
    oom_kill_disable: _Flag
    oom_score_adj: int | str
    pid: str | None
    pids_limit: int | str
    platform: str
    ports: Sequence[str | int | Mapping[str, Any]]
    post_start: Sequence[Mapping[str, Any]]
    pre_stop: Sequence[Mapping[str, Any]]
    privileged: _Flag
    profiles: Sequence[str]
    provider: Mapping[str, Any]
    pull_policy: str
    pull_refresh_after: str
    read_only: _Flag
    restart: str
    runtime: str
    scale: int | str
    secrets: _Sections
    security_opt: Sequence[str]
    shm_size: int | str
    stdin_open: _Flag
    stop_grace_period: str
    stop_signal: str
    storage_opt: Mapping[str, str | int]
    sysctls: _Variables
    tmpfs: _Texts
    tty: _Flag
    ulimits: Mapping[str, int | str | ComposeUlimit]
    use_api_socket: bool
    user: str | int
    userns_mode: str
    uts: str
    volumes: _Sections
    volumes_from: Sequence[str]
    working_dir: str
