"""Names of works, and the waits for people, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from controlplane.rollout.findings import Work, WorkKind
from controlplane.rollout.model import Rollout
from controlplane.rollout.wishes import Wait, WaitKind, pause_of

_WORDS: Mapping[WorkKind, str] = MappingProxyType(
    {
        WorkKind.WARM: "warm-up on {name}",
        WorkKind.GOLDEN: "golden set",
        WorkKind.LOOK: "look {number}",
        WorkKind.HOOK: "hook {name}",
        WorkKind.CHECK: "check {name}",
        WorkKind.MIRRORED: "mirrored answers",
        WorkKind.FILES: "files of the candidate",
    }
)


def work_words(work: Work) -> str:
    """Return the name of a work: `look 16`, `hook backup`, `warm-up on http://10.0.0.5:8000`."""
    return _WORDS.get(work.kind, work.kind.value.replace("-", " ")).format(name=work.name, number=work.number)


_CURES: Mapping[WaitKind, str] = MappingProxyType(
    {WaitKind.APPROVAL: "cp rollouts approve", WaitKind.OPERATOR: "cp rollouts resume"}
)


def waits_for(rollout: Rollout) -> str:
    """Return what a running rollout waits for, with the command that ends the wait of a person; "" for nothing."""
    wait = rollout.wait
    if wait is None or rollout.finished:
        return ""
    cure = _CURES.get(wait.kind, "")
    return f"{wait.words}: `{cure} {rollout.id}`" if cure and cure not in wait.words else wait.words


def question(rollout: Rollout) -> Wait | None:
    """Return the wait of a running rollout that only a person can end, and that nobody asked for; else None.

    It is an approval, or a decision after a failed hook or missing data. A pause by an operator is known to operators.
    """
    wait = rollout.wait
    if wait is None or rollout.finished or wait.kind not in _CURES or pause_of(rollout.wishes) is not None:
        return None
    return wait
