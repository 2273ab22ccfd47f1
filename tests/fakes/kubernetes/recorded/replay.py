"""Replays transcripts against the test server and says where its answers differ from the recorded ones."""

import asyncio
import copy
import json
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from tests.fakes.kubernetes.kinds import kind_named
from tests.fakes.kubernetes.rbac import Rule, User
from tests.fakes.kubernetes.recorded.entries import Entry, entries, states, versions
from tests.fakes.kubernetes.server import ApiServer
from tests.fakes.kubernetes.store import Key

Json = dict[str, Any]

HANG_S = 30.0
"""Seconds after which a replayed request counts as hung (chosen)."""
LONG_S = 4
"""Seconds above which the replay does not wait for the own end of a watch (chosen)."""
USERS = {
    "admin": User("admin", admin=True),
    "driver": User("system:serviceaccount:llm:driver"),
    "nobody": User("nobody"),
    "jailed": User("jailed", admin=True),
}


REACHED = {"03-deployments/21 get when gone": 1047, "07-lists/12 resourceVersion from the future": 1098}
"""The resourceVersion that was reached before an entry, where its answer does not tell."""


class Outcome(NamedTuple):
    """How one entry replayed. `difference` is "" for an answer equal to the recorded one."""

    entry: Entry
    difference: str


class Replay:
    """One run over transcripts in order, on one server.

    What the recording does not show a request for (controllers, the recorder's setup) is written as another writer
    would, before the first entry that saw it. uids, addresses, the time and gaps in resourceVersions come from the
    recording, so that the rest can be compared exactly.
    """

    def __init__(self, api: ApiServer, files: list[str], left_out: set[str]) -> None:
        self.api = api
        self.entries = [entry for file in files for entry in entries(file)]
        self.left_out = left_out
        self.outcomes: list[Outcome] = []
        self._states = states(self.entries)
        self._waiting: list[Entry] = []
        self._time = datetime(2026, 2, 1, tzinfo=UTC)
        self._watches: list[tuple[Entry, asyncio.Task[tuple[int, str, Any]]]] = []
        for name, user in USERS.items():
            api.access.token(user, (), f"<token of {name}>")

    async def run(self) -> list[Outcome]:
        """Replay every entry that is not left out."""
        self.api.given.clock = lambda: self._time
        async with aiohttp.ClientSession(read_bufsize=2**20) as session:
            for file in dict.fromkeys(entry.file for entry in self.entries):
                await self._run_file([entry for entry in self.entries if entry.file == file], session)
        return self.outcomes

    async def _run_file(self, found: list[Entry], session: aiohttp.ClientSession) -> None:
        self._waiting = [entry for entry in found if entry.is_watch and entry.label not in self.left_out]
        self._waiting.sort(key=lambda entry: entry.opened_at)
        for entry in found:
            await self._open_due(session)
            await self._write_states(max(self._top(entry), REACHED.get(entry.label, 0) + 1), session)
            if entry.label in self.left_out:
                self._follow(entry)
            if entry.is_watch or entry.label in self.left_out:
                continue
            self._set_up(entry)
            self._prepare(entry)
            before = self.api.store.version
            self.outcomes.append(Outcome(entry, differs(entry, *await self._ask(entry, session))))
            if entry.request["method"] == "DELETE":
                self._forget_gap(entry, before)
        shown = [int(line["object"]["metadata"].get("resourceVersion", 0)) for entry in found for line in entry.lines]
        await self._open_due(session)
        await self._write_states(max(shown, default=0) + 1, session)
        for entry, task in self._watches:
            self.outcomes.append(Outcome(entry, differs(entry, *await task)))
        self._watches = []

    async def _open_due(self, session: aiohttp.ClientSession) -> None:
        while self._waiting and self._waiting[0].opened_at <= self.api.store.version:
            await self._open(self._waiting.pop(0), session)

    def _top(self, entry: Entry) -> int:
        """Return the resourceVersion below which everything had happened when the entry was answered."""
        found = versions(entry.response.get("body"))
        return max(found, default=0) + (0 if entry.is_write else 1)

    async def _open(self, entry: Entry, session: aiohttp.ClientSession) -> None:
        task = asyncio.ensure_future(self._ask(entry, session))
        self._watches.append((entry, task))
        for _ in range(10):
            await asyncio.sleep(0.01)

    async def _write_states(self, top: int, session: aiohttp.ClientSession) -> None:
        while self._states and self._states[0].version < top:
            state = self._states.pop(0)
            kind = kind_named(state.object["apiVersion"], state.object["kind"])
            metadata = state.object["metadata"]
            key = Key(kind.group, kind.plural, metadata.get("namespace", ""), metadata["name"])
            if state.version > self.api.store.version:
                self.api.store.version = state.version - 1
            stored = copy.deepcopy(state.object) | {"apiVersion": kind.api_version}
            if state.deleted and key in self.api.store.objects:
                self.api.store.remove(key)
            elif not state.deleted:
                self.api.store.put(key, stored)
            await self._open_due(session)

    def _follow(self, entry: Entry) -> None:
        """Let a pod go that an entry which is not replayed deletes at once."""
        request = entry.request
        if request["method"] == "DELETE" and "gracePeriodSeconds=0" in request["path"]:
            key = Key("", "pods", "llm", request["path"].partition("?")[0].rpartition("/")[2])
            self.api.store.objects.pop(key, None)

    def _set_up(self, entry: Entry) -> None:
        """Create the Service "rb", whose creation was not recorded, without taking a resourceVersion.

        The user "jailed" is throttled, as priority and fairness did while the transcript was recorded.
        """
        if entry.request["user"] == "jailed":
            self.api.faults.throttle("*", "*")
        if entry.file != "10-rbac" or self.api.get("v1", "Service", "rb", "llm"):
            return
        first = next(one for one in self.entries if one.label == "10-rbac/6 merge patch of a service - with the rule")
        shown = copy.deepcopy(first.response["body"])
        shown["spec"]["selector"] = {"app": "chat", "version": "v2"}
        version = self.api.store.version
        self.api.store.put(Key("", "services", "llm", "rb"), shown)
        self.api.store.version = version

    def _forget_gap(self, entry: Entry, before: int) -> None:
        """Take back the resourceVersions of deletions that no answer shows: the recording is numbered without them."""
        body = entry.response.get("body")
        listed = isinstance(body, dict) and "items" in body
        if versions(body) and not listed:
            return
        self.api.store.version = before
        self.api.store.events = [one._replace(version=min(one.version, before)) for one in self.api.store.events]

    def _prepare(self, entry: Entry) -> None:
        body = entry.response.get("body")
        if entry.time:
            self._time = max(self._time, datetime.fromisoformat(entry.time))
        top = max([*versions(body), REACHED.get(entry.label, 0)])
        if top > self.api.store.version:
            self.api.store.version = top - 1 if entry.is_write and entry.request["method"] != "DELETE" else top
            if entry.request["method"] == "DELETE":
                self.api.store.version = top - 1
        if isinstance(body, dict):
            uid = body.get("metadata", {}).get("uid", "")
            address = (body.get("spec") or {}).get("clusterIP", "") if isinstance(body.get("spec"), dict) else ""
            self.api.given.uid, self.api.given.cluster_ip = lambda: uid, lambda: address
        if entry.request["user"] == "driver":
            self.api.access.rules[USERS["driver"].name] = rules_of(entry)

    async def _ask(self, entry: Entry, session: aiohttp.ClientSession) -> tuple[int, str, Any]:
        request = entry.request
        data = json.dumps(request["body"]) if "body" in request else request.get("body_text")
        headers = {"User-Agent": "fixture-recorder/1", **request["headers"]}
        timeout = aiohttp.ClientTimeout(total=HANG_S)
        skipped = () if "Content-Type" in headers else ("Content-Type",)
        url = self.api.url + request["path"]
        async with session.request(request["method"], URL(url, encoded=True), data=data, headers=headers,
                                   timeout=timeout, skip_auto_headers=skipped) as answer:  # fmt: skip
            if entry.is_watch:
                return answer.status, answer.reason or "", await _lines(entry, answer)
            text = await answer.text()
            try:
                return answer.status, answer.reason or "", json.loads(text)
            except ValueError:
                return answer.status, answer.reason or "", text


