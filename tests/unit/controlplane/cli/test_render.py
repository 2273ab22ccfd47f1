"""What verbs print."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from ruamel.yaml import YAML

from controlplane.cli.render import Output, age, columns, emit, gibibytes, number, percent, say


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (12.3456, "12.3"), (0.00012, "0.00012"), (123456.0, "123456"), (float("nan"), "NaN")],
)
def test_a_number_has_three_digits_and_the_unknown_is_no_zero(value: float | None, text: str) -> None:
    assert number(value) == text


def test_units() -> None:
    assert percent(0.0123) == "1.23%"
    assert percent(None) == "-"
    assert gibibytes(80 * 2**30) == "80 GiB"
    assert number(1.5, "s") == "1.5s"


@pytest.mark.parametrize(
    ("then", "text"),
    [
        ("2026-01-01T00:00:00Z", "0s"),
        ("2025-12-31T23:59:15Z", "45s"),
        ("2025-12-31T23:56:48Z", "3m12s"),
        ("2025-12-31T22:00:00Z", "2h"),
        ("2025-12-28T21:00:00Z", "3d3h"),
        ("2026-01-01T00:05:00Z", "0s"),
        (None, "-"),
    ],
)
def test_an_age_has_its_two_largest_units(then: str | None, text: str) -> None:
    assert age(then, datetime(2026, 1, 1, tzinfo=UTC)) == text


def test_columns_are_aligned_and_plain_when_piped() -> None:
    out = io.StringIO()
    columns(["NAME", "STATE"], [["a", "up"], ["longer", "down"]], "none", out)
    assert out.getvalue() == "NAME    STATE\na       up\nlonger  down\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_states_are_coloured_on_a_terminal_and_nothing_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    out = Terminal()
    columns(["STATE", "WHAT"], [["down", "[bold]x" * 60]], "none", out)
    assert "\x1b[1;31mdown" in out.getvalue()
    assert "[bold]x" * 60 in out.getvalue()
    assert out.getvalue().count("\n") == 2


def test_nothing_is_red_in_a_calm_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    out = Terminal()
    columns(["ROLE", "STATE"], [["stable", "unavailable"], ["idle", "unavailable"]], "none", out, calm=[1])
    _, stable, idle = out.getvalue().splitlines()
    assert "\x1b[1;31munavailable" in stable
    assert idle == "idle    unavailable"


def test_nothing_to_list_is_said() -> None:
    out = io.StringIO()
    columns(["A"], [], "no rollouts yet", out)
    assert out.getvalue() == "no rollouts yet\n"


def test_control_characters_from_a_server_are_shown_and_not_obeyed() -> None:
    out = io.StringIO()
    say("evil \x1b[2J\x07 name\r\n", out)
    columns(["A"], [["\x1b]0;title\x07"]], "none", out)
    assert out.getvalue() == "evil \\x1b[2J\\x07 name\\r\\n\nA\n\\x1b]0;title\\x07\n"


def test_programs_get_json_or_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    data = [{"model": "chat", "value": None, "name": "é"}]
    emit(data, Output.JSON, lambda: None)
    assert json.loads(capsys.readouterr().out) == data
    emit(data, Output.YAML, lambda: None)
    assert capsys.readouterr().out == "- model: chat\n  value:\n  name: é\n"


HOSTILE = ["\x1b[2J", "\x9b2J", "a\u202eb", "two\nlines", "\x7f\u2028", "é – 93 °C", "\U0001f680", "\ud800"]


@pytest.mark.parametrize("text", HOSTILE)
def test_programs_get_what_there_is_and_a_terminal_no_escape(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"labels": {text: [text, {"x": text}]}}
    emit(data, Output.JSON, lambda: None)
    shown = capsys.readouterr().out
    assert json.loads(shown) == data
    assert all(line.isprintable() for line in shown.split("\n"))
    if text == "\ud800":
        return  # half of a character: no YAML can hold it
    emit(data, Output.YAML, lambda: None)
    shown = capsys.readouterr().out
    assert YAML(typ="safe").load(shown) == data
    assert all(line.isprintable() for line in shown.split("\n"))
