"""The answer to a rule's query, as bytes between the process that evaluates rules and the control plane.

    count of samples (u32), values (float64 each), labels

Labels are lines of JSON, each with the labels of some samples: [[name, value, name, value, …], …]. They are left out
when the asker has them already: it sends the digest of those that it got last time. A rule's result nearly always has
the labels of the turn before, and reading them takes ten times as long as the values.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from alerts.interfaces import VectorSample
from collectors.samples import Labels

COUNT = struct.Struct("<I")
DIGEST_BYTES = 16
LINE_SAMPLES = 500
"""Samples whose labels are in one line. Chosen: no thread runs while a line is read, which takes some 1 ms."""
MOST_RULES, MOST_LABEL_SETS = 4096, 500_000
"""Largest numbers of results whose labels are kept, and of label sets in them. Chosen: some 300 MB."""


class Known(NamedTuple):
    """The labels of a rule's last result, and their digest: "" before the first one."""

    digest: str = ""
    labels: tuple[Labels, ...] = ()


def encoded(samples: Sequence[VectorSample], asker_has: str, last: Known) -> tuple[Known, bytes]:
    """Return the samples' labels with their digest, and the answer. It has no labels if `asker_has` is their digest.

    `last` is what this function returned at the last turn. Labels that are still the same are not read again.
    """
    answer = COUNT.pack(len(samples)) + np.array([sample.value for sample in samples], dtype=np.float64).tobytes()
    labels = tuple([sample.labels for sample in samples])
    if labels == last.labels and asker_has == last.digest != "":
        return last, answer
    flat = [[text for pair in of_sample for text in pair] for of_sample in labels]
    lines = [json.dumps(flat[at : at + LINE_SAMPLES]).encode() for at in range(0, len(flat), LINE_SAMPLES)]
    text = b"\n".join(lines)
    now = Known(hashlib.blake2b(text, digest_size=DIGEST_BYTES).hexdigest(), labels)
    return now, answer if now.digest == asker_has else answer + text


def decoded(answer: bytes, digest: str, asked: Known) -> tuple[Known, list[VectorSample]]:
    """Return the labels and the samples of an answer. `asked` are the labels whose digest was sent with the question.

    May be called in any thread.
    """
    (count,) = COUNT.unpack_from(answer)
    end = COUNT.size + count * 8
    known = asked if digest == asked.digest else Known(digest, tuple(_labels(answer[end:])))
    values = np.frombuffer(answer, np.float64, count, COUNT.size).tolist()
    return known, list(map(VectorSample, known.labels, values))


def _labels(text: bytes) -> Iterator[Labels]:
    for line in text.splitlines():
        for flat in json.loads(line):
            its = iter(flat)
            yield tuple(zip(its, its, strict=True))


class KnownLabels:
    """The labels of each rule's last result. The least recently used are dropped first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._held = 0

    def of(self, expr: str) -> Known:
        """Return what is known of an expression's labels. Keep it until the answer: others may ask the same."""
        return self._known.get(expr, Known())

    def keep(self, expr: str, known: Known) -> None:
        """Note the labels of an expression's last result."""
        self._held += len(known.labels) - len(self._known.pop(expr, Known()).labels)
        self._known[expr] = known
        while len(self._known) > MOST_RULES or self._held > MOST_LABEL_SETS:
            _, dropped = self._known.popitem(last=False)
            self._held -= len(dropped.labels)
