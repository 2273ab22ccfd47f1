"""The used part of limits, as a file in the gateway's data folder: budgets survive the end of all processes.

    {"format": 1, "limits": {"key/ab12": {"day": 20784, "month": 24322, "spent": [120, 4000, 0, 0], …}}}

`spent` is in the order of `memory.BUDGETS`, money in millionths of a US dollar.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from controlplane.gateway.errors import GatewayError
from controlplane.gateway.limits.memory import BUDGETS
from controlplane.whole_file import write_whole

log = logging.getLogger(__name__)

FORMAT = 1


class SpentUnreadable(GatewayError):
    """The file cannot be read: it is no document of this format."""


class Spent(NamedTuple):
    """The used part of one limit."""

    at: float
    """Unix seconds of `requests` and `tokens`; 0 when both are."""
    day: int
    month: int
    spent: tuple[float, ...]
    """One number for each of BUDGETS."""
    requests: float
    """Used of the minute's requests."""
    tokens: float

    def is_any(self) -> bool:
        """Return whether anything was used."""
        return bool(self.requests or self.tokens or any(self.spent))


def encode(limits: Mapping[str, Spent]) -> bytes:
    """Return the document."""
    return orjson.dumps({"format": FORMAT, "limits": {limit_id: spent._asdict() for limit_id, spent in limits.items()}})


def decode(data: bytes) -> dict[str, Spent]:
    """Return the limits of a document. Raises SpentUnreadable."""
    try:
        document = orjson.loads(data)
        if document["format"] != FORMAT:
            raise SpentUnreadable(f"format {document['format']!r}; this release reads {FORMAT}")
        return {limit_id: _spent(fields) for limit_id, fields in document["limits"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise SpentUnreadable(f"it is no document of limits ({fault!r})") from fault


def _spent(fields: dict[str, Any]) -> Spent:
    amounts = tuple(float(amount) for amount in fields["spent"])
    found = Spent(
        float(fields["at"]),
        int(fields["day"]),
        int(fields["month"]),
        amounts,
        float(fields["requests"]),
        float(fields["tokens"]),
    )
    if len(amounts) != len(BUDGETS) or not all(math.isfinite(number) for number in (*amounts, *found[:3], *found[4:])):
        raise ValueError("a number is missing or not finite")
    return found


class SpentFile:
    """The file. Its folder exists."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, data: bytes) -> None:
        """Replace the file in one step, readable by its owner only. Waits for the disk. Raises OSError."""
        write_whole(self._path, data)

    def restore(self, put_back: Callable[[bytes], None]) -> None:
        """Hand the file's content to `Keeper.restore`. A damaged file is logged and kept under another name.

        Without a file, nothing is restored.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        try:
            put_back(data)
        except SpentUnreadable as fault:
            kept = self._path.with_name(self._path.name + ".unreadable")
            self._path.replace(kept)
            log.error(
                "limits: %s cannot be read (%s); budgets start at zero; the file is kept as %s", self._path, fault, kept
            )
