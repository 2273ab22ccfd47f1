"""Watches: the events that a client sees, as lines of JSON."""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tests.fakes.kubernetes import selectors
from tests.fakes.kubernetes.errors import Cause, expired, invalid
from tests.fakes.kubernetes.lists import number
from tests.fakes.kubernetes.paths import Target
from tests.fakes.kubernetes.store import Event, Store

Json = dict[str, Any]

BOOKMARK_LEAD_S = 2.0
"""Seconds before the end of a watch at which its last bookmark comes (measured on kube-apiserver 1.36)."""

LONGEST_S = 1800.0
"""Seconds after which a watch without a time of its own ends (kube-apiserver's --min-request-timeout)."""


class Watch:
    """One watch. `checked` raises what a request is refused for before its first line."""

    def __init__(self, store: Store, target: Target, query: Mapping[str, str]) -> None:
        self.store, self.target, self.query = store, target, query
        self.initial = query.get("sendInitialEvents") == "true"
        if self.initial and query.get("resourceVersionMatch") != "NotOlderThan":
            told = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            cause = Cause("FieldValueForbidden", told, "resourceVersionMatch")
            raise invalid("ListOptions", "meta.k8s.io", "", [cause])
        self.start = number(query["resourceVersion"]) if query.get("resourceVersion") else 0
        self.bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        self._labels = selectors.labels(query.get("labelSelector", ""))
        self._fields = selectors.fields(query.get("fieldSelector", ""), target.kind.kind)
        if target.name:
            self._fields = selectors.fields(f"metadata.name={target.name}")

    async def lines(self) -> AsyncIterator[Json]:
        """Yield events until the watch's own time is over, or an ERROR."""
        seen = self.start
        if self.start == 0 or self.initial:
            seen = self.store.version
            for line in self._beginning():
                yield line
        ends = asyncio.get_running_loop().time() + float(self.query.get("timeoutSeconds") or LONGEST_S)
        marked = told = False
        while True:
            pulse = self.store.pulse
            if seen < self.store.oldest:
                yield {"type": "ERROR", "object": expired(seen, self.store.oldest).body}
                return
            events = [event for event in self.store.events if event.version > seen]
            seen = max((event.version for event in events), default=seen)
            for line in filter(None, map(self._seen, events)):
                told = True
                yield line
            left = ends - asyncio.get_running_loop().time()
            due = self.bookmarks and not marked and left <= BOOKMARK_LEAD_S
            if due and told:  # A watch that told nothing gets no bookmark.
                yield self._bookmark()
            marked = marked or due
            if left <= 0:
                return
            lead = left - BOOKMARK_LEAD_S if self.bookmarks and not marked else left
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pulse.wait(), timeout=max(lead, 0.01))

    def _beginning(self) -> list[Json]:
        """Return the lines of what is there, with the bookmark that ends them where it was asked for."""
        found = [one for _, one in self.store.select(self.target.kind, self.target.namespace) if self._matches(one)]
        lines = [self._line("ADDED", one) for one in found]
        return lines + ([self._bookmark({"k8s.io/initial-events-end": "true"})] if self.initial else [])

    def _matches(self, found: Json | None) -> bool:
        return found is not None and self._labels(found) and self._fields(found)

    def _seen(self, event: Event) -> Json | None:
        """Return the line of an event. An object that leaves the selector is DELETED, in its new version."""
        kind, namespace = self.target.kind, self.target.namespace
        if event.key[:2] != (kind.group, kind.plural) or (namespace and event.key.namespace != namespace):
            return None
        before, after = self._matches(event.before), self._matches(event.object) and event.type != "DELETED"
        if after:
            return self._line("MODIFIED" if before else "ADDED", event.object)
        if before and event.before is not None:
            last = copy.deepcopy(event.before)
            last["metadata"]["resourceVersion"] = str(event.version)
            return self._line("DELETED", event.object if event.type == "DELETED" else last)
        return None

    def _line(self, kind: str, found: Json) -> Json:
        return {"type": kind, "object": found | {"apiVersion": self.target.kind.named(self.target.version)}}

    def _bookmark(self, annotations: Json | None = None) -> Json:
        metadata: Json = {"resourceVersion": str(self.store.version)}
        if annotations:
            metadata["annotations"] = annotations
        kind = self.target.kind
        found = {"kind": kind.kind, "apiVersion": kind.named(self.target.version), "metadata": metadata}
        return {"type": "BOOKMARK", "object": found}
