"""Settings of Python's garbage collector for a process of many long-lived objects.

A fleet of 2,000 targets has millions of names, labels and layouts. A full collection looks at each of them, while no
thread runs: that was a stall of some 0.2 s, ever again. What has survived a full collection is set aside, so that the
next one looks only at what came since. Once a day it looks at everything, for cycles that have died meanwhile.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

THRESHOLDS = (20_000, 25, 25)
"""Allocations between collections of the youngest objects; those between collections of the second and third age.

With Python's own (700, 10, 10), the search for cycles took a tenth of the CPU time of 300 targets, and scrapes make few
cycles. A smaller second age is searched sooner, but cycles then outlive it and wait for a full collection: with
(20_000, 5, 125), 2,000 targets took 1.0 GiB in place of 0.65.
"""
WHOLE_S = 86_400.0
"""Seconds after which a full collection looks at everything again. Chosen: a stall of a tenth of a second a day."""


class SetAside:
    """Sets aside what survives a full collection. Call it from `gc.callbacks`, in any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._whole_at = monotonic, monotonic()

    def __call__(self, phase: str, info: Mapping[str, Any]) -> None:
        """Take the start or the stop of a collection."""
        if info["generation"] != len(THRESHOLDS) - 1:
            return
        if phase == "stop":
            gc.freeze()  # all that is left is in use: nothing that could be freed is set aside
        elif self._monotonic() - self._whole_at >= WHOLE_S:
            self._whole_at = self._monotonic()
            gc.unfreeze()


def set_up_collector() -> Callable[[], None]:
    """Set up the collector of this process. Return what undoes it."""
    before, callback = gc.get_threshold(), SetAside()
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(callback)

    def undo() -> None:
        gc.callbacks.remove(callback)
        gc.set_threshold(*before)
        gc.unfreeze()

    return undo
