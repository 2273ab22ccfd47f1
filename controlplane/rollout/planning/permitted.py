"""Options that a request may set beside fleet.yaml. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.config.document import dotted
from controlplane.config.reading import merge_section
from controlplane.config.rollout.section import RolloutSection
from controlplane.rollout.planning.building import Combined
from controlplane.rollout.planning.overrides import Overrides

MAX_BYTES = 64 * 1024
"""Maximum size of the options that come with a request. Chosen: the golden set of a file is not among them."""
MAX_SHOWN = 120
"""Maximum number of characters of one value in a note."""


def applied(section: RolloutSection, overrides: Overrides) -> tuple[RolloutSection, list[str]]:
    """Return a model's options with an operator's in place of its own, and every reason against them."""
    if overrides.allow_downtime:
        section = section.model_copy(update={"allow_downtime": True})
    reasons = list(_forbidden(overrides.section))
    if reasons:
        return section, reasons
    # The strategy of a request is checked with the driver; the steps of fleet.yaml may be of another strategy.
    given = {name: value for name, value in overrides.section.items() if name != "strategy"}
    golden, wanted = section.golden, given.get("golden")
    if golden is not None and golden.file is not None and isinstance(wanted, Mapping) and "prompts" in wanted:
        section = section.model_copy(update={"golden": golden.model_copy(update={"file": None})})
    merged, faults = merge_section(section, given)
    if faults:
        return section, [f"{dotted(('rollout', *fault.loc))}: {fault.sentence}" for fault in faults]
    return merged, []


def replaced(before: Combined, section: RolloutSection, overrides: Overrides) -> Combined:
    """Return the gates of a rollout: a list that the operator gave replaces those of fleet.yaml as a whole."""
    given = overrides.section
    return Combined(
        section.hooks if "hooks" in given else before.hooks,
        section.approvals if "approvals" in given else before.approvals,
        section.checklist if "checklist" in given else before.checklist,
    )


def notes_of(overrides: Overrides, actor: str) -> list[str]:
    """Return one sentence for each thing that an operator set for this rollout."""
    found = [f"{actor} set {path} to {value}" for path, value in _leaves(overrides.section)]
    for name, text in overrides.attest.items():
        origin = overrides.copied.get(name)
        by = f"{name} was {origin}, copied by {actor}" if origin else f"{actor} attested {name}"
        found.append(f"{by}: {text}")
    found += [f"{actor} allowed downtime"] if overrides.allow_downtime else []
    return found + ([f"{actor} left out the steps of the canary"] if overrides.full else [])


def _forbidden(given: Mapping[str, Any]) -> Iterator[str]:
    # A request must not make the server read a file, or send a secret to an address that the request names.
    golden = given.get("golden")
    if given.get("hooks"):
        yield "rollout.hooks: hooks come from fleet.yaml; a request can only leave them out with an empty list"
    if isinstance(golden, Mapping):
        for name in ("file", "judge"):
            if name in golden:
                yield f"rollout.golden.{name}: comes from fleet.yaml; a request cannot set it"
    try:
        size = len(json.dumps(given))
    except (TypeError, ValueError, RecursionError):
        yield "rollout: expected JSON"
        return
    if size > MAX_BYTES:
        yield f"rollout: is larger than {MAX_BYTES} bytes; put the options into fleet.yaml"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif path:
        text = json.dumps(value, ensure_ascii=False)
        yield path, text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
