"""Alerting while the database cannot be written: changes are kept in memory, acted upon, and written later."""

from __future__ import annotations

from controlplane.store.backlog.backlog import Backlog
from controlplane.store.backlog.logs import EnduringAlertLog, EnduringGroupLog
from controlplane.store.backlog.outbox import EnduringOutbox
from controlplane.store.backlog.write_back import give_way, write_back

__all__ = ["Backlog", "EnduringAlertLog", "EnduringGroupLog", "EnduringOutbox", "give_way", "write_back"]
