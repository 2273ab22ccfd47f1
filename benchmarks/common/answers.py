"""How long a server takes to answer, asked by a process of its own that no other work of the benchmark delays."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

import aiohttp

PAUSE_S = 0.05
LONG_S = 0.1
"""Seconds from which on an answer counts as a stall."""
SETTLE_S = 60.0
"""Seconds after the first question in which no stall counts: every series is new."""


class Answer(NamedTuple):
    """One answer: when it was asked for, in seconds after the first question, and how many seconds it took."""

    at: float
    took: float


@dataclass(frozen=True)
class Answers:
    """All answers of a run, in order."""

    all: list[Answer]

    @property
    def stalls(self) -> list[Answer]:
        """The answers after the first minute that took longer than LONG_S."""
        return [answer for answer in self.all if answer.at >= SETTLE_S and answer.took > LONG_S]

    def describe(self) -> str:
        """Return the figures in one sentence."""
        took = sorted(answer.took * 1000 for answer in self.all)
        return (
            f"{len(took)}, median {took[len(took) // 2]:.1f} ms, 99% within {took[len(took) * 99 // 100]:.0f} ms, "
            f"longest {took[-1]:.0f} ms; {len(self.stalls)} over {LONG_S * 1000:.0f} ms after the first minute"
        )


@contextmanager
def asked(address: str, path: str, found: list[Answer]) -> Iterator[None]:
    """Ask for `path` again and again while the block runs. Its end appends the answers to `found`."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_run, args=(f"http://{address}{path}", theirs), daemon=True)
    process.start()
    try:
        yield
        ours.send(None)
        found.extend(Answer(*answer) for answer in ours.recv())
    finally:
        process.terminate()
        process.join()


def _run(url: str, until: Connection) -> None:
    until.send(asyncio.run(_ask(url, until)))


async def _ask(url: str, until: Connection) -> list[tuple[float, float]]:
    answers: list[tuple[float, float]] = []
    begun = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        while not until.poll():
            sent = time.perf_counter()
            async with session.get(url) as response:
                await response.read()
            answers.append((sent - begun, time.perf_counter() - sent))
            await asyncio.sleep(PAUSE_S)
    return answers
