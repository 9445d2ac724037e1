from enum import StrEnum


class ImageState(StrEnum):
    PULLING = "pulling"
    READY = "ready"

    def __str__(self) -> str:
        return str(self.value)
