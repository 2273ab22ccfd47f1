"""Refused attempts, collected in memory, so that log and audit trail do not grow with the number of guesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.store.audit import REFUSED, audit
from controlplane.store.database import Database

KINDS = 10
"""Maximum number of kinds of attempts with an audit row each, between two writes. The rest is counted. Chosen."""
UNKNOWN = "-"


@dataclass
class RefusedAttempt:
    """Refused attempts of one kind: same account, address and entry point. Times are unix seconds."""

    account: str
    """The id in the token's text; "" for a malformed token."""
    address: str
    door: str
    """The entry point: "the sign-in page" or "the API"."""
    reason: str
    """The reason of the first attempt."""
    first_at: float
    last_at: float
    attempts: int = 1
    kind: str = "token"
    """The kind of the account: a token, or a person in `slack`."""

    @property
    def sentence(self) -> str:
        """The attempts in a sentence."""
        times = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        who = f"as {self.kind} {self.account}" if self.account else "with a malformed token"
        return f"{times} at {self.door} from {self.address} {who}: {self.reason}"


class Refusals:
    """Refused attempts since the last `take`. Not thread-safe: only the event loop uses it."""

    def __init__(self, kinds: int = KINDS) -> None:
        self._kinds = kinds
        self._told: dict[tuple[str, str, str], RefusedAttempt] = {}
        self._more = 0

    def note(
        self, account: str, address: str, door: str, reason: str, now: float, *, kind: str = "token"
    ) -> RefusedAttempt | None:
        """Count an attempt. Return it if it is the first of its kind, so that the caller logs it; else None."""
        known = self._told.get((account, address, door))
        if known is not None:
            known.attempts, known.last_at = known.attempts + 1, now
            return None
        return self._add(RefusedAttempt(account, address, door, reason, now, now, kind=kind))

    def take(self) -> tuple[list[RefusedAttempt], int]:
        """Return the collected attempts and the number of attempts of other kinds, and begin anew."""
        taken = list(self._told.values()), self._more
        self._told, self._more = {}, 0
        return taken

    def put_back(self, refusals: Sequence[RefusedAttempt], more: int) -> None:
        """Add attempts again that could not be written."""
        self._more += more
        for refusal in refusals:
            known = self._told.get((refusal.account, refusal.address, refusal.door))
            if known is not None:
                known.attempts, known.first_at = known.attempts + refusal.attempts, refusal.first_at
            else:
                self._add(refusal)

    def _add(self, refusal: RefusedAttempt) -> RefusedAttempt | None:
        if len(self._told) >= self._kinds:
            self._more += refusal.attempts
            return None
        self._told[refusal.account, refusal.address, refusal.door] = refusal
        return refusal


def write_refusals(db: Database, refusals: Sequence[RefusedAttempt], more: int) -> None:
    """Write refused attempts to the audit trail. Blocking. Raises Unavailable."""
    if not refusals:
        return
    with db.transaction() as session:
        for refusal in refusals:
            subject = f"{refusal.kind}/{refusal.account or UNKNOWN}"
            audit(session, refusal.address, REFUSED, subject, refusal.sentence, refusal.last_at)
        if more:
            latest = max(refusal.last_at for refusal in refusals)
            audit(session, UNKNOWN, REFUSED, f"token/{UNKNOWN}", rest(more), latest)


def rest(more: int) -> str:
    """Return the sentence for the attempts without an audit row of their own."""
    return f"{more} more failed attempts, of other tokens or from other addresses"
