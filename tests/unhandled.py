"""An unhandled exception on an event loop fails the test in which it occurs.

asyncio and uvloop pass such exceptions to the loop's exception handler. By default that only logs them: "Task exception
was never retrieved", "Exception in callback", "Fatal error on SSL transport". Some are logged only when an object is
collected, so each test file ends with a garbage collection.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

LOGGER = logging.getLogger("asyncio")


class Unhandled(logging.Handler):
    """Keeps the messages of the loops' exception handlers."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter().format(record)
        self.said.append(text)

    def take(self) -> list[str]:
        """Return the messages since the last call."""
        said, self.said = self.said, []
        return said


@pytest.fixture(scope="session")
def unhandled() -> Iterator[Unhandled]:
    """Yield the handler. A test that causes an unhandled exception on purpose must call its `take`."""
    handler = Unhandled()
    LOGGER.addHandler(handler)
    yield handler
    LOGGER.removeHandler(handler)


@pytest.fixture(autouse=True)
def nothing_is_unhandled(unhandled: Unhandled) -> Iterator[None]:
    """Fail a test during which there was an unhandled exception."""
    yield
    if said := unhandled.take():
        pytest.fail("unhandled on the event loop:\n" + "\n".join(said), pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_unhandled_at_the_end(unhandled: Unhandled) -> Iterator[None]:
    """Fail the last test of a file for exceptions that appear only at a garbage collection."""
    yield
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()  # a test has taken back what tests/conftest.py set aside
    if said := unhandled.take():
        pytest.fail("unhandled on the event loop, in one of this file's tests:\n" + "\n".join(said), pytrace=False)
