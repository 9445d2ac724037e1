from enum import StrEnum


class StatFileDigest(StrEnum):
    SHA_256 = "sha-256"

    def __str__(self) -> str:
        return str(self.value)
