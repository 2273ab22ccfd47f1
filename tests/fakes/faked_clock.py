"""The environment of processes whose wall clock a test sets while they run, by libfaketime."""

from __future__ import annotations

from pathlib import Path

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
ROOT = Path(__file__).parents[2]


def environment(clock: Path) -> dict[str, str]:
    """Return the variables. The file `clock` holds the seconds by which the clock differs, such as +3600.

    A process reads it anew about every second. The monotonic clock stays as it is.
    """
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": f"{ROOT / 'tests' / 'fakes' / 'faketime'}:{ROOT}",
    }
