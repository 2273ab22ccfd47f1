"""The verb that looks at a page of metrics: what it is, what the catalogue makes of it, and a draft of an entry."""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from controlplane.cli.errors import VerdictNegative, WrongUsage
from controlplane.cli.render import columns, emit, say, say_all

if TYPE_CHECKING:
    from collectors.catalogue.examine import Examination
    from collectors.catalogue.model import Catalogue

MAX_BYTES = 16 * 2**20
"""Most bytes of a page: the default of `scrape.max_body_bytes`."""
_ACTS = re.compile(
    r"(?:abort|clear|close|configure|delete|dump|flush|freeze|kill|load|open|quit|release|reload|reset|restart|resume|set"
    r"|shutdown|sleep|slow|start|stop|unload|update|wake)(?:[_-].*)?|perf_metrics|kv_cache_events"
)
"""Last parts of paths that engines are known to act on, or to forget something at, when they are read."""


def try_page(
    page: str,
    token_file: Path | None,
    ca_file: Path | None,
    insecure: bool,
    timeout: int,
    catalogue: Path | None,
    any_path: bool,
    output: str,
) -> None:
    """Read a page of metrics once, and say what it is and what the catalogue makes of it.

    Raises WrongUsage for a wrong address, file or catalogue, and VerdictNegative for a page that cannot be read.
    """
    from collectors.catalogue.examine import examine
    from collectors.catalogue.json_pages import json_page
    from collectors.errors import ExpositionError, ScrapeError

    known = _catalogue(catalogue)
    body = b""
    try:
        if "://" in page:
            url = _checked(page, any_path)
            body = asyncio.run(_read(url, token_file, ca_file, insecure, timeout))
        else:
            body = _file(Path(page))
        found = examine(body, known)
    except ExpositionError as error:
        words = json_page(body)
        raise VerdictNegative(f"{_shown(page)}: {f'the body is {words}' if words else error}") from error
    except ScrapeError as error:
        raise VerdictNegative(f"{_shown(page)}: {error}") from error
    emit(asdict(found), output, lambda: _print(_shown(page), found))


def _catalogue(path: Path | None) -> Catalogue:
    from collectors.catalogue.model import load_catalogue
    from collectors.errors import CatalogueError

    try:
        return load_catalogue(path)
    except CatalogueError as error:
        raise WrongUsage(str(error)) from error


def _checked(page: str, any_path: bool) -> str:
    """Return the address to read; without a path that of `/metrics`."""
    try:
        parts = urlsplit(page)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or not page.isprintable() or " " in page:
        raise WrongUsage("expected http://HOST:PORT/PATH, https://HOST:PORT/PATH or the path of a file")
    last = parts.path.rstrip("/").rpartition("/")[2]
    if _ACTS.fullmatch(last) and not any_path:
        raise WrongUsage(
            f"{_shown(page)} is not read: engines act on a path such as /{last}, or forget what was read. Name the"
            " page of metrics, or add --any-path"
        )
    return page if parts.path.strip("/") else parts._replace(path="/metrics").geturl()


async def _read(url: str, token_file: Path | None, ca_file: Path | None, insecure: bool, timeout_s: int) -> bytes:
    from collectors.http.fetch import HttpSource
    from collectors.target import Auth

    token, ca = (str(path.absolute()) if path else None for path in (token_file, ca_file))
    given = token or ca or insecure
    auth = Auth(credentials_file=token, ca_file=ca, insecure_skip_verify=insecure) if given else None
    source = HttpSource(url, auth, max_body_bytes=MAX_BYTES)
    try:
        return await source.read(timeout_s)
    finally:
        await source.close()


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # one byte too many is refused as too large
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise WrongUsage(f"{path}: cannot be read: {reason}; an address begins with http:// or https://") from error


def _shown(page: str) -> str:
    """Return an address without what may be a credential."""
    return re.sub(r"//.*@", "//…@", page).partition("?")[0] if "://" in page else page


def _print(page: str, found: Examination) -> None:
    say(f"{page}: {_verdict(found)}")
    if found.others:
        say(f"its page also has metrics of {' and '.join(found.others)}; of those only what {found.engine} maps counts")
    if found.metrics:
        rows = [[one.metric, one.type, str(one.series), one.value] for one in found.metrics]
        columns(["METRIC", "TYPE", "SERIES", "VALUE"], rows, "")
    if found.engine and found.missing:
        say(f"lacks what every installation of {found.engine} should expose: {', '.join(found.missing)}")
    if found.unknown_labels:
        say(f"unknown labels keep series apart: {'; '.join(found.unknown_labels)}")
    if found.draft:
        say("draft of an entry under engines: of collectors/catalogue/catalogue.yaml", sys.stderr)
        say_all(found.draft.splitlines())


def _verdict(found: Examination) -> str:
    counted = f"{found.samples} sample" if found.samples == 1 else f"{found.samples} samples"
    if found.engine:
        return f"{found.engine}, {counted}"
    if not found.samples:
        return "an empty page"
    if not found.looks_like:
        return f"no known engine, {counted} of nothing but its process: it may have just started"
    kind = "such as " if found.draft else "of "
    told = "" if found.draft else ": not a server of models"
    return f"no known engine, {counted}, with metrics {kind}{found.looks_like}{told}"
