"""Reads contents in this process, from real folders, and misbehaves as a test wants."""

from __future__ import annotations

import asyncio
from pathlib import Path

from controlplane.backup.content.reading import Content, Reading, read_content
from controlplane.errors import ControlPlaneError


class InProcessReader:
    """A reader of contents without child processes."""

    def __init__(self) -> None:
        self.read_paths: list[Path] = []
        self.faults: dict[Path, ControlPlaneError] = {}
        self.hangs: set[Path] = set()
        self.released = asyncio.Event()
        """Ends what hangs."""

    async def read(self, root: Path) -> Content:
        self.read_paths.append(root)
        if root in self.hangs:
            await self.released.wait()
        if root in self.faults:
            raise self.faults[root]
        return await asyncio.to_thread(read_content, root, Reading(pause=lambda _: None))
