"""Names of works for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from controlplane.rollout.findings import Work, WorkKind

_WORDS: Mapping[WorkKind, str] = MappingProxyType(
    {
        WorkKind.WARM: "warm-up on {name}",
        WorkKind.GOLDEN: "golden set",
        WorkKind.LOOK: "look {number}",
        WorkKind.HOOK: "hook {name}",
        WorkKind.CHECK: "check {name}",
        WorkKind.MIRRORED: "mirrored answers",
    }
)


def work_words(work: Work) -> str:
    """Return the name of a work: `look 16`, `hook backup`, `warm-up on http://10.0.0.5:8000`."""
    return _WORDS.get(work.kind, work.kind.value.replace("-", " ")).format(name=work.name, number=work.number)
