"""Who was refused: gathered in memory, so that neither log nor audit trail grows with the number of guesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.store.audit import REFUSED, audit
from controlplane.store.database import Database

KINDS = 10
"""Told one by one between two writings; what more there is becomes a number."""
UNKNOWN = "-"


@dataclass
class RefusedAttempt:
    """Attempts of one account from one address at one door. Times are unix seconds."""

    account: str
    """The token's id as it was claimed; "" where what came was no token at all."""
    address: str
    door: str
    """Where it was tried: "the sign-in page" or "the API"."""
    reason: str
    """Of the first attempt."""
    first_at: float
    last_at: float
    attempts: int = 1

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        times = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        who = f"as token {self.account}" if self.account else "with what is no token"
        return f"{times} at {self.door} from {self.address} {who}: {self.reason}"


class Refusals:
    """What was refused since it was taken last. For one thread: the event loop's."""

    def __init__(self, kinds: int = KINDS) -> None:
        self._kinds = kinds
        self._told: dict[tuple[str, str, str], RefusedAttempt] = {}
        self._more = 0

    def note(self, account: str, address: str, door: str, reason: str, now: float) -> RefusedAttempt | None:
        """Count an attempt; return it where it is the first of its kind, which is when the log should have it."""
        known = self._told.get((account, address, door))
        if known is not None:
            known.attempts, known.last_at = known.attempts + 1, now
            return None
        return self._add(RefusedAttempt(account, address, door, reason, now, now))

    def take(self) -> tuple[list[RefusedAttempt], int]:
        """Return what was gathered, and how many attempts of other kinds there were; begin anew."""
        taken = list(self._told.values()), self._more
        self._told, self._more = {}, 0
        return taken

    def put_back(self, refusals: Sequence[RefusedAttempt], more: int) -> None:
        """Take up again what could not be written."""
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
    """Put what was gathered into the audit trail. Blocking. Raises Unavailable."""
    if not refusals:
        return
    with db.transaction() as session:
        for refusal in refusals:
            subject = f"token/{refusal.account or UNKNOWN}"
            audit(session, refusal.address, REFUSED, subject, refusal.sentence, refusal.last_at)
        if more:
            latest = max(refusal.last_at for refusal in refusals)
            audit(session, UNKNOWN, REFUSED, f"token/{UNKNOWN}", rest(more), latest)


def rest(more: int) -> str:
    """Say how many were not told one by one."""
    return f"{more} more failed attempts, of other tokens or from other addresses"
