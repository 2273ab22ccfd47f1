"""What changed in fleet.yaml and in the files that it names."""

from __future__ import annotations

from pathlib import Path

from alerts.packs import rule_files
from controlplane.config.difference import AT_START
from controlplane.config.loader import LoadedFleet
from controlplane.config.model import Fleet


def stamps(loaded: LoadedFleet) -> dict[Path, tuple[int, int]]:
    """Return (mtime, size) of the configuration and of the rule files that it names. Blocking."""
    found = {}
    for path in (loaded.path, *rule_files(loaded.fleet.rules, loaded.path.parent)):
        try:
            status = path.stat()
        except OSError:
            found[path] = (0, 0)
        else:
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def changes(before: Fleet, after: Fleet, rules: bool) -> list[str]:
    """Return a sentence for each section that changed, and one for each that needs a restart."""
    sentences = ["the rules changed"] if rules else []
    for name in type(after).model_fields:
        if name != "rules" and getattr(before, name) != getattr(after, name):
            sentences.append(f"{name} changed" + (": takes effect at the next start" if name in AT_START else ""))
    return sentences or ["nothing changed"]
