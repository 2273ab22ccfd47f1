"""The pace of streams: that of a test's steps, and a quick one while the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

HURRY_S = 0.002
"""Seconds before each token of a hurried stream."""


class Pace:
    """A token of each stream for each `beat`, so that clients load the machine by steps and not by seconds.

    In a block of `hurry` short streams follow the real clock instead, so that new ones begin at every moment of it.
    """

    def __init__(self, short: int) -> None:
        """`short` is the most tokens of a stream that hurries."""
        self._short, self._hurries, self._ended = short, 0, False
        self._beat = asyncio.Event()

    def beat(self) -> None:
        """Let every stream have its next token."""
        beat, self._beat = self._beat, asyncio.Event()
        beat.set()

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """Let short streams run for the time of a block."""
        self._hurries += 1
        self.beat()
        try:
            yield
        finally:
            self._hurries -= 1

    def end(self) -> None:
        """Let all streams run to their end."""
        self._ended = True
        self.beat()

    async def wait(self, tokens: int) -> None:
        """Wait for the next token of a stream that has so many."""
        if self._ended or (self._hurries and tokens <= self._short):
            await asyncio.sleep(HURRY_S)
        else:
            await self._beat.wait()
