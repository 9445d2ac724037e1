from enum import StrEnum


class DigestAlgorithm(StrEnum):
    SHA_256 = "sha-256"
    XXH3_64 = "xxh3-64"

    def __str__(self) -> str:
        return str(self.value)
