"""Maps stored rule ids to the rules of this process. Ids hold the path of a rule file, and paths differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import PurePath

BUILTIN = "builtin:"
FORMER = "builtin:llm;"
"""Beginning of the ids of all rules that are now in several packs. Names of built-in rules are unique, except those of
SLOs, which were never in this pack."""


class RuleIds:
    """The ids of the configured rules.

    Two replicas may have one fleet.yaml in different folders, and a folder may be moved. A stored id that is not
    configured maps to the only configured rule with the same file name, group, name and number. A rule that earlier
    releases had in the pack `llm` maps to the rule of that name in any pack.
    """

    def __init__(self, ids: Collection[str]) -> None:
        self._ids = frozenset(ids)
        self._packs = {rule.split(";")[-1]: rule for rule in self._ids if rule.startswith(BUILTIN)}
        times = Counter(map(_tail, self._ids))
        self._by_tail = {tail: found for found in self._ids if times[tail := _tail(found)] == 1}

    def meant(self, stored: str) -> str | None:
        """Return the configured id for a stored id; None when no configured rule matches, or several do."""
        if stored in self._ids:
            return stored
        if stored.startswith(FORMER) and (moved := self._packs.get(stored.split(";")[-1])):
            return moved
        return self._by_tail.get(_tail(stored))


def _tail(rule: str) -> str:
    path, separator, rest = rule.partition(";")
    return PurePath(path).name + separator + rest
