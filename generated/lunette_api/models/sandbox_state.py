from enum import StrEnum


class SandboxState(StrEnum):
    FAILED = "failed"
    LOST = "lost"
    PAUSED = "paused"
    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"

    def __str__(self) -> str:
        return str(self.value)
