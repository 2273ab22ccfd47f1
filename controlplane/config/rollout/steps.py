"""The steps of a canary in fleet.yaml, as maps or as short texts such as `5%` and `mirror 20% for 10m`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from controlplane.config.checking import Fault, check
from controlplane.config.durations import duration_seconds
from controlplane.config.vocabulary import Interval, Model

MAX_STEPS = 50
"""Maximum number of steps. Chosen: a step of a minute each is then nearly an hour."""
FORMS = "5%, analyse 10m, pause 10m, pause, mirror 20% for 10m or testers 30m"
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_WORDS = re.compile(r"(weight|mirror|testers|pause|analyse)(?: +(\S+%))?(?: +(?:for +)?([^\s%]+))?")


def ratio(value: Any) -> float:
    """Return a part of the whole, written as `5%` or 0.05. Raises ValueError for other values."""
    if isinstance(value, str) and (found := _PERCENT.fullmatch(value.strip())):
        number = float(found[1]) / 100
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    else:
        raise ValueError("expected a share such as 5% or 0.05")
    if not 0 <= number <= 1:
        raise ValueError("expected a share from 0% to 100%, such as 5% or 0.05")
    return number


def _share(value: Any) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"{value} could be a percentage or a part: write {value}%, or a share such as 0.05")
    return ratio(value)


def _lasting(value: Any) -> float | str:
    if value == "approval":
        return "approval"
    try:
        seconds = duration_seconds(value)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        raise ValueError("expected a duration such as 10m, or approval")
    return seconds


Ratio = Annotated[float, BeforeValidator(ratio)]
"""A part of the whole, 0 to 1, written as `5%` or 0.05."""
Share = Annotated[float, BeforeValidator(_share), Field(gt=0)]
"""A Ratio above zero. A bare whole number is refused: 1 could mean 1% or all."""
Lasting = Annotated[float | Literal["approval"], BeforeValidator(_lasting)]
"""Seconds, or `approval`: until an operator approves."""


class StepSection(Model):
    """One step of a canary. Exactly one of its kinds is given."""

    weight: Share | None = None
    """The candidate's share of the requests."""
    analyse: Interval | None = None
    """Duration of an analysis, after which its latest look must have passed."""
    pause: Lasting | None = None
    mirror: Share | None = None
    """Share of the requests of which the candidate gets a copy. Its answers reach no client."""
    testers: Lasting | None = None
    """Only requests with the testers' header reach the candidate."""
    for_: Lasting | None = Field(default=None, alias="for")
    """Duration of a mirror step."""

    @property
    def kind(self) -> str:
        """The name of the step's kind. A step without one has "" and a fault."""
        return next((name for name in KINDS if getattr(self, name) is not None), "")

    @check
    def _is_of_one_kind(self) -> Iterator[Fault]:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            yield Fault((), f"expected one of {', '.join(KINDS)}; got {' and '.join(given) or 'none'}")

    @check
    def _only_a_mirror_has_a_duration_of_its_own(self) -> Iterator[Fault]:
        if self.for_ is not None and self.mirror is None:
            yield Fault(("for",), "is for mirror; the other kinds hold their duration: {pause: 10m}")


KINDS = ("weight", "analyse", "pause", "mirror", "testers")


def step_maps(value: Any) -> Any:
    """Return steps as a list of maps. A text is split at its commas; what is neither text nor list stays as it is.

    `"5%, pause"` → `[{"weight": "5%"}, {"pause": "approval"}]`. Raises ValueError for a text of no known form.
    """
    if isinstance(value, str):
        value = [part for part in map(str.strip, value.split(",")) if part]
    if not isinstance(value, list | tuple):
        return value
    return [_step_map(step, number) if isinstance(step, str) else step for number, step in enumerate(value, start=1)]


def _step_map(text: str, number: int) -> dict[str, str]:
    words = text.strip()
    if _PERCENT.fullmatch(words):
        return {"weight": words}
    found = _WORDS.fullmatch(words)
    kind, share, lasting = found.groups() if found else ("", None, None)
    if kind == "weight" and share and not lasting:
        return {"weight": share}
    if kind == "mirror" and share:
        return {"mirror": share, **({"for": lasting} if lasting else {})}
    if kind in ("testers", "pause") and not share:
        return {kind: lasting or "approval"}
    if kind == "analyse" and lasting and not share:
        return {"analyse": lasting}
    raise ValueError(f"step {number} is {text[:60]!r}; expected {FORMS}")


def step_faults(steps: Sequence[StepSection]) -> Iterator[Fault]:
    """Yield the faults of the order of steps: what cannot be carried out, or has no effect."""
    if len(steps) > MAX_STEPS:
        yield Fault((), f"expected at most {MAX_STEPS} steps, got {len(steps)}")
    reached = 0.0
    for number, step in enumerate(steps):
        if step.weight is not None:
            if step.weight <= reached:
                yield Fault((number, "weight"), f"must be more than {100 * reached:g}%, the weight before it")
            elif step.weight == 1.0 and number < len(steps) - 1:
                yield Fault((number, "weight"), "100% is the end; rollback_window: keeps the old version for a while")
            reached = max(reached, step.weight)
        elif step.kind in ("mirror", "testers") and reached:
            yield Fault((number, step.kind), "must come before the first weight, where clients reach the candidate")
        elif step.analyse is not None and not reached:
            yield Fault((number, "analyse"), "has no requests to look at; put a weight before it")
