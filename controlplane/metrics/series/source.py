"""Who writes to a series store: one target, one rule."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.samples import Layout
from controlplane.metrics.storage.block import Block

RULES = "rule:"
"""Begins the source names of rules; the rule's id follows."""
WRITTEN = "write:"
"""Begins the source names of what others write to us."""
RECORDED = (RULES, "ledger:")
"""Prefixes of sources whose series are recorded, not scraped: few, and kept longer."""


@dataclass
class SeriesSource:
    """One writer: its current layout, and a block for each layout that it ever had and that still has rows."""

    name: str
    layout: Layout | None = None
    current: Block | None = None
    blocks: dict[bytes, Block] = field(default_factory=dict)
    """By the layout's digest."""
    last_ms: int | None = None
    """Of this era's rows; of what an earlier one left, what lies before this one's begin."""
    ended: bool = False
    refused: int = 0
    """Series of the current layout that a limit kept out."""

    @property
    def recorded(self) -> bool:
        """Whether its series are kept longer."""
        return self.name.startswith(RECORDED)
