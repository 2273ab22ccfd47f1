"""Creates and updates the dashboards in a running Grafana, by uid, through its HTTP API.

Grafana changes what it stores: it adds `id` and `version`, and newer releases raise the schema. So a dashboard is
unchanged if it is equal without these two, or if the last version in its history is one that we wrote with the same
content: the message of each version that is written ends with a digest of the content.

A dashboard with our uid that no push and no file of ours made is somebody else's, and is not touched. One that has the
tag of another fleet is that fleet's: two fleets would overwrite each other at every push.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from dashboards.errors import DashboardRefused, GrafanaError, GrafanaUnreachable
from dashboards.settings import FLEET_TAG, GENERATED, Settings
from dashboards.text import difference, text_of

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 16 * 2**20
"""Longest answer that is read. Chosen: our largest dashboard takes 0.1 MB."""
_WRITTEN = "controlplane dashboards push "
"""Beginning of the message of each version that a push wrote."""
_VERSIONS = 50
"""Newest versions of a dashboard among which a push is looked for. Grafana keeps 20 unless it is told otherwise."""
_GRAFANAS = frozenset({"id", "version", "iteration"})
"""Fields of a dashboard that Grafana sets."""


class Fate(StrEnum):
    """Fate of a dashboard in a push."""

    CREATE = "create"
    UPDATE = "update"
    SAME = "same"


@dataclass(frozen=True)
class Change:
    """Change that a push would make to one dashboard. `diff` is a unified diff; "" where nothing changes."""

    uid: str
    title: str
    fate: Fate
    diff: str
    dashboard: Mapping[str, Any]
    folder: str
    """Uid of the folder that it is in, wherever people moved it; "" is Grafana's own folder of no name."""
    version: int | None
    """Version that the diff was made against. A push is refused if another one came meanwhile."""


