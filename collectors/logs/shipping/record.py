"""One line on its way to a destination."""

from __future__ import annotations

import json
from typing import NamedTuple

from collectors.samples import Labels

_OVERHEAD = 300
"""Bytes that a record takes beside its texts."""


class Record(NamedTuple):
    """A line, masked unless its destination says otherwise."""

    at_ns: int
    """Unix time in nanoseconds at which it was read. Unique and growing within a destination."""
    text: str
    place: str
    """The file, unit, container or program."""
    events: tuple[str, ...]
    severity: str
    """`critical` or `warning` as the worst of its events has it; "" without one."""
    labels: Labels
    """Those of the log: log, log_engine, node, model, engine_instance and its own."""

    @property
    def size(self) -> int:
        """Bytes that it may take in memory and in a body, roughly."""
        return len(self.text.encode(errors="replace")) + len(self.place) + _OVERHEAD

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(self)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Return what `to_json` wrote. Raises ValueError for anything else."""
        try:
            at_ns, text, place, events, severity, labels = json.loads(line)
            known = all(isinstance(word, str) for word in (text, place, severity, *events))
            pairs = tuple((str(name), str(value)) for name, value in labels)
        except (TypeError, RecursionError) as error:
            raise ValueError("not a record") from error
        if not known or not isinstance(at_ns, int):
            raise ValueError("not a record")
        return cls(at_ns, text, place, tuple(events), severity, pairs)
