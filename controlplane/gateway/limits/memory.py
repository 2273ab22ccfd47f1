"""The layout of the shared memory: which number is where. Every number is a float64, or an int64 where it says so.

    header     HEADER numbers: the layout, the number of columns in use, the epochs of the locks
    slots      SLOTS records of SLOT numbers: one limit each, written under the lock of its stripe
    columns    COLUMNS x SLOTS records of CELL numbers: what one worker holds and has settled of one limit

Only the worker of a column writes its cells, without a lock. Therefore a settlement needs no lock, and a worker that
was killed leaves exactly what its cells hold: the supervisor sets that to zero. Totals that were settled only rise; the
next reservation, or the supervisor within a second, adds their rise to the slot (`Gauge.fold`).
"""

from __future__ import annotations

from controlplane.gateway.errors import GatewayError
from controlplane.gateway.seams import COLUMNS, Area

LAYOUT = 1
"""Number of this layout. A gateway never maps memory of another layout."""
SLOTS = 16_384
MOST_LIMITS = SLOTS // 2
"""Most limits at once. Half of the slots stay free, so that a search ends soon (`directory.py`)."""

HEADER = 1024
AT_LAYOUT = 0
AT_COLUMNS = 1
"""1 + the highest column that was ever in use."""
AT_CHANGES = 2
"""Number of changes of the directory and of the columns in use. Workers then look their slots up again."""
AT_UNLOCKED = 3
"""Number of updates that went on without a lock, after every try of `locks.py` failed."""
AT_EPOCHS = 64
"""Epochs of the stripes of locks."""

SLOT = 32
"""Numbers of a slot. The first three are int64."""
DIGEST_HIGH, DIGEST_LOW, STATE = 0, 1, 2
GENERATION = 3
"""Number of times that the slot was allotted. A worker that knows another number leaves the slot alone."""
WITHHELD = 4
"""1 - this gateway's share, for requests, tokens and concurrency. Zero in fresh memory: the whole limit."""
WITHHELD_BUDGETS = 5
"""The same for each of the four budgets, in the order of BUDGETS."""
REQUESTS_USED, REQUESTS_AT = 9, 10
"""Requests of the bucket that are used, and the monotonic time at which they were. They drain at the limit's rate."""
TOKENS_USED, TOKENS_AT = 11, 12
DAY, MONTH = 13, 14
"""Periods that the budgets count: days since 1970, and months since year 0, UTC."""
SPENT = 15
"""Amount spent in the period, of each budget in the order of BUDGETS. Money in millionths of a US dollar."""
SEEN_TOKENS, SEEN_MONEY, SEEN_RETURNED = 19, 20, 21
"""Sums over the columns that the slot contains already."""
WANTED_REQUESTS, WANTED_TOKENS = 22, 23
"""Requests and tokens that clients wanted, refused ones included. Counted only where gateways share the limit."""

CELL = 8
OPEN = 0
"""Open requests."""
PENDING_TOKENS, PENDING_MONEY = 1, 2
"""Used by all requests of the column so far, and set aside for the open ones: a settlement is one write."""
SETTLED_TOKENS, SETTLED_MONEY = 3, 4
"""Used by all requests of the column so far."""
RETURNED_TOKENS = 5
"""Tokens that were set aside and not used, of all requests of the column so far. Falls where more was used."""

BUDGETS = ("daily_tokens", "monthly_tokens", "daily_usd", "monthly_usd")
"""Fields of LimitSpec that are budgets."""
MILLION = 1_000_000.0
"""Money is counted in millionths of a US dollar: tokens x (US dollars a million tokens)."""

AT_SLOTS = HEADER
AT_CELLS = HEADER + SLOTS * SLOT
AREA_BYTES = 8 * (AT_CELLS + COLUMNS * SLOTS * CELL)
"""Size of the area. Memory that nobody touched costs nothing: a limit costs 256 bytes, and 64 for each worker."""

EMPTY, USED, FREED = 0, 1, 2
"""States of a slot. FREED keeps a search going that the slot is in the way of."""


class Memory:
    """The area, as numbers. Raises GatewayError when the area is too small or has another layout."""

    __slots__ = ("area", "floats", "ints")

    def __init__(self, area: Area) -> None:
        if len(area.view) < AREA_BYTES:
            raise GatewayError(f"the limits' memory has {len(area.view)} bytes instead of {AREA_BYTES}")
        self.area = area
        self.floats = area.view[:AREA_BYTES].cast("d")
        self.ints = area.view[:AREA_BYTES].cast("q")
        layout = self.floats[AT_LAYOUT]
        if layout not in (0.0, float(LAYOUT)):
            raise GatewayError(f"the limits' memory has layout {layout:g}; this release reads {LAYOUT}")
        self.floats[AT_LAYOUT] = float(LAYOUT)

    def slot(self, number: int) -> int:
        """Return the place of a slot's first number."""
        return AT_SLOTS + number * SLOT

    def cell(self, column: int, number: int) -> int:
        """Return the place of the first number of a slot's cell in a column."""
        return AT_CELLS + (column * SLOTS + number) * CELL

    def over_columns(self, number: int, field: int, columns: int) -> slice:
        """Return the slice that has one field of a slot's cell in each of the first columns."""
        start = self.cell(0, number) + field
        return slice(start, start + columns * SLOTS * CELL, SLOTS * CELL)

    def only_place(self, number: int, field: int, columns: int) -> int:
        """Return the place of the field that is the whole sum while one column is in use, or 0 with more columns.

        A sum of one number takes five times as long as the number, and a gateway has one worker often.
        """
        return self.cell(0, number) + field if columns == 1 else 0

    def columns(self) -> int:
        """Return the number of columns that may hold something."""
        return int(self.floats[AT_COLUMNS])

    def use_column(self, column: int) -> None:
        """Make sums include a column. Called under the lock of the directory."""
        if self.floats[AT_COLUMNS] <= column:
            self.floats[AT_COLUMNS] = float(column + 1)
            self.floats[AT_CHANGES] += 1.0
