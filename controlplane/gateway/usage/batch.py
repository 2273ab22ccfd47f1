"""Usage by the minute: what is sent to the control plane for a range of a journal's records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from controlplane.gateway.usage.lines import Entry

MINUTE_S = 60


class Key(NamedTuple):
    """Names and minute of one row. `at` is the start of the minute in unix seconds."""

    at: int
    tenant: str
    key_id: str
    model: str
    version: str
    outcome: str


@dataclass(slots=True)
class Sums:
    """Usage of one key. Durations in seconds."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    estimated: int = 0
    """Number of requests whose tokens were estimated."""
    duration_s: float = 0.0
    first_s: float = 0.0
    """Sum of the times to the first event."""
    streams: int = 0
    """Number of requests in `first_s`."""

    def add(self, values: Mapping[str, Any]) -> None:
        """Add one record."""
        self.requests += 1
        self.prompt_tokens += values["prompt_tokens"] or 0
        self.completion_tokens += values["completion_tokens"] or 0
        self.cached_tokens += values["cached_tokens"] or 0
        self.estimated += bool(values["estimated"])
        self.duration_s += values["duration_s"]
        if values["first_s"] is not None:
            self.first_s += values["first_s"]
            self.streams += 1


@dataclass(slots=True)
class Batch:
    """The sums of the records `first` to `last` of a journal's epoch. `first` is 0 while there are none."""

    epoch: str
    first: int = 0
    last: int = 0
    rows: dict[Key, Sums] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Number of records."""
        return sum(sums.requests for sums in self.rows.values())

    def add(self, entry: Entry) -> None:
        """Add a record. Sequence numbers rise; a damaged record leaves a gap."""
        values = entry.values
        at = int(values["at"]) // MINUTE_S * MINUTE_S
        key = Key(at, values["tenant"], values["key_id"], values["model"], values["version"], values["outcome"])
        sums = self.rows.get(key)
        if sums is None:
            sums = self.rows[key] = Sums()
        sums.add(values)
        self.first = self.first or entry.sequence
        self.last = entry.sequence

    def document(self) -> dict[str, Any]:
        """Return the batch as JSON. A row has the fields of its key and of its sums."""
        rows = [{**key._asdict(), **asdict(sums)} for key, sums in self.rows.items()]
        return {"journal": self.epoch, "first": self.first, "length": self.last - self.first + 1, "rows": rows}
