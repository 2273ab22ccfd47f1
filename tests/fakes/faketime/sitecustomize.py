"""What Python imports at its start in processes under libfaketime, where this folder is in PYTHONPATH.

libfaketime 0.9.10 fails every sleep until a moment of the monotonic clock with EINVAL when it leaves that clock alone,
and `time.sleep` is such a sleep: the first one that a program needs, such as at a lock that another process has, would
end it. A wait of `select` works.
"""

from __future__ import annotations

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select((), (), (), float(seconds))


time.sleep = _sleep