class Grafana:
    """A Grafana that is asked with a token of a service account."""

    def __init__(self, url: str, token: str, ca_file: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`url`: Grafana's address with its path, if it has one. `timeout_s`: also for a whole answer.

        Raises GrafanaError for a wrong address or file.
        """
        self._url, self._timeout_s = _address(url), timeout_s
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        try:
            self._trust = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise GrafanaError(f"{ca_file}: cannot be read: {error.strerror or error}") from error

    def change(self, dashboard: Mapping[str, Any], folder_uid: str) -> Change:
        """Return what a push would do with a dashboard; a new one goes into a folder. Raises GrafanaError.

        Raises DashboardRefused for one that a push must not change: a provisioned one, and one of others.
        """
        uid, title = str(dashboard["uid"]), str(dashboard["title"])
        names = f"grafana/{uid}", f"generated/{uid}"
        found = self._ask("GET", f"/api/dashboards/uid/{uid}", absent=True)
        if found is None:
            diff = difference("", text_of(dashboard), *names)
            return Change(uid, title, Fate.CREATE, diff, dashboard, folder_uid, None)
        there, meta = _fields(found, "dashboard"), _fields(found, "meta")
        self._refuse(uid, dashboard, there, meta)
        version = there.get("version")
        same = _content(there) == _content(dashboard) or self._wrote_last(uid, dashboard)
        diff = "" if same else difference(text_of(_content(there)), text_of(_content(dashboard)), *names)
        known = version if isinstance(version, int) else None
        folder = meta.get("folderUid")
        fate = Fate.SAME if same else Fate.UPDATE
        return Change(uid, title, fate, diff, dashboard, folder if isinstance(folder, str) else "", known)

    def push(self, change: Change) -> None:
        """Create or update a dashboard. Does nothing for one that is the same. Raises GrafanaError."""
        if change.fate is Fate.SAME:
            return
        body = {
            "dashboard": {**change.dashboard, "id": None, "version": change.version or 0},
            "folderUid": change.folder,
            "message": _message(change.dashboard),
            "overwrite": False,
        }
        self._ask("POST", "/api/dashboards/db", body)

    def make_folder(self, settings: Settings) -> None:
        """Make the dashboards' folder if it is absent. Raises GrafanaError."""
        if self._ask("GET", f"/api/folders/{settings.folder_uid}", absent=True) is None:
            self._ask("POST", "/api/folders", {"uid": settings.folder_uid, "title": settings.folder_title})

    def _refuse(
        self, uid: str, dashboard: Mapping[str, Any], there: Mapping[str, Any], meta: Mapping[str, Any]
    ) -> None:
        """Raise DashboardRefused, with the cure, for a dashboard in Grafana that a push must not change."""
        title = f"{there.get('title') or 'a dashboard without a title'} ({uid})"
        if meta.get("provisioned"):
            raise DashboardRefused(
                title,
                "is provisioned from a file, and Grafana refuses to change it: write the files again with "
                "`dashboards generate`, or remove the provider",
            )
        if GENERATED not in _tags(there) and not self._wrote_once(uid):
            raise DashboardRefused(
                title,
                "was made by somebody else and has the uid of a generated dashboard, and is left as it is: give that "
                f'one another uid, or make a set with other uids with --set NAME. The tag "{GENERATED}" on it says '
                "that it may be overwritten",
            )
        theirs, ours = _fleet(there), _fleet(dashboard)
        if theirs and ours != theirs:
            has = f'has the limits of the fleet "{theirs}"'
            anyway = f'remove the tag "{FLEET_TAG}{theirs}" in Grafana'
            if not ours:
                raise DashboardRefused(
                    title,
                    f"{has}, and these dashboards are of no fleet: name the fleet.yaml of that fleet with -c, or make "
                    f"a set of its own with --set NAME. If they are to be of no fleet, {anyway}",
                )
            raise DashboardRefused(
                title,
                f'{has}, and fleet.yaml is of the fleet "{ours}": make a set of its own for each of them with '
                f"--set NAME. If the fleet was renamed, {anyway}",
            )

    def _wrote_last(self, uid: str, dashboard: Mapping[str, Any]) -> bool:
        """Return whether the newest version in the history is this content, written by a push."""
        return self._messages(uid, 1) == [_message(dashboard)]

    def _wrote_once(self, uid: str) -> bool:
        """Return whether a push wrote one of the newest versions in the history."""
        return any(message.startswith(_WRITTEN) for message in self._messages(uid, _VERSIONS))

    def _messages(self, uid: str, most: int) -> list[str]:
        """Return the messages of a dashboard's newest versions, the newest first."""
        found = self._ask("GET", f"/api/dashboards/uid/{uid}/versions?limit={most}", absent=True)
        # Grafana 11 wraps the list; 10 does not.
        versions = found.get("versions") if isinstance(found, dict) else found
        named = [v.get("message") for v in versions if isinstance(v, dict)] if isinstance(versions, list) else []
        return [message if isinstance(message, str) else "" for message in named]

    def _ask(self, method: str, path: str, body: Any = None, *, absent: bool = False) -> Any:
        """Return an answer's JSON. With `absent`, None for a 404. Raises GrafanaError."""
        try:
            answer, text = asyncio.run(self._exchange(method, path, body))
        # UnicodeError: the resolver refuses a host such as `a..b`.
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError) as error:
            late = isinstance(error, httpx.TimeoutException | TimeoutError)
            why = "it did not answer in time" if late else str(error)
            raise GrafanaUnreachable(
                f"Grafana at {self._url} cannot be reached: {why or type(error).__name__}"
            ) from error
        if answer.status_code == 404 and absent and "json" in answer.headers.get("content-type", ""):
            return None
        return self._read(answer, text, f"{method} {path.partition('?')[0]}")

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[httpx.Response, bytes]:
        """Return an answer and its body. The deadline holds for all of it, however slowly its bytes come."""
        async with (
            asyncio.timeout(self._timeout_s),
            httpx.AsyncClient(
                headers=self._headers, timeout=self._timeout_s, verify=self._trust, trust_env=False
            ) as client,
            client.stream(method, self._url + path, json=body) as answer,
        ):
            return answer, await _bounded(answer)

    def _read(self, answer: httpx.Response, text: bytes, asked: str) -> Any:
        """Return the JSON of an answer with status 200. Raises GrafanaError, with the cure for its status."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if answer.status_code == 200 and isinstance(found, dict | list):
            return found
        said = found.get("message") if isinstance(found, dict) else None
        cure = _CURES.get(answer.status_code, "")
        if found is None or answer.is_redirect:
            cure = f"is {self._url} the address of Grafana, with its path?"
        if answer.is_redirect:
            cure = f"it sends on to {answer.headers.get('location', '')[:200]}; {cure}"
        told = f": {said}" if isinstance(said, str) and said else ""
        raise GrafanaError(
            f"Grafana answered {answer.status_code} to {asked}{told[:300]}" + (f"; {cure}" if cure else "")
        )


_CURES = {
    401: "give the token of a service account whose role is Editor",
    403: "the service account needs the role Editor, or the right to write dashboards and folders",
    409: "a folder with the same title has another uid: rename it, or make a set of its own with --set NAME",
    412: "somebody changed the dashboard meanwhile, or another one has its title in the folder: look at the diff again",
}


def _address(url: str) -> str:
    """Return an address that paths can be put behind. Raises GrafanaError, which does not show credentials."""
    if "@" in url:
        raise GrafanaError("the address of Grafana has credentials or an @: give it without, and the token beside it")
    if not url.lower().startswith(("http://", "https://")) or "?" in url or "#" in url:
        raise GrafanaError(f"{url}: expected the address of Grafana, such as https://grafana.example.org")
    return url.rstrip("/")


async def _bounded(answer: httpx.Response) -> bytes:
    """Return an answer's body. Raises GrafanaError for one that is too long."""
    found = bytearray()
    async for piece in answer.aiter_bytes():
        found += piece
        if len(found) > MAX_ANSWER_BYTES:
            raise GrafanaError(f"{answer.url.host} answered more than {MAX_ANSWER_BYTES} bytes: is it a Grafana?")
    return bytes(found)


def _fields(found: Any, name: str) -> Mapping[str, Any]:
    value = found.get(name) if isinstance(found, dict) else None
    if not isinstance(value, dict):
        raise GrafanaError(f"Grafana's answer has no {name}: is this Grafana older than 8, or another program?")
    return value


def _tags(dashboard: Mapping[str, Any]) -> list[str]:
    found = dashboard.get("tags")
    return [tag for tag in found if isinstance(tag, str)] if isinstance(found, list) else []


def _fleet(dashboard: Mapping[str, Any]) -> str:
    """Return the name of the fleet in a dashboard's tags, or ""."""
    return next((tag.removeprefix(FLEET_TAG) for tag in _tags(dashboard) if tag.startswith(FLEET_TAG)), "")


def _content(dashboard: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in dashboard.items() if name not in _GRAFANAS}


def _message(dashboard: Mapping[str, Any]) -> str:
    """Return the message of a version, with a digest of its content."""
    text = json.dumps(_content(dashboard), sort_keys=True)
    return f"{_WRITTEN}{hashlib.sha256(text.encode()).hexdigest()[:16]}"
