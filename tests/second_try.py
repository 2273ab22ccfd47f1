"""A second try, alone, for tests that failed beside real servers and in real time: `python -m tests.second_try`.

Such a test meets a machine that is busy with other tests. One that fails alone as well is at fault, or the product is.
One that passes is named, so that someone looks for its cause. A test of `tests/unit` gets no second try: it waits for
nothing real. `make test-twice` asks for one only after a run that came to its end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
MOST = 5
"""Number of files with failures above which none is tried again. Chosen: a busy machine fails tests of one or two.
Tests of one file share servers and a browser, so that all may fail with them."""
REAL = ("contract", "e2e", "engines", "image", "scenario")
"""Folders of tests that use real servers or real time."""


def once_more(failed: Sequence[str], run: Callable[[Sequence[str]], int]) -> tuple[int, str]:
    """Return the exit code of the whole, and what to say, after a second try of the tests that `failed`.

    `run` runs tests by their names, alone, and returns pytest's exit code.
    """
    if not failed:
        return 1, "No second try: no test is known to have failed."
    if (files := len({name.partition("::")[0] for name in failed})) > MOST:
        return 1, f"No second try: tests of {files} files failed, more than {MOST}."
    if unreal := [name for name in failed if name.split("/")[1] not in REAL]:
        return 1, "No second try: these tests wait for nothing real:\n  " + "\n  ".join(unreal)
    if code := run(failed):
        return code, "The second try failed too."
    return 0, "UNSTEADY: these tests failed, and passed alone. Find out why:\n  " + "\n  ".join(failed)


def _alone(names: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *names], check=False).returncode


def main() -> int:
    """Try the failed tests of the last run again. Return the exit code."""
    failed = sorted(json.loads(LAST_FAILED.read_text())) if LAST_FAILED.exists() else []
    code, said = once_more(failed, _alone)
    print(said, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
