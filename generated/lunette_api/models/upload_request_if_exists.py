from enum import StrEnum


class UploadRequestIfExists(StrEnum):
    APPEND = "append"
    FAIL = "fail"
    REPLACE = "replace"

    def __str__(self) -> str:
        return str(self.value)
