"""A backend that was acquired for one attempt: the one object that counts it, and gives it back exactly once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from controlplane.gateway.choosing.overload.fairness import ANSWER_COST, PROMPT_COST
from controlplane.gateway.desired.document import ModelSpec
from controlplane.gateway.request import Ask, Outcome

if TYPE_CHECKING:
    from controlplane.gateway.choosing.replica import Replica
    from controlplane.gateway.choosing.version import Version

log = logging.getLogger(__name__)


class Held:
    """An acquired backend, the Choice of `gateway/seams.py`. It is counted already when it is made."""

    __slots__ = (
        "_expected", "_home", "_left", "_prompt", "_seen", "_started", "adapter", "backend", "charged", "degraded_from",
        "held", "model", "probe", "replica", "since", "stream", "tenant", "tried", "version",
    )  # fmt: skip

    def __init__(
        self,
        home: Version,
        replica: Replica,
        model: ModelSpec,
        ask: Ask,
        now: float,
        prompt: int,
        expected: int,
        tenant: str,
        adapter: str,
    ) -> None:
        """`prompt` and `expected`: tokens of the request and of its answer. `tenant`: its sender, "" for a copy."""
        self.held = True
        """Whether it was not released yet."""
        self._home = home
        self.replica = replica
        self.model = model
        self.version = home.name
        self.backend = replica.spec
        self.degraded_from = ""
        self.adapter = adapter
        self.tenant = tenant
        self.since = now
        self.stream = ask.stream
        self.charged = False
        """Whether the tenant was charged for the expected tokens."""
        self.tried: tuple[Replica, ...] = ()
        """Replicas of earlier attempts."""
        self.probe = 0
        """Number of the probe of an ejected backend that this request is. 0: it is none."""
        self._prompt = prompt
        self._expected = expected
        self._left = expected
        self._seen = 0
        self._started = False

    @property
    def outstanding(self) -> int:
        """Work that is left, in tokens: the prompt until the first event, and the expected rest of the answer."""
        return self._left if self._started else self._left + self._prompt

    @property
    def work(self) -> int:
        """Work of the whole request, in tokens."""
        return self._prompt + self._expected

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return self._seen

    @property
    def unserved(self) -> float:
        """Cost of the tokens that were expected and never came. Negative: more came than were expected."""
        unread = 0 if self._started or self._seen else self._prompt
        return PROMPT_COST * unread + ANSWER_COST * (self._expected - self._seen)

    def first_byte(self, now: float) -> None:
        """The first event came: the prompt is done, and the latency of the first token is known."""
        if self._started or not self.held:
            return
        self._started = True
        self.replica.shrink(self._prompt)
        self._home.started(self, now)

    def progress(self, tokens: int) -> None:
        """`tokens` more were generated."""
        if not self.held:
            return
        self._seen += tokens
        done = min(tokens, self._left)
        if done:
            self._left -= done
            self.replica.shrink(done)

    def release(self, outcome: Outcome, now: float, *, connected: bool = True) -> None:
        """Give the backend back. `connected`: whether a connection to it was made. A second call does nothing."""
        if not self.held:
            self._home.doubled(self)
            return
        self.held = False
        self._home.released(self, outcome, now, connected=connected)

    def __del__(self) -> None:
        # A place that is never given back would be lost until the worker ends: a fault must not cost more than itself.
        if self.held:
            log.error("a request to %s ended without giving its backend back; it is given back now", self.backend.url)
            self.release(Outcome.ABORTED, self.since)
