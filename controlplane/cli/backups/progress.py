"""Progress of long work: a line that is drawn again on a terminal, a plain line every ten seconds when piped.

Programs get it as lines of JSON on stderr, where the result is JSON on stdout.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from controlplane.backup.tally import Tally
from controlplane.cli.render import JSON, YAML, is_terminal, say, size, tell, took
from controlplane.cli.screens.screen import Footer

DRAWN_EVERY_S: Final = 0.5
TOLD_EVERY_S: Final = 10.0


def progress_line(tally: Tally, elapsed_s: float) -> str:
    """Return a line such as `41 %  1.2 of 2.9 GiB  310 MiB/s  6 s left`."""
    done, total = tally.done, tally.bytes
    if not total:
        return f"looking at files for {took(elapsed_s)}"
    rate = done / elapsed_s if elapsed_s > 0 else 0.0
    left = f"{took((total - done) / rate)} left" if rate else "time left not known yet"
    share = min(1.0, done / total)
    return f"{share:.0%}  {size(done)} of {size(total)}  {rate / (1 << 20):.0f} MiB/s  {left}"


@contextmanager
def told_when_interrupted(words: str) -> Iterator[None]:
    """Print what Ctrl-C during the block leaves behind, and pass the KeyboardInterrupt on."""
    try:
        yield
    except KeyboardInterrupt:
        tell("  ", words, sys.stderr)
        raise


@contextmanager
def shown(tally: Tally, output: str = "table", clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Show the progress of the block, from a thread of its own. `output` is the format of the block's result.

    With json and yaml a line on stderr is `{"done": BYTES, "bytes": BYTES, "files": COUNT}`; `bytes` is 0 until the
    files of the source are known.
    """
    program = output in (JSON, YAML)
    terminal, ended, began = is_terminal(sys.stdout) and not program, threading.Event(), clock()
    footer = Footer()

    def draw() -> None:
        while not ended.wait(DRAWN_EVERY_S if terminal else TOLD_EVERY_S):
            if program:
                print(json.dumps({"done": tally.done, "bytes": tally.bytes, "files": tally.files}), file=sys.stderr)
                continue
            line = progress_line(tally, clock() - began)
            footer.draw([line]) if terminal else say(line)

    thread = threading.Thread(target=draw, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        footer.erase()
