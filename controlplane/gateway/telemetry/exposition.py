"""The sum of the regions of all processes of a gateway, as Prometheus text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from controlplane.gateway.telemetry.families import FAMILIES, Family, Kind, Merge
from controlplane.gateway.telemetry.meters import SEPARATOR
from controlplane.gateway.telemetry.region import Entry, Region

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Values = tuple[str, ...]
"""Label values in the order of a family's labels."""


class Exposition:
    """Reads the regions of a gateway's processes. It keeps what it has read of their directories."""

    def __init__(self, regions: Iterable[Region]) -> None:
        self._readers = [_Reader(region) for region in regions]

    def text(self) -> bytes:
        """Return the text exposition: every family once, with the series of all processes in one."""
        found = self._merged()
        return "".join(
            line
            for family in FAMILIES.values()
            if (series := found.get(family.name))
            for line in _lines(family, series)
        ).encode()

    def totals(self, family: Family, *by: str) -> dict[Values, float]:
        """Return the sums of a counter or gauge over all its labels but `by`.

        `totals(ATTEMPTS, "model", "version")` is the number of attempts by model and version.
        """
        places = [family.labels.index(label) for label in by]
        sums: dict[Values, float] = {}
        for values, cells in self._merged().get(family.name, {}).items():
            key = tuple(values[place] for place in places)
            sums[key] = sums.get(key, 0.0) + cells[0]
        return sums

    def _merged(self) -> dict[str, dict[Values, list[float]]]:
        found: dict[str, dict[Values, list[float]]] = {}
        for reader in self._readers:
            for family, values, cells in reader.read():
                if cells[0] != cells[0]:
                    continue  # GONE
                series = found.setdefault(family.name, {})
                known = series.get(values)
                series[values] = cells if known is None else _joined(family, known, cells)
        return found


class _Reader:
    def __init__(self, region: Region) -> None:
        self._region = region
        self._series: list[tuple[Family, Values, Entry]] = []

    def read(self) -> Iterable[tuple[Family, Values, list[float]]]:
        for entry in self._region.entries():
            name, *values = entry.text.split(SEPARATOR)
            family = FAMILIES.get(name)
            if family is not None:
                self._series.append((family, tuple(values), entry))
        cells = self._region.cells
        for family, labels, entry in self._series:
            yield family, labels, list(cells[entry.first : entry.first + entry.cells])


def _joined(family: Family, one: Sequence[float], other: Sequence[float]) -> list[float]:
    if family.kind is Kind.GAUGE and family.merge is not Merge.SUM:
        return [(max if family.merge is Merge.MAX else min)(one[0], other[0])]
    return [a + b for a, b in zip(one, other, strict=True)]


def _lines(family: Family, series: dict[Values, list[float]]) -> Iterable[str]:
    yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    own = 'source="gateway"' if family.canonical else ""
    for values, cells in sorted(series.items()):
        labels = ",".join([own] * bool(own) + _pairs(family.labels, values))
        if family.kind is not Kind.HISTOGRAM:
            yield (
                f"{family.name}{{{labels}}} {_number(cells[0])}\n" if labels else f"{family.name} {_number(cells[0])}\n"
            )
            continue
        *counts, total = cells
        before = labels + "," if labels else ""
        cumulative = list(accumulate(counts))
        for bound, count in zip((*map(_number, family.bounds), "+Inf"), cumulative, strict=True):
            yield f'{family.name}_bucket{{{before}le="{bound}"}} {_number(count)}\n'
        after = f"{{{labels}}}" if labels else ""
        yield f"{family.name}_sum{after} {_number(total)}\n{family.name}_count{after} {_number(cumulative[-1])}\n"


def _pairs(names: Sequence[str], values: Values) -> list[str]:
    return [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True) if value]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(value)
