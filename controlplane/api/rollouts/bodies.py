"""Bodies and parameters of the routes about rollouts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Header, Path
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from controlplane.api.models import NAME
from controlplane.rollout.planning.overrides import Overrides

MOST_TEXT = 500
"""Most characters of a reason or an attested item. Chosen: a sentence and a link."""
RolloutId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
KeyDep = Annotated[str | None, Header(alias="Idempotency-Key", pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
Text = Annotated[str, Field(max_length=MOST_TEXT, pattern=r"^[^\x00-\x1f]*$")]
"""A text without control characters: PostgreSQL cannot store a NUL, and a reason is one line."""
_LINE = r"^[^\x00-\x1f]*\S[^\x00-\x1f]*$"
Reason = Annotated[str, Field(min_length=1, max_length=MOST_TEXT, pattern=_LINE)]
_SAID = {"type": "string", "minLength": 1, "maxLength": MOST_TEXT, "pattern": _LINE}
# Pydantic documents the pattern of keys as patternProperties, which would allow any other key.
_ATTESTED = {"type": "object", "maxProperties": 100, "propertyNames": _SAID, "additionalProperties": _SAID}
Attested = Annotated[dict[Reason, Reason], Field(max_length=100), WithJsonSchema(_ATTESTED)]


class PromoteRequest(BaseModel):
    """The model and the version of a promotion, and its options."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(pattern=NAME)]
    strategy: Literal["", "blue-green", "canary", "rolling", "recreate"] = ""
    """"": the strategy of the model's `rollout:`, else blue-green."""
    rollout: dict[str, Any] = Field(default_factory=dict)
    """Fields of the model's `rollout:` in fleet.yaml, which they override for this rollout."""
    allow_downtime: bool = False
    override_freeze: Text = ""
    """The reason to start inside a freeze window; for admins. "": the window holds."""
    attest: Attested = Field(default_factory=dict)
    """Items of the checklist that the caller attests, each with words or a link."""
    full: bool = False
    """Skip the canary's steps, pauses and analyses."""
    dry_run: bool = False

    def overrides(self) -> Overrides:
        """Return the options that override those of fleet.yaml."""
        return Overrides(
            section=self.rollout,
            override_freeze=self.override_freeze,
            attest=self.attest,
            allow_downtime=self.allow_downtime,
            full=self.full,
        )


class RollbackRequest(BaseModel):
    """The options of a rollback."""

    model_config = ConfigDict(extra="forbid")

    to: Annotated[str, Field(pattern=NAME)] | None = None
    """The version to go back to. null: the previous one."""
    reason: Text = ""
    quarantine: bool = True
    """Whether the version that the rollback leaves is put in quarantine. A running promotion's always is."""
    dry_run: bool = False


class Steering(BaseModel):
    """The reason of a pause, resume, approval or abort."""

    model_config = ConfigDict(extra="forbid")

    reason: Text = ""


class Lifting(BaseModel):
    """The reason to lift a quarantine."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason
