"""llama.cpp's server: its page of metrics, and the states of its models.

A server with several models (a router) has no page of its own, and `/metrics?model=X` loads X. Its models are listed by
GET /models. Only the pages of loaded models are read, with `autoload=false`: a model that was unloaded in between is
then refused, not loaded again. A read of a page counts as a request: it wakes a server that sleeps, and starts its
--sleep-idle-seconds anew. So a sleeping server is not read, nor is a router's model that may sleep.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import aiohttp
from yarl import URL

from collectors.errors import ScrapeError, ScrapeTimeout, Unreachable
from collectors.http.fetch import HttpSource, translated
from collectors.http.http_client import exposition_of
from collectors.http.server_api import ServerApi
from collectors.status.families import states
from collectors.status.fields import entries, text
from collectors.status.source import StatusSource
from collectors.target import Auth

PROPS, MODELS, METRICS = "/props", "/models", "/metrics"
STATES = ("loaded", "loading", "sleeping", "unloaded", "failed")
_SLEEP_TIMER = "--sleep-idle-seconds"
_OK = 200
_CHILDREN_SHARE = 0.8
"""Share of the deadline for the pages of a router's models. A model that does not answer does not hide the others."""
_SHOWN = 5
"""Models that a remark names."""
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?(?P<value>[ \t]+\S.*)")


class LlamaCppSource:
    """Implements collectors.target.Source for one server. `url` is that of its metrics, or of its /props.

    With `/props` only the state is read, so that a server with --sleep-idle-seconds can fall asleep. `model=X` in the
    query limits the pages of a router to those of X. Raises Unreachable for a URL that cannot be used.
    """

    def __init__(self, url: str, auth: Auth | None = None, *, max_body_bytes: int = 16 * 2**20) -> None:
        try:
            parsed = URL(url)
        except ValueError as error:
            raise Unreachable("not a usable URL") from error
        only = parsed.query.get("model")
        prefix = parsed.raw_path.removesuffix(METRICS).removesuffix(PROPS)
        base = parsed.with_path(prefix or "/", encoded=True, keep_query=True).without_query_params("model")
        self._reader = LlamaCppReader(only, pages=not parsed.path.endswith(PROPS))
        self._status = StatusSource(self._reader, ServerApi(str(base), auth, max_body_bytes))
        page = url if only is None else str(parsed.update_query(autoload="false"))
        self._page = HttpSource(page, auth, max_body_bytes=max_body_bytes)

    @property
    def remark(self) -> str:
        """The reader's remark."""
        return self._reader.remark

    async def read(self, timeout_s: float) -> bytes:
        """Return the page of a server with one model and its state, or the pages and states of a router's models.

        Raises ScrapeTimeout at the deadline, and other ScrapeErrors.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        state = await self._status.read(timeout_s)
        if self._reader.complete:
            return state
        if (left := until - loop.time()) <= 0:
            raise ScrapeTimeout(f"timed out after {timeout_s:g}s (asking {METRICS})")
        return state + await self._page.read(left)

    async def close(self) -> None:
        """Close the connections."""
        await self._status.close()
        await self._page.close()


class LlamaCppReader:
    """Reads states, and a router's pages: those of the model `only`, of all if None, of none without `pages`."""

    def __init__(self, only: str | None, *, pages: bool) -> None:
        self._only, self._pages = only, pages
        self.remark = ""
        self.complete = False
        """Whether the last read has all there is: the server is a router, is asleep, or its page is not wanted."""

    async def read(self, api: ServerApi, timeout_s: float) -> bytes:
        """Return states and pages; nothing for a server that does not tell its state. Raises ScrapeError."""
        self.remark, self.complete = "", not self._pages
        reply = await api.ask("GET", PROPS)
        if self._pages and reply.status != _OK:  # of an older release, or not ready: its page says more
            return b""
        props = reply.json()
        props = props if isinstance(props, dict) else {}
        if props.get("role") == "router":
            self.complete = True
            return await self._router(api, timeout_s * _CHILDREN_SHARE)
        name = text(props.get("model_alias")) or text(props.get("model_path"))
        if name is None:
            return b""
        asleep = props.get("is_sleeping") is True
        self.complete = self.complete or asleep
        return exposition_of([states({name: "sleeping" if asleep else "loaded"}, STATES)])

    async def _router(self, api: ServerApi, limit_s: float) -> bytes:
        listed = entries(await api.get(MODELS), "data", MODELS, ("id",))
        found = {name: _state(entry.get("status")) for name, entry in listed.items()}
        awake = [name for name, state in found.items() if state == "loaded" and self._only in (None, name)]
        drowsy = [name for name in awake if _may_sleep(listed[name]["status"])]
        wanted = [name for name in awake if name not in drowsy] if self._pages else []
        pages = await asyncio.gather(*(_page(api, name, limit_s) for name in wanted))
        silent = [f"{name} ({fault})" for name, (_, fault) in zip(wanted, pages, strict=True) if fault]
        self.remark = _remark(silent, drowsy if self._pages else [])
        return exposition_of([states(found, STATES)]) + _joined([page for page, _ in pages if page])


async def _page(api: ServerApi, model: str, limit_s: float) -> tuple[list[str], str]:
    """Return the lines of a model's page with its name on each sample, or why there are none."""
    try:
        async with asyncio.timeout(limit_s):
            reply = await api.ask("GET", METRICS, [("model", model), ("autoload", "false")])
        return _labelled(reply.whole(), model), ""
    except TimeoutError:
        return [], "no answer in time"
    except ScrapeError as error:
        return [], str(error)
    except (aiohttp.ClientError, OSError) as error:
        return [], str(translated(error))


def _labelled(page: bytes, model: str) -> list[str]:
    escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    label = f'served_model="{escaped}"'
    lines = []
    for line in page.decode("utf-8", "replace").split("\n"):
        if sample := _SAMPLE.fullmatch(line.rstrip("\r")):
            labels = f"{sample['labels']},{label}" if sample["labels"] else label
            lines.append(f"{sample['name']}{{{labels}}}{sample['value']}")
        elif line.startswith("#"):
            lines.append(line)
    return lines


def _joined(pages: list[list[str]]) -> bytes:
    """Return the pages as one: comments once."""
    seen: set[str] = set()
    lines = []
    for page in pages:
        for line in page:
            if not line.startswith("#") or line not in seen:
                seen.add(line)
                lines.append(line)
    return "".join(f"{line}\n" for line in lines).encode()


def _state(status: Any) -> str:
    if not isinstance(status, dict):
        return "unknown"
    if status.get("failed") is True:
        return "failed"
    return text(status.get("value")) or "unknown"


def _may_sleep(status: dict[str, Any]) -> bool:
    arguments = status.get("args")
    return isinstance(arguments, list) and _SLEEP_TIMER in arguments


def _remark(silent: list[str], drowsy: list[str]) -> str:
    sentences = []
    if silent:
        sentences.append(f"no numbers of {_few(silent)}")
    if drowsy:
        sentences.append(f"the numbers of {_few(drowsy)} are not read: that would keep it awake ({_SLEEP_TIMER})")
    return "; ".join(sentences)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
