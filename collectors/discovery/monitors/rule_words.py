"""Words for relabelling rules that were made of other settings: a person has written those, and not the rules. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collectors.relabel import MAX_SHOWN, Dropping

PRESENT = ";true"
"""End of a value that is joined with the mark that its label is present."""


class Ask(NamedTuple):
    """Demand of a rule, in words."""

    text: str
    """A sentence without its end; "" for a rule that drops nothing."""
    shows: bool = True
    """Whether the value that was found follows."""


@dataclass(frozen=True)
class RuleWords:
    """Demands of the first rules of a group, and the name of the rules after them."""

    asks: tuple[Ask, ...]
    rest: str = "relabel_configs"
    owner: str = ""
    """The object that the rules were made of, if people must know that it has no target."""

    def told(self, found: Dropping) -> str:
        """Return why a rule drops an address."""
        if found.number >= len(self.asks):
            return f"{self.rest}[{found.number - len(self.asks)}] {found.sentence}"
        ask = self.asks[found.number]
        if not ask.shows:
            return ask.text
        value = found.value.removesuffix(PRESENT)
        return f"{ask.text}, and " + ("there is none" if value in ("", ";") else f"is {quoted(value)}")


def quoted(text: str) -> str:
    """Return a text in quotes, shortened: a label may have any length."""
    return json.dumps(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…", ensure_ascii=False)


def listed(values: Sequence[str]) -> str:
    """Return texts in quotes, with commas."""
    return ", ".join(map(quoted, values))
