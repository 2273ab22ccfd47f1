"""Warnings about machines whose clocks differ from the store's. Snapshots are ordered by the store's clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from controlplane.backup.format.snapshot import Snapshot
from controlplane.telling import lasting

DIFFERENT_S: Final = 300.0
"""Seconds that two clocks may differ without a word. Chosen: machines with NTP differ by less than one."""


def clock_warnings(snapshots: Iterable[Snapshot]) -> Iterator[str]:
    """Yield a sentence for each machine whose clock differed from the store's when it made snapshots."""
    wrong: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        if abs(snapshot.made_at - snapshot.at) > DIFFERENT_S:
            wrong[snapshot.host].append(snapshot)
    for host, found in wrong.items():
        last = max(found, key=lambda one: one.order)
        ahead = last.made_at - last.at
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        yield (
            f"the clock of {host or 'a machine'} was {lasting(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the"
            f" repository's when it made {last.id}{others}. The repository's clock orders snapshots; the id begins with"
            " the machine's. Set the machine's clock."
        )
