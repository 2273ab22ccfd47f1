"""Transcripts of a real kube-apiserver: their entries, and the states of objects that they show."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]

FIXTURES = Path(__file__).parents[3] / "fixtures" / "kubernetes"
_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_TIME = re.compile(r'"(?:time|creationTimestamp|deletionTimestamp)": "(2026-02-\d\dT\d\d:\d\d:\d\dZ)"')
EARLY_MS = 500
"""Milliseconds after its start within which a watch tells what was there before it."""


class Entry(NamedTuple):
    """One recorded exchange."""

    file: str
    number: int
    name: str
    rbac: str
    request: Json
    response: Json

    @property
    def label(self) -> str:
        """Where the entry is and what it is called, for example "04-httproute/12 weight as text"."""
        return f"{self.file}/{self.number} {self.name}"

    @property
    def is_write(self) -> bool:
        """Whether the request changed something: its answer shows what it wrote."""
        return self.request["method"] in _WRITES and self.response.get("status") in (200, 201)

    @property
    def is_watch(self) -> bool:
        """Whether the answer is a stream of lines."""
        return "lines" in self.response and self.response.get("status") == 200

    @property
    def lines(self) -> list[Json]:
        """The recorded lines of a watch."""
        return [json.loads(one["line"]) if isinstance(one["line"], str) else one["line"] for one in self._raw_lines]

    @property
    def opened_at(self) -> int:
        """The resourceVersion up to which a watch told what was there when it began."""
        early = [
            line["object"]["metadata"]
            for one, line in zip(self._raw_lines, self.lines, strict=True)
            if one["t_ms"] < EARLY_MS and line["type"] == "ADDED"
        ]
        found = [int(one["resourceVersion"]) for one in early]
        return max(found, default=0) if self.file.startswith("08") else next(iter(found), 0)

    @property
    def time(self) -> str:
        """The latest time in the answer, or "" for none."""
        text = json.dumps(self.response)
        # The deletionTimestamp of a pod lies in the future, after its grace period.
        found = _TIME.findall(text if '"Pod' not in text else text.replace('"deletionTimestamp"', '""'))
        return max(found, default="")

    @property
    def _raw_lines(self) -> list[Json]:
        return list(self.response.get("lines", []))


class State(NamedTuple):
    """One state of an object that a recording shows. `deleted` is its end."""

    version: int
    object: Json
    deleted: bool


def entries(file: str) -> list[Entry]:
    """Return the entries of one transcript."""
    found = json.loads((FIXTURES / f"{file}.json").read_text())["entries"]
    return [
        Entry(file, index, one["name"], one.get("rbac", ""), one["request"], one["response"])
        for index, one in enumerate(found)
        if "request" in one
    ]


def versions(found: Any) -> list[int]:
    """Return the resourceVersions of an answer's objects."""
    held = [found] + (found.get("items") or []) if isinstance(found, dict) else []
    texts = [one.get("metadata", {}).get("resourceVersion", "") for one in held if isinstance(one, dict)]
    return [int(text) for text in texts if text]


def states(all_entries: list[Entry]) -> list[State]:
    """Return the states that no recorded request wrote: the work of controllers and of the recorder's setup."""
    written = {
        (one.response["body"]["metadata"].get("uid"), version)
        for one in all_entries
        if one.is_write and isinstance(one.response.get("body"), dict) and "dryRun" not in one.request["path"]
        for version in versions(one.response["body"])
    }
    scaled = {version for one in all_entries if "/scale" in one.request["path"] and one.is_write
              for version in versions(one.response["body"])}  # fmt: skip
    found: dict[tuple[str, int], State] = {}
    for entry in all_entries:
        for one, deleted in _shown(entry):
            metadata = one["metadata"]
            version = int(metadata.get("resourceVersion") or 0)
            key = (metadata.get("uid", ""), version)
            if key not in written and version not in scaled and version and metadata.get("uid"):
                found[key] = State(version, one, deleted)
    return sorted(found.values(), key=lambda state: state.version)


def _shown(entry: Entry) -> list[tuple[Json, bool]]:
    if entry.is_watch and not any("Partial" in line["object"]["kind"] for line in entry.lines):
        lines = [line for line in entry.lines if line["type"] in ("ADDED", "MODIFIED", "DELETED")]
        ours = f"/{entry.request['path']}"
        # An object that leaves a selector is DELETED for its watch, but not gone.
        return [(line["object"], line["type"] == "DELETED") for line in lines if "cut" not in ours]
    body = entry.response.get("body")
    if entry.request["method"] != "GET" or not isinstance(body, dict) or entry.response.get("status") != 200:
        return []
    if "items" in body and body["kind"].endswith("List") and not body["kind"].startswith("Partial"):
        whole = {"kind": body["kind"].removesuffix("List"), "apiVersion": body["apiVersion"]}
        return [(whole | one, False) for one in body["items"]]
    if body.get("kind") in ("Scale", "Table", "PartialObjectMetadata", "APIVersions") or "metadata" not in body:
        return []
    return [(body, False)] if body["metadata"].get("resourceVersion") else []
