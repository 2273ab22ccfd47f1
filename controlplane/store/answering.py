"""A connection to PostgreSQL that is given up when the server does not answer.

The server's own timeouts end what it works on. They end nothing where it stands still (its machine is suspended, its
disk hangs) or is gone: the system then learns of it from TCP's keepalive, after two hours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg

Waiting = Generator[Any, Any, Any]
"""psycopg's: yields what it waits for, gets what is ready (nothing, ten times a second), returns a result."""


def connector(answer_s: float) -> Callable[..., psycopg.Connection[Any]]:
    """Return what SQLAlchemy calls (event `do_connect`) to connect: no wait of the connection is longer than this.

    A wait that is raises psycopg.OperationalError, and the connection is closed: the server rolls back what was not
    committed, and whether a commit under way went through is unknown, as with any connection that breaks.
    """

    class Answered(psycopg.Connection[Any]):
        def wait(self, gen: Waiting, *args: Any, **options: Any) -> Any:
            try:
                return super().wait(_limited(gen, answer_s), *args, **options)
            except _NoAnswerError as error:
                self.pgconn.finish()  # here, in the thread that waited: libpq's objects stand no other one
                raise psycopg.OperationalError(str(error)) from None

    def connect(_dialect: Any, _record: Any, args: Any, options: Any) -> psycopg.Connection[Any]:
        return Answered.connect(*args, **options)

    return connect


class _NoAnswerError(Exception):
    pass


def _limited(gen: Waiting, answer_s: float) -> Waiting:
    deadline = time.monotonic() + answer_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline:
                raise _NoAnswerError(f"the server did not answer within {answer_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value
