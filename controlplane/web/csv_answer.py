"""Tables as CSV files (RFC 4180), for a spreadsheet or a script."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence

from fastapi.responses import Response, StreamingResponse

from controlplane.plain_text import csv_cell

ROWS = 500
"""Rows of one part of the answer. Chosen: a part is some tens of kilobytes."""


class _Line:
    """A file for csv.writer that hands back what was written to it."""

    def write(self, text: str) -> str:
        return text


def csv_answer(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """Return a table as the file `NAME.csv`. None is an empty cell. The rows are read while the answer is sent."""
    return StreamingResponse(
        _parts(header, rows),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )


def _parts(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    part = [writer.writerow(header)]
    for row in rows:
        part.append(writer.writerow([csv_cell(value) for value in row]))
        if len(part) == ROWS:
            yield "".join(map(str, part))
            part = []
    yield "".join(map(str, part))
