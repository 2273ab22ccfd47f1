"""The layout cache: what makes reading a target again cost its values and nothing else.

A body is split into lines once. Lines that are no samples must be the last body's; of a sample line everything up to
its last blank (its head) must be. Then what follows the heads are the values. All of it is done by a few calls over
whole lists of lines, never by Python code a line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import compress
from weakref import WeakValueDictionary

import numpy as np

from collectors.exposition import VALUE_BYTES, Limits, Parsed, Reading, lines_of
from collectors.samples import FloatArray, Layout


class LayoutCache:
    """Reads one target's bodies, scrape after scrape, paying for labels only when they change.

    A body whose comments and series are byte for byte those of the last one, in the same order, costs one pass that
    looks at values alone (0.2 µs a sample on the vLLM capture, a full parse 6) and yields the same Layout object.
    Anything else is parsed in full; the Layout is still the same object if series and metadata turn out equal.
    Not for use by two threads at once.
    """

    def __init__(
        self, build: Callable[[Parsed], Layout], limits: Limits | None = None, shapes: Shapes | None = None
    ) -> None:
        """`shapes` is shared by the caches of targets that may expose the same lines."""
        self._build = build
        self._limits = limits or Limits()
        self._shapes = Shapes() if shapes is None else shapes
        self._shape: Shape | None = None
        self._layout: Layout | None = None
        self._said = b""
        """Digest of the series and the metadata that the layout was built from."""
        self.duplicates = 0
        """Repeated series in the last body that was read."""
        self.unstorable: tuple[int, ...] = ()
        """Numbers of its lines that were left out, as they hold a NUL."""

    def read(self, body: bytes) -> tuple[Layout, FloatArray]:
        """Return the body's layout and its row of values. Raises BodyTooLarge and ExpositionError, as `parse`."""
        lines = lines_of(body, self._limits)
        if self._shape and self._layout and (values := self._shape.values(lines)) is not None:
            return self._layout, values
        reading = Reading(lines, self._limits)
        parsed = reading.parsed()
        self._layout = self._layout_of(parsed)
        self._shape = self._shapes.of(lines, reading) if all(s.plain for s in reading.samples) else None
        self.duplicates, self.unstorable = parsed.duplicates, parsed.unstorable
        return self._layout, parsed.values

    def _layout_of(self, parsed: Parsed) -> Layout:
        # A digest and not the series themselves, which would be held beside the layout's own.
        said = _digest(repr((parsed.series, parsed.metadata)).encode(errors="surrogatepass"))
        if self._layout and self._said == said:
            return self._layout
        layout = self._build(parsed)
        if len(layout.raw) != len(parsed.series):
            raise ValueError(f"a layout of {len(layout.raw)} columns for {len(parsed.series)} series")
        self._said = said
        return layout


class Shape:
    """A body without its values: what must be equal for the next one to be read by its values alone. Immutable.

    Invariant: every sample line was plain, so `head + number` parses to the series that `head` named before.
    """

    def __init__(self, lines: Sequence[bytes], heads: Sequence[bytes], reading: Reading) -> None:
        """`heads[i]` is the line of sample i up to the blank before its value, that blank included."""
        sample = bytearray(len(lines))
        for read in reading.samples:
            sample[read.line] = 1
        self._is_sample = bytes(sample)
        self._is_other = bytes(1 - flag for flag in sample)
        self._others = list(compress(lines, self._is_other))
        self._heads = list(heads)
        self._heads_bytes = sum(map(len, heads))
        self._kept = None if len(reading.kept) == len(heads) else np.array(reading.kept, dtype=np.intp)

    def values(self, lines: Sequence[bytes]) -> FloatArray | None:
        """Return the row of values, or None if the lines are not of this shape."""
        if len(lines) != len(self._is_sample) or list(compress(lines, self._is_other)) != self._others:
            return None
        samples = list(compress(lines, self._is_sample))
        numbers = list(map(bytes.removeprefix, samples, self._heads))
        text = b"".join(numbers)
        # A line with another head is left whole, so that the bytes do not add up; and a head holds a blank, which no
        # number does.
        if len(text) + self._heads_bytes != len(b"".join(samples)) or text.translate(None, VALUE_BYTES):
            return None
        try:
            row = np.fromiter(map(float, numbers), np.float64, len(numbers))
        except ValueError:
            return None
        return row if self._kept is None else row[self._kept]


class Shapes:
    """The shapes of all targets, each held once however many expose the same lines, and no longer than one does.

    The replicas of a model differ in their values alone, so a fleet has about as many shapes as models.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[bytes, Shape] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, lines: Sequence[bytes], reading: Reading) -> Shape:
        """Return the shape of a body whose samples are all plain."""
        bare = list(lines)
        heads = []
        for sample in reading.samples:
            head = bare[sample.line] = lines[sample.line].rpartition(b" ")[0] + b" "
            heads.append(head)
        digest = _digest(b"\n".join(bare))
        shape = self._known.get(digest)
        if shape is None:
            shape = self._known[digest] = Shape(lines, heads, reading)
        return shape


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
