"""What this engine can do on this machine."""

from __future__ import annotations

from lunette.server.engines.bubblewrap._arguments import SHM_BYTES, TMP_BYTES
from lunette.server.engines.bubblewrap._limits import Limits, machine_processors
from lunette.server.engines.protocol import Capabilities
from lunette.server.images._platforms import architecture
from lunette.server.images.library import IMAGE_BYTES, IMAGE_FILES
from lunette.server.settings import FREE_DISK, Settings

__all__ = ["HOST", "capabilities"]

HOST = "host"
_NAMES = """
    command deploy entrypoint environment extra_hosts hostname image init network_mode
    pids_limit platform pull_policy read_only shm_size stop_grace_period stop_signal storage_opt
    tmpfs ulimits user working_dir
"""
_SERVICE_KEYS = frozenset(_NAMES.split())
_LIMITING_KEYS = {"mem_limit": "memory", "cpus": "cpus"}


def capabilities(settings: Settings, limits: Limits, *, ranged: bool) -> Capabilities:
    """Return them for an engine whose sandboxes are kept to *limits*."""
    unenforced = settings.allow_unenforced_limits
    kept = {k for k, what in _LIMITING_KEYS.items() if unenforced or what in limits.enforces}
    return Capabilities(
        isolation="uid-range" if ranged else "rootless",
        images=(HOST,),
        service_keys=_SERVICE_KEYS | kept,
        pulls_images=True,
        platform=f"linux/{architecture()}",
        enforces=tuple(sorted(limits.enforces)),
        limits_by=limits.name,
        limits={
            "disk": settings.disk,
            "free_disk": FREE_DISK,
            "tmp": TMP_BYTES,
            "shm": SHM_BYTES,
            "processes": limits.processes,
            "memory": limits.memory,
            "cpus": machine_processors(),
            "image": IMAGE_BYTES,
            "image_files": IMAGE_FILES,
        },
    )
