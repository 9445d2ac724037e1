from enum import StrEnum


class UploadRequestFormat(StrEnum):
    FILE = "file"
    TAR = "tar"

    def __str__(self) -> str:
        return str(self.value)
