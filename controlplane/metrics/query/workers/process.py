"""A query worker: a process of its own that answers queries over the files of a series store.

`python -m controlplane.metrics.query.workers.process FOLDER MAX_BYTES THREADS NICE`, started by worker.py. It ends when
its standard input ends. On Linux the kernel also kills it when the process that started it ends. So it never outlives
the control plane.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from controlplane.errors import QueryError
from controlplane.metrics.promql.annotations.collected import Annotations
from controlplane.metrics.promql.engine import PromqlEngine
from controlplane.metrics.query import api_views
from controlplane.metrics.query.exports.calls import export
from controlplane.metrics.query.queries import samples_of
from controlplane.metrics.query.render import Rendered, render
from controlplane.metrics.query.workers import protocol
from controlplane.metrics.query.workers.protocol import WorkerMessage
from controlplane.metrics.query.workers.rule_answer import KnownLabels, encoded
from controlplane.metrics.series.budget import Budget
from controlplane.metrics.series.follower import Follower
from controlplane.metrics.storage.errors import Overtaken, StorageError

PR_SET_PDEATHSIG = 1
"""Option of prctl: the signal to get when the parent ends. Source: linux/prctl.h."""
KEEP_UP_S = 60.0
"""Seconds between two reads of the journal without a query. Chosen."""


class Worker:
    """Answers requests with a few threads."""

    def __init__(self, engine: PromqlEngine, answers: BinaryIO, threads: int) -> None:
        self._engine, self._answers = engine, answers
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="promql")
        self._writing = threading.Lock()
        self._labels = KnownLabels()
        """Labels of rules' last results. Rules have one thread."""
        self._unwanted: dict[int, threading.Event] = {}
        """By number of the request: set once nobody waits for its answer."""

    def serve(self, requests: BinaryIO) -> None:
        """Send READY, and answer requests until they end."""
        self._say(WorkerMessage({"id": protocol.READY}))
        while len(sizes := requests.read(protocol.HEAD.size)) == protocol.HEAD.size:
            head_size, body_size = protocol.HEAD.unpack(sizes)
            head = json.loads(requests.read(head_size))
            requests.read(body_size)
            if "cancel" in head:
                if unwanted := self._unwanted.get(head["cancel"]):
                    unwanted.set()
                continue
            self._unwanted[head["id"]] = threading.Event()
            self._pool.submit(self._answer, head)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, head: dict[str, Any]) -> None:
        number = head["id"]
        try:
            left_s = head["by"] - time.monotonic()
            if left_s <= 0:
                raise QueryError("timeout", "query timed out in query queue")
            unwanted = self._unwanted[number].is_set
            if head["call"] == protocol.RULE:
                digest, data = self._rule(head["args"], left_s, unwanted)
                answer = WorkerMessage({"id": number, "digest": digest}, data)
            else:
                rendered = self._call(head["call"], head["args"], left_s, unwanted)
                told = {"warnings": rendered.warnings, "infos": rendered.infos}
                answer = WorkerMessage({"id": number, **told}, rendered.data)
        except QueryError as error:
            answer = WorkerMessage({"id": number, "kind": error.kind, "message": str(error)})
        except MemoryError:
            answer = WorkerMessage(
                {"id": number, "kind": "execution", "message": "the query needs more memory than there is"}
            )
        except Overtaken as error:
            # The pool sends its queries again to a new worker, which begins with the newest journal.
            sys.stderr.write(f"query worker: {error}: it starts anew\n")
            os._exit(0)
        except Exception as bug:  # noqa: BLE001 - the process boundary: one query's bug must not end the others
            message = f"internal error ({type(bug).__name__}), see the log of the control plane"
            sys.stderr.write(f"query worker: {type(bug).__name__}: {bug}\n")
            answer = WorkerMessage({"id": number, "kind": "execution", "message": message})
        del self._unwanted[number]
        self._say(answer)

    def _say(self, answer: WorkerMessage) -> None:
        data = answer.encode()
        with self._writing:
            self._answers.write(data)
            self._answers.flush()

    def _rule(self, args: list[Any], left_s: float, unwanted: Callable[[], bool]) -> tuple[str, bytes]:
        expr, at, asker_has = args
        samples = samples_of(self._engine.instant(expr, at, left_s, None, unwanted))
        known, answer = encoded(samples, asker_has, self._labels.of(expr))
        self._labels.keep(expr, known)
        return known.digest, answer

    def _call(self, call: str, args: list[Any], left_s: float, unwanted: Callable[[], bool]) -> Rendered:
        engine, store, annotations = self._engine, self._engine.store, Annotations()
        if call == protocol.INSTANT:
            expr, at, limit, lookback_s = args
            return render(engine.instant(expr, at, left_s, lookback_s, unwanted, annotations), limit, annotations)
        if call == protocol.RANGE:
            expr, start, end, step, limit, lookback_s = args
            value = engine.range(expr, start, end, step, left_s, lookback_s, unwanted, annotations)
            return render(value, limit, annotations)
        if call == protocol.EXPORT:
            name, given = args
            return Rendered(export(store, name, given, Budget(engine.limits, timeout_s=left_s, unwanted=unwanted)))
        views: dict[str, Callable[..., Any]] = {
            protocol.SERIES: partial(api_views.series, store),
            protocol.LABEL_NAMES: partial(api_views.label_names, store),
            protocol.LABEL_VALUES: partial(api_views.label_values, store),
        }
        return Rendered(json.dumps(views[call](*args)).encode())


def keep_up(follow: Callable[[], object], wait: Callable[[float], bool]) -> None:
    """Read the journal every KEEP_UP_S until `wait` returns true.

    Otherwise deleted files would stay mapped, and the first query after a quiet day would read the journal of the day.
    """
    while not wait(KEEP_UP_S):
        try:
            follow()
        except Overtaken as error:
            sys.stderr.write(f"query worker: {error}: it starts anew\n")
            os._exit(0)


def main(folder: str, max_bytes: str, threads: str, nice: str) -> None:
    """Answer queries until the control plane ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A service manager sends SIGTERM to all processes. This process ignores it: the control plane ends it after the
    # last answer.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The limit covers memory for computations, not mapped files.
    resource.setrlimit(resource.RLIMIT_DATA, (int(max_bytes), int(max_bytes)))
    os.nice(int(nice))
    answers = os.fdopen(os.dup(1), "wb")
    # From here on only frames reach the control plane: other output goes to stderr.
    os.dup2(2, 1)
    try:
        follower = Follower(Path(folder))
    except (StorageError, OSError) as error:
        sys.exit(f"query worker: the metrics cannot be read: {error}")
    keeping_up = threading.Thread(target=keep_up, args=(follower.follow, threading.Event().wait), daemon=True)
    keeping_up.start()
    Worker(PromqlEngine(follower), answers, int(threads)).serve(sys.stdin.buffer)
    # Nobody waits for the queries that still run.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