async def _lines(entry: Entry, answer: aiohttp.ClientResponse) -> list[Json]:
    """Return the lines of a watch: all of a short one, as many as recorded of a long one."""
    found: list[Json] = []
    span = re.search(r"timeoutSeconds=(\d+)", entry.request["path"])
    long = span is None or int(span[1]) > LONG_S
    while not (long and len(found) >= len(entry.lines)):
        line = await answer.content.readline()
        if not line:
            break
        found.append(json.loads(line))
    if long:
        answer.close()
    return found


def rules_of(entry: Entry) -> list[Rule]:
    """Return the rules that an entry of the RBAC transcript was answered under. "with the rule" in its name is one."""
    rules = []
    if not entry.name.endswith("without"):
        for part in (entry.rbac if not entry.name.startswith("SelfSubject") else "patch services").split(";"):
            verbs, _, resource = part.strip().partition(" ")
            name, _, group = resource.partition(" ")[0].partition(".")
            names = re.findall(r"'([^']+)'", resource)
            rules.append(Rule(verbs.split(","), [group], [name], names))
    return rules


def differs(entry: Entry, status: int, reason: str, body: Any) -> str:
    """Return how an answer differs from the recorded one, or ""."""
    recorded = entry.response
    wanted: Any = entry.lines if entry.is_watch else recorded.get("body", recorded.get("body_text"))
    if status != recorded["status"] or reason != recorded["reason"]:
        return f"answered {status} {reason}, not {recorded['status']} {recorded['reason']}: {str(body)[:300]}"
    if isinstance(body, str) and "watch=1" in entry.request["path"]:  # The recorder read lines there.
        body = body.rstrip("\n")
    return _difference(_unordered(wanted), _unordered(body), "")


def _unordered(found: Any) -> Any:
    """Return a Status with its causes in order: the real server lists them in the random order of a Go map."""
    causes = found.get("details", {}).get("causes") if isinstance(found, dict) and found.get("code") == 422 else None
    if not causes or len(causes) < 2:
        return found
    parts = sorted(found["message"].replace("[", "\n").replace("]", "\n").replace(", ", "\n").split("\n"))
    ordered = sorted(causes, key=lambda cause: (cause["field"], cause["message"]))
    return found | {"message": parts, "details": found["details"] | {"causes": ordered}}


def _difference(wanted: Any, got: Any, at: str) -> str:
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key in wanted.keys() | got.keys():
            if key not in got:
                return f"{at}.{key} is missing (recorded: {str(wanted[key])[:200]})"
            if key not in wanted:
                return f"{at}.{key} is not recorded: {str(got[key])[:200]}"
            if found := _difference(wanted[key], got[key], f"{at}.{key}"):
                return found
        return ""
    if isinstance(wanted, list) and isinstance(got, list):
        for index, (one, other) in enumerate(zip(wanted, got, strict=False)):
            if found := _difference(one, other, f"{at}[{index}]"):
                return found
        return "" if len(wanted) == len(got) else f"{at} has {len(got)} items, not {len(wanted)}"
    return "" if wanted == got and type(wanted) is type(got) else f"{at} is {str(got)[:300]}, not {str(wanted)[:300]}"
