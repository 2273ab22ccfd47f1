"""Changes of fleet.yaml and of the files that it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from alerts.packs import rule_files
from alerts.texts.templates import template_files
from controlplane.config.difference import AT_NEXT_START, differences
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import Fleet

MAX_TOLD = 2000
"""Maximum number of characters of a reload's sentence in the audit trail. Chosen: a large edit fits."""
_SECTION = re.compile(r"[^.\[]+")


def stamps(loaded: LoadedFleet) -> dict[Path, tuple[int, int]]:
    """Return (mtime, size) of the configuration, and of the files it names: rule files, an `alertmanager.yml` and its
    templates. Blocking.
    """
    found = {}
    routes = loaded.fleet.notifications.alertmanager_config
    taken = (routes, *template_files(routes)) if routes else ()
    for path in (loaded.path, *taken, *rule_files(loaded.fleet.rules, loaded.path.parent)):
        try:
            status = path.stat()
        except OSError:
            found[path] = (0, 0)
        else:
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def told_as_one(sentences: Sequence[str]) -> str:
    """Return the sentences as one text for the audit trail, of at most MAX_TOLD characters."""
    text = "; ".join(sentences)
    return text if len(text) <= MAX_TOLD else f"{text[: MAX_TOLD - 1]}…"


def changes(before: Fleet, after: Fleet, taken: Sequence[str]) -> list[str]:
    """Return sentences: each changed section, the sentences of the parts (`taken`), and what needs a restart."""
    found = differences(before, after)
    now = dict.fromkeys(_SECTION.findall(c.field)[0] for c in found if c.effect != AT_NEXT_START)
    waiting = [change.field for change in found if change.effect == AT_NEXT_START]
    told = [f"{section} changed" for section in now]
    told += [*taken, *(f"{field} changed: takes effect at the next start" for field in waiting)]
    return told or ["nothing changed"]
