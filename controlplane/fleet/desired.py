"""The desired state of gateways: made from the configuration and the database, and handed to those that wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from controlplane.config.model import Fleet
from controlplane.config.models import ModelSection
from controlplane.config.traffic.triton import TritonTraffic
from controlplane.errors import ControlPlaneError, Unavailable
from controlplane.gateway.desired.build import Split, build
from controlplane.gateway.desired.codec import encode
from controlplane.gateway.desired.document import Desired, KeySpec, LimitSpec
from controlplane.gateway.limits.owners import limits_of
from controlplane.rollout.stored.observations import observation_from_json
from controlplane.store.assignments import TRAFFIC, AssignmentStore
from controlplane.store.database import Database
from controlplane.store.revision import RevisionStore
from controlplane.store.rollout_log import RolloutLog
from controlplane.store.rollout_rows.records import ModelRecord

log = logging.getLogger(__name__)

KINDS = frozenset({TRAFFIC, "keys", "models", "config"})
"""Kinds of revisions that may change the desired state."""
POLL_S = 0.25
"""Seconds between two looks at the revisions while gateways wait. Chosen: a rollback must reach them at once."""
MOST_REVISIONS = 1000
"""Revisions of one look. If there are more, the state is made anew without reading them."""
MAX_WAITING = 1000
"""Maximum number of waiting gateways. Chosen: as many as are stored."""


class DesiredSource:
    """Makes the desired state. Synchronous; raises Unavailable."""

    def __init__(
        self, db: Database, config: Callable[[], Fleet], keys: Callable[[], Sequence[KeySpec]] = tuple
    ) -> None:
        """`keys` reads the API keys of clients. Blocking."""
        self._config, self._keys, self._unread = config, keys, db.unread
        self._assignments, self._log, self._revisions = AssignmentStore(db), RolloutLog(db), RevisionStore(db)

    def make(self) -> Desired:
        """Return the desired state of now."""
        fleet = self._config()
        splits = {
            model: Split(assignment.generation, assignment.weights, assignment.mirror)
            for model, assignment in self._assignments.all().items()
        }
        stored = self._log.models()
        stable = {m.name: self._gets_requests(m, stored[m.name]) for m in fleet.models if m.name in stored}
        return build(fleet.models, fleet.gateway, splits=splits, stable=stable, keys=self._keys())

    def changed_since(self, revision: int) -> tuple[bool, int]:
        """Return whether the desired state may differ since a revision, and the newest revision."""
        latest = self._revisions.latest()
        if latest == revision:
            return False, latest
        found = self._revisions.since(revision, MOST_REVISIONS)
        # A smaller newest revision comes from a database that was restored.
        many = latest < revision or len(found) == MOST_REVISIONS
        return many or any(change.kind in KINDS for change in found), max(latest, *(c.id for c in found), 0)

    def _gets_requests(self, section: ModelSection, record: ModelRecord) -> str:
        """Return the version that requests without a version reach.

        A Triton that is switched by its own API serves the candidate before it is the stable version: requests are
        counted as the version's that every server was seen to serve.
        """
        if not isinstance(section.traffic, TritonTraffic) or record.observation is None:
            return record.stable
        seen = self._unread.readable(
            "model_state", [record], lambda r: r.model, lambda r: observation_from_json(r.observation)
        )
        serving = {backend.serving for observation in seen for backend in observation.backends}
        return serving.pop() or record.stable if len(serving) == 1 else record.stable


class _Current(NamedTuple):
    revision: str
    body: bytes
    limits: Mapping[str, LimitSpec]


class DesiredFeed:
    """Hands the desired state to all gateways that wait. One look at the revisions serves all of them.

    A waiting gateway costs one future: no thread and no query. Methods belong to one event loop, except `wake`.
    """

    def __init__(
        self,
        source: DesiredSource,
        *,
        withheld: str = "",
        poll_s: float = POLL_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`withheld` is the reason why gateways get no state: they keep the one that they have."""
        self._withheld = withheld
        self._source, self._poll_s, self._monotonic = source, poll_s, monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._current: _Current | None = None
        self._revision, self._looked_at = -1, -1e9
        self._looking: asyncio.Task[None] | None = None
        self._poller: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed, self._fault = False, ""
        self.looks = 0
        """Number of looks at the database."""

    @property
    def waiting(self) -> int:
        """Number of gateways that wait."""
        return len(self._waiting)

    async def after(self, revision: str, wait_s: float) -> bytes | None:
        """Return the desired state as JSON when it is not `revision`; wait up to `wait_s` seconds for a change.

        None: nothing changed. Raises Unavailable when the database cannot be read and no state is known, when too many
        gateways wait, and when the state is withheld.
        """
        if self._withheld:
            raise Unavailable(self._withheld)
        self._loop = asyncio.get_running_loop()
        await self._fresh()
        if self._now().revision != revision:
            return self._now().body
        if wait_s > 0 and not self._closed:
            await self._wait(wait_s)
        return None if self._now().revision == revision else self._now().body

    async def limits(self) -> Mapping[str, LimitSpec]:
        """Return every limit of the desired state by its id. Raises Unavailable as `after` does."""
        self._loop = asyncio.get_running_loop()
        await self._fresh()
        return self._now().limits

    def wake(self) -> None:
        """Look at the database at once. May be called from any thread, after a change by this process."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._look_soon)

    def close(self) -> None:
        """End all waits. The server could not stop while requests are open."""
        self._closed = True
        self._release()

    def _now(self) -> _Current:
        assert self._current is not None  # _fresh() made it, or raised
        return self._current

    async def _wait(self, wait_s: float) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable(f"{MAX_WAITING} gateways wait for this control plane already; try again")
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll(), name="desired state of gateways")
        try:
            async with asyncio.timeout(wait_s):
                await future
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(future)
            if not self._waiting and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    async def _fresh(self) -> None:
        """Look at the database unless somebody just did. Concurrent callers share one look."""
        if self._current is not None and self._monotonic() - self._looked_at < self._poll_s:
            return
        try:
            await self._look()
        except ControlPlaneError as error:
            if self._current is None:
                raise
            self._say(str(error))

    def _say(self, fault: str) -> None:
        """Log a fault once, however often the database is tried."""
        if fault and fault != self._fault:
            log.warning("desired state of gateways: %s; the last one stays", fault)
        self._fault = fault

    async def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._read(), name="look at the desired state")
        await asyncio.shield(self._looking)

    async def _read(self) -> None:
        self._looked_at = self._monotonic()
        self.looks += 1
        changed, newest = await asyncio.to_thread(self._source.changed_since, self._revision)
        if changed or self._current is None:
            made = await asyncio.to_thread(self._made)
            if self._current is None or made.revision != self._current.revision:
                self._current = made
                self._release()
        # Noted only now: a look that failed is repeated.
        self._revision = newest
        self._say("")

    def _made(self) -> _Current:
        desired = self._source.make()
        return _Current(
            desired.revision, encode(desired), {owner.limit_id: limits for owner, limits in limits_of(desired)}
        )

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self._look()
            except ControlPlaneError as error:
                self._say(str(error))

    def _look_soon(self) -> None:
        self._looked_at = -1e9
        if self._waiting and not self._closed:
            task = asyncio.ensure_future(self._look())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _release(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
