"""Settings of Python's interpreter for a process of many long-lived objects, an event loop and threads that calculate.

A fleet of 2,000 targets has millions of names, labels and layouts. A full collection looks at each of them, while no
thread runs: that was a stall of some 0.2 s, ever again. What has survived a full collection is set aside, so that the
next one looks only at what came since. Once a day it looks at everything, for cycles that have died meanwhile.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

THRESHOLDS = (5_000, 8, 320)
"""Allocations between collections of the youngest objects; those between collections of the second and third age.

With Python's own (700, 10, 10), the search for cycles took a tenth of the CPU time of 300 targets, and scrapes make few
cycles. No thread runs during a search. With (20_000, 8, 80) those of the first two ages took up to 40 and 70 ms of CPU
at 2,000 targets, with a quarter of it up to 9 and 34 ms. Full searches are as rare.
"""
SWITCH_S = 0.0005
"""Seconds for which a thread keeps the interpreter while another waits. Python's own 0.005 let the event loop wait for
several threads of 5 ms each, whenever a read of a socket had released the interpreter: of 2,000 targets, its stalls of
more than 0.1 s came to 7.7 s in two and a half minutes, and to 4.5 s with this.
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


def set_up_interpreter() -> Callable[[], None]:
    """Set up the interpreter of this process. Return what undoes it."""
    before, callback, switch_s = gc.get_threshold(), SetAside(), sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(callback)

    def undo() -> None:
        gc.callbacks.remove(callback)
        gc.set_threshold(*before)
        sys.setswitchinterval(switch_s)
        gc.unfreeze()

    return undo
