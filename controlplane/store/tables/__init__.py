"""Tables, one module a noun. Times are unix seconds. Rows stay inside the store, which hands out records."""

from __future__ import annotations

from controlplane.store.tables import audit, lease, ledger, outbox, revision, token

__all__ = ["audit", "lease", "ledger", "outbox", "revision", "token"]
