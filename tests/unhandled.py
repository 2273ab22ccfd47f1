"""Exceptions that nobody handled on an event loop fail the test in which they happened.

asyncio and uvloop give them to the loop's exception handler, and by default that only logs them: "Task exception was
never retrieved", "Exception in callback", "Fatal error on SSL transport". What is told when an object is collected may
come late, so each file of tests ends with a collection.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

LOGGER = logging.getLogger("asyncio")


class Unhandled(logging.Handler):
    """Keeps what the loops' exception handlers say."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter().format(record)
        self.said.append(text)

    def take(self) -> list[str]:
        """Return what was said since the last time."""
        said, self.said = self.said, []
        return said


@pytest.fixture(scope="session")
def unhandled() -> Iterator[Unhandled]:
    """What no test has been failed for yet. A test that provokes an unhandled exception on purpose takes it."""
    handler = Unhandled()
    LOGGER.addHandler(handler)
    yield handler
    LOGGER.removeHandler(handler)


@pytest.fixture(autouse=True)
def nothing_is_unhandled(unhandled: Unhandled) -> Iterator[None]:
    """Fail a test during which an exception went unhandled."""
    yield
    if said := unhandled.take():
        pytest.fail("unhandled on the event loop:\n" + "\n".join(said), pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_unhandled_at_the_end(unhandled: Unhandled) -> Iterator[None]:
    """Fail the last test of a file for what comes to light when everything is collected."""
    yield
    gc.collect()
    if said := unhandled.take():
        pytest.fail("unhandled on the event loop, in one of this file's tests:\n" + "\n".join(said), pytrace=False)
