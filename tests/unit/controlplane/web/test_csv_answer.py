"""Tables as CSV: quoting, unknown values, and texts that spreadsheets would run."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from controlplane.web.csv_answer import csv_answer


def lines(*rows: tuple[object, ...]) -> list[str]:
    app = FastAPI()
    app.get("/")(lambda: csv_answer("table", ("a", "b"), rows))
    answer = TestClient(app).get("/")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="table.csv"'
    return answer.text.split("\r\n")


def test_values_are_quoted_and_unknown_ones_are_empty() -> None:
    assert lines(('x, "y"', None), (1, -2.5)) == ["a,b", '"x, ""y""",', "1,-2.5", ""]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@cmd", "\tx"])
def test_a_text_that_begins_a_formula_is_disarmed(text: str) -> None:
    assert lines((text, "")) == ["a,b", f"'{text},", ""]
