from enum import StrEnum


class OutputEventEvent(StrEnum):
    ERROR = "error"
    EXIT = "exit"
    GAP = "gap"
    STDERR = "stderr"
    STDOUT = "stdout"

    def __str__(self) -> str:
        return str(self.value)
