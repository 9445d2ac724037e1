from enum import StrEnum


class ProgressStage(StrEnum):
    PULLING = "pulling"
    UNPACKING = "unpacking"

    def __str__(self) -> str:
        return str(self.value)
