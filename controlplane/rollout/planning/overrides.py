"""Options that an operator sets for one rollout beside fleet.yaml. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Overrides:
    """Options of one rollout that differ from fleet.yaml."""

    section: Mapping[str, Any] = field(default_factory=dict)
    """A part of `models[].rollout:` in fleet.yaml's own form: {"analysis": {"interval": "30s"}}."""
    override_freeze: str = ""
    """The reason why a freeze window does not hold for this rollout. Only an admin may give one."""
    attest: Mapping[str, str] = field(default_factory=dict)
    """Words or links that attest items of the checklist, by the item's name."""
    allow_downtime: bool = False
    full: bool = False
    """Whether the candidate gets every request at once, without the steps of a canary."""
    copied: Mapping[str, str] = field(default_factory=dict)
    """Origin of attestations that a retry copied, by the item's name: who gave one, when and for which rollout. A
    request of a person cannot set it."""

    def to_json(self) -> dict[str, Any]:
        """Return the overrides that are set, as plain JSON. Without any it is empty."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Overrides:
        """Return the overrides of `to_json`. Raises TypeError for an unknown field."""
        return cls(**data)

    def attested(self) -> dict[str, str]:
        """Return the attestations, those that a retry copied with their origin."""
        origins = {name: f" ({origin})" for name, origin in self.copied.items()}
        return {name: f"{text}{origins.get(name, '')}" for name, text in self.attest.items()}

    def text(self) -> str:
        """Return the overrides as one line that is the same for equal overrides. Without any it is ""."""
        data = self.to_json()
        return json.dumps(data, sort_keys=True, ensure_ascii=False) if data else ""
