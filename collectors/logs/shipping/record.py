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
    written_ns: int = 0
    """Unix time in nanoseconds at which it was written, where that is known; else 0."""

    @property
    def time_ns(self) -> int:
        """Unix time in nanoseconds that servers show: that of the writing, else that of the reading."""
        return self.written_ns or self.at_ns

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
            # Six fields were written by releases that did not know the last one.
            at_ns, text, place, events, severity, labels, *rest = json.loads(line)
            written_ns = rest[0] if rest else 0
            known = all(isinstance(word, str) for word in (text, place, severity, *events))
            pairs = tuple((str(name), str(value)) for name, value in labels)
        except (TypeError, RecursionError) as error:
            raise ValueError("not a record") from error
        if not known or not isinstance(at_ns, int) or not isinstance(written_ns, int):
            raise ValueError("not a record")
        return cls(at_ns, text, place, tuple(events), severity, pairs, written_ns)
