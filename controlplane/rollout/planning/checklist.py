"""The pre-launch checklist, as far as planning decides it. rollout/work/checks.py decides the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from controlplane.config.rollout.section import CheckSection
from controlplane.config.wording import not_one_of


def is_attested(item: CheckSection) -> bool:
    """Return whether the item can only be attested by a person."""
    return not item.builtin and item.expr is None and item.backup is None


def attest_reasons(items: Sequence[CheckSection], attest: Mapping[str, str], command: str) -> Iterator[str]:
    """Yield a reason for each item that nobody attested, and for each attestation of no such item."""
    mine = {item.name: item for item in items if is_attested(item)}
    for name, text in attest.items():
        if name not in mine:
            yield f"--attest {name}: {not_one_of(name, 'the attested items of the checklist', mine)}"
        elif not text.strip():
            yield f"--attest {name}: expected words or a link, got an empty text"
    for name, item in mine.items():
        if not item.attested and name not in attest:
            yield f"nobody attested {name} of the checklist; add it: `{command} --attest {name}=TEXT`"
