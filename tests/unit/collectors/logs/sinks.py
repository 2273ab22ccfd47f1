"""What tests give to readers of logs."""

from __future__ import annotations


class Lines:
    """A sink that keeps all it gets."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.left_out: dict[str, int] = {}
        self.written: list[int] = []
        """Time of each line in nanoseconds, 0 for unknown."""

    def line(self, place: str, text: str, written_ns: int = 0) -> None:
        self.taken.append(text)
        self.written.append(written_ns)

    def skipped(self, reason: str, count: int = 1) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + count

    def new(self) -> list[str]:
        taken, self.taken = self.taken, []
        return taken
