"""The keys that the Compose specification knows, for the client and the server alike.

https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["BUILD_KEYS", "KEYS", "TOP_LEVEL_KEYS", "nearest"]

_NAMES = """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs
    container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime
    cpu_shares cpus cpuset credential_spec depends_on deploy develop device_cgroup_rules devices dns
    dns_opt dns_search domainname entrypoint env_file environment expose extends external_links
    extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels links
    logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit models network_mode
    networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_stop
    privileged profiles provider pull_policy pull_refresh_after read_only restart runtime scale
    secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs
    tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir
"""
KEYS = frozenset(_NAMES.split())

_BUILD_NAMES = """
    additional_contexts args cache_from cache_to context dockerfile dockerfile_inline entitlements
    extra_hosts isolation labels network no_cache no_cache_filter platforms privileged provenance
    pull sbom secrets shm_size ssh tags target ulimits
"""
BUILD_KEYS = frozenset(_BUILD_NAMES.split())

_TOP_LEVEL_NAMES = """
    configs include models name networks secrets services version volumes
"""
TOP_LEVEL_KEYS = frozenset(_TOP_LEVEL_NAMES.split())


def nearest(key: str, known: Iterable[str]) -> str:
    """Return the one of the *known* keys that *key* is most like."""
    import difflib  # only a slip pays for it

    # Longer than any key, it is like none; comparing takes the time of both lengths.
    return difflib.get_close_matches(key[:100], sorted(known), n=1, cutoff=0)[0]
