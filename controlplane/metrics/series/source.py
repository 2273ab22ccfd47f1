"""Sources of a series store. A source is one writer: a target, a rule, the ledger or another program."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.samples import Layout
from controlplane.metrics.storage.block import Block

RULES = "rule:"
"""Prefix of the sources of rules. The rule's id follows."""
WRITTEN = "write:"
"""Prefix of the sources of samples that other programs write."""
RECORDED = (RULES, "ledger:")
"""Prefixes of sources whose series are recorded, not scraped. They are few, and are kept longer."""


@dataclass
class SeriesSource:
    """One source: its current layout, and a block for each of its layouts that still has rows."""

    name: str
    layout: Layout | None = None
    current: Block | None = None
    blocks: dict[bytes, Block] = field(default_factory=dict)
    """Blocks by the layout's digest."""
    last_ms: int | None = None
    """Unix milliseconds of the last row of this era. If it has none, of the last earlier row before the era's begin."""
    ended: bool = False
    refused: int = 0
    """Number of series of the current layout that a limit refused."""

    @property
    def recorded(self) -> bool:
        """Whether the source's series are recorded, and so are kept longer."""
        return self.name.startswith(RECORDED)
