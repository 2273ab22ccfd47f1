"""Tables as CSV files."""

from __future__ import annotations

import csv
import io

from controlplane.web.csv_answer import ROWS, csv_answer


async def body_of(rows: list[tuple[object, ...]]) -> tuple[str, int]:
    """Return the text of an answer, and the number of its parts."""
    parts = [str(part) async for part in csv_answer("alerts", ("name", "value"), rows).body_iterator]  # type: ignore[attr-defined]
    return "".join(parts), len(parts)


async def test_quotes_commas_and_lines_survive() -> None:
    rows: list[tuple[object, ...]] = [('a "b", c', 1.5), ("one\ntwo", None)]
    text, _ = await body_of(rows)
    assert list(csv.reader(io.StringIO(text))) == [["name", "value"], ['a "b", c', "1.5"], ["one\ntwo", ""]]
    assert text.startswith("name,value\r\n")


async def test_a_text_is_never_a_formula_and_numbers_stay_numbers() -> None:
    text, _ = await body_of([("=1+1", -1.5), ("a=b", None)])
    assert text.splitlines()[1:] == ["'=1+1,-1.5", "a=b,"]


async def test_a_long_table_is_sent_in_parts() -> None:
    text, parts = await body_of([("x", number) for number in range(2 * ROWS)])
    assert parts == 3
    assert len(text.splitlines()) == 2 * ROWS + 1


async def test_the_answer_is_a_file_with_a_name() -> None:
    answer = csv_answer("alerts", ("name",), [])
    assert answer.headers["content-disposition"] == 'attachment; filename="alerts.csv"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
