"""What verbs print."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime

import pytest
import ruamel.yaml

from controlplane.cli.render import JSON, YAML, age, clock, columns, emit, gibibytes, number, percent, say, tell, took
from controlplane.cli.table import table


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
    assert [took(v) for v in (None, 0.00047, 0.0123, 0.4999, 2.345)] == ["-", "0.47 ms", "12 ms", "500 ms", "2.35 s"]
    assert clock("2026-01-31T12:34:56.789Z") == "2026-01-31 12:34:56Z"
    assert clock(1769862896.789) == "2026-01-31 12:34:56Z"


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


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


def test_states_are_coloured_on_a_terminal_and_long_words_stay_whole(terminal: Terminal) -> None:
    columns(["STATE", "WHAT"], [["down", "[bold]x" * 60], ["ready", ""]], "none", terminal)
    header, down, ready = terminal.getvalue().splitlines()
    assert header == "\x1b[1mSTATE\x1b[0m  \x1b[1mWHAT\x1b[0m"
    assert down == "\x1b[1;31mdown \x1b[0m  " + "[bold]x" * 60
    assert ready == "\x1b[32mready\x1b[0m"


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_none_are_wanted(
    terminal: Terminal, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    columns(["STATE"], [["down"]], "none", terminal)
    assert terminal.getvalue() == "STATE\ndown\n"


def test_nothing_is_red_in_a_calm_row(terminal: Terminal) -> None:
    columns(["ROLE", "STATE"], [["stable", "unavailable"], ["idle", "unavailable"]], "none", terminal, calm=[1])
    _, stable, idle = terminal.getvalue().splitlines()
    assert "\x1b[1;31munavailable" in stable
    assert idle == "idle    unavailable"


def test_what_was_asked_for_is_not_red(terminal: Terminal) -> None:
    columns(["PHASE"], [["rolled-back"], ["failed"]], "none", terminal)
    _, back, failed = terminal.getvalue().splitlines()
    assert (back[:5], failed[:7]) == ("\x1b[33m", "\x1b[1;31m")


@pytest.mark.parametrize("width", [60, 80, 132])
def test_a_sentence_is_wrapped_below_itself_and_no_line_is_longer_than_the_terminal(width: int) -> None:
    sentence = "v2 serves on http://127.0.0.1:38089 and it must serve without a break for 5 s before v1 drains " * 3
    lines = table(["ID", "PHASE", ""], [["r-1", "verifying", sentence.strip()], ["r-2", "planned", ""]], width)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    assert max(map(len, plain)) <= width
    assert all(line == line.rstrip() for line in plain)
    assert " ".join(line[16:] for line in plain[1:-1]) == sentence.strip()
    assert all(line.startswith(" " * 16) for line in plain[2:-1])
    assert plain[-1] == "r-2  planned"


def test_a_sentence_goes_on_below_itself_on_a_terminal_and_is_one_line_when_piped(terminal: Terminal) -> None:
    sentence = "v2 serves and is verified (5 of 5 questions answered well, the slowest in 0.57 s); it goes on"
    tell("  07:20:38Z  ", sentence, terminal)
    first, second = terminal.getvalue().splitlines()
    assert first == "  07:20:38Z  v2 serves and is verified (5 of 5 questions answered well, the"
    assert second == " " * 13 + "slowest in 0.57 s); it goes on"
    piped = io.StringIO()
    tell("  07:20:38Z  ", sentence, piped)
    assert piped.getvalue() == f"  07:20:38Z  {sentence}\n"


def test_a_column_that_nobody_fills_is_not_there() -> None:
    assert table(["A", "", "B"], [["1", "", "2"]]) == ["A  B", "1  2"]


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
    emit(data, JSON, lambda: None)
    assert json.loads(capsys.readouterr().out) == data
    emit(data, YAML, lambda: None)
    assert capsys.readouterr().out == "- model: chat\n  value:\n  name: é\n"


HOSTILE = ["\x1b[2J", "\x9b2J", "a\u202eb", "two\nlines", "\x7f\u2028", "é – 93 °C", "\U0001f680", "\ud800"]


@pytest.mark.parametrize("text", HOSTILE)
def test_programs_get_what_there_is_and_a_terminal_no_escape(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"labels": {text: [text, {"x": text}]}}
    emit(data, JSON, lambda: None)
    shown = capsys.readouterr().out
    assert json.loads(shown) == data
    assert all(line.isprintable() for line in shown.split("\n"))
    if text == "\ud800":
        return  # half of a character: no YAML can hold it
    emit(data, YAML, lambda: None)
    shown = capsys.readouterr().out
    assert ruamel.yaml.YAML(typ="safe").load(shown) == data
    assert all(line.isprintable() for line in shown.split("\n"))
