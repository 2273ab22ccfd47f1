"""What of a file is in this process's memory."""

from __future__ import annotations

from pathlib import Path


def resident(path: Path) -> int:
    """Return the bytes of a mapped file that are in this process's memory (Linux)."""
    found = 0
    for mapping in Path("/proc/self/smaps").read_text().split("VmFlags:"):
        if str(path) in mapping:
            found += 1024 * int(mapping.partition("\nRss:")[2].split()[0])
    return found
