"""`python -m tests.e2e.bad_day`: run the world until Ctrl-C, to look at it by hand."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import tempfile
import time
from pathlib import Path

from tests.e2e.bad_day.places import Size
from tests.e2e.bad_day.rows import TOKENS
from tests.e2e.bad_day.world import World


async def main() -> None:
    """Start the world, print its address and its tokens, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.bad_day", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:8090", help="address of the console")
    parser.add_argument("--folder", type=Path, help="empty folder for the data; default: a temporary one")
    for name, default in vars(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    try:
        size = Size(asked.models, asked.gpus, asked.targets, asked.alerts)
    except ValueError as error:
        parser.error(str(error))
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with contextlib.ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bad-day-")))
        folder.mkdir(exist_ok=True)
        began = time.monotonic()
        async with World(folder, size, asked.listen) as world:
            print(f"{world.url} after {time.monotonic() - began:.1f} s; data and log are in {folder}")
            for role, token in TOKENS.items():
                print(f"  {role.value:9} {token}")
            print("Press Ctrl-C to end it.", flush=True)
            await ended.wait()


asyncio.run(main())
