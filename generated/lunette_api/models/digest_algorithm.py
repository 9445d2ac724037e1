from enum import StrEnum


class DigestAlgorithm(StrEnum):
    CRC32 = "crc32"
    SHA_256 = "sha-256"

    def __str__(self) -> str:
        return str(self.value)
