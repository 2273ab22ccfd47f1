"""Retention: the snapshots that are kept, as a pure function of their times by the store's clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from controlplane.backup.format.snapshot import Snapshot


@dataclass(frozen=True)
class Keep:
    """Numbers of snapshots to keep of each subject. The newest of an hour, day, week or month counts for it."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0


@dataclass(frozen=True)
class Fate:
    """One snapshot, and why it stays. No reasons: it goes."""

    snapshot: Snapshot
    reasons: tuple[str, ...]


_PERIODS = {"hourly": "%Y-%m-%d %H", "daily": "%Y-%m-%d", "weekly": "%G week %V", "monthly": "%Y-%m"}


def fates(
    snapshots: Sequence[Snapshot], keep: Keep, protected: Mapping[str, str], zone: tzinfo = UTC
) -> tuple[Fate, ...]:
    """Return the fate of every snapshot, in their order.

    `protected` maps ids of snapshots to the reason for which they stay in any case. The newest snapshot of each version
    of a subject stays in any case too: without it the version would be lost.
    """
    reasons: dict[str, list[str]] = defaultdict(list)
    for identity, reason in protected.items():
        reasons[identity].append(reason)
    groups: dict[str, list[Snapshot]] = defaultdict(list)
    newest: dict[tuple[str, str], Snapshot] = {}
    for snapshot in sorted(snapshots, key=lambda one: one.order):
        groups[snapshot.subject].append(snapshot)
        newest[(snapshot.subject, snapshot.version)] = snapshot
    for (subject, version), snapshot in newest.items():
        reasons[snapshot.id].append(f"the newest of {subject}" + (f" {version}" if version else ""))
    for group in groups.values():
        for snapshot in group[len(group) - min(keep.last, len(group)) :]:
            reasons[snapshot.id].append("last")
        for name, form in _PERIODS.items():
            _keep_periods(group, name, form, getattr(keep, name), zone, reasons)
    return tuple(Fate(snapshot, tuple(reasons.get(snapshot.id, ()))) for snapshot in snapshots)


def _keep_periods(
    group: Sequence[Snapshot], name: str, form: str, count: int, zone: tzinfo, reasons: dict[str, list[str]]
) -> None:
    seen: set[str] = set()
    for snapshot in reversed(group):
        period = datetime.fromtimestamp(snapshot.at, zone).strftime(form)
        if len(seen) >= count and period not in seen:
            return
        if period not in seen:
            seen.add(period)
            reasons[snapshot.id].append(f"{name} {period}")
