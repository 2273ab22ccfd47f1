"""Columns that fit a terminal, whatever stands in them."""

from __future__ import annotations

import re

import pytest

from controlplane.cli.table import cells_of, padded, table, wrapped

HEADER = ["MODEL", "VERSION", "STATE", "TRAFFIC", "REQ/S", "P99", "ERRORS", "RUNNING", ""]
LONG = "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4-with-a-name-that-nobody-shortened"


def row(model: str) -> list[str]:
    return [model, "v1", "ready", "100%", "4.28", "~0.7 s (10 probes)", "0% (probe)", "-", "simulated"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
@pytest.mark.parametrize("model", ["chat", "通义千问-72B-对话", LONG[:38]])
def test_no_line_is_longer_than_the_terminal_and_nothing_is_lost(model: str, width: int) -> None:
    lines = table(HEADER, [row(model), row("b")], width)
    assert max(cells_of(line) for line in lines) <= width
    told = " ".join(lines)
    for cell in row(model):
        assert all(word in told for word in cell.split() if word != "-")


def test_columns_without_room_are_told_below_their_row_by_name() -> None:
    lines = table(HEADER, [row("chat")], 60)
    assert lines == [
        "MODEL  VERSION  STATE  TRAFFIC  REQ/S  P99",
        "chat   v1       ready  100%     4.28   ~0.7 s (10 probes)",
        "    errors 0% (probe), simulated",
    ]


def test_nothing_is_told_below_a_row_whose_rest_is_unknown() -> None:
    assert table(["MODEL", "P99"], [["x" * 30, "-"], ["b", "~0.7 s"]], 32)[1:] == ["x" * 30, "b", "    p99 ~0.7 s"]


def test_a_sentence_without_room_is_told_below_its_row() -> None:
    sentence = "v2 serves all traffic and v1 has finished its requests"
    lines = table(["ID", "SWITCH", ""], [["r-d983835e", "x" * 40, sentence]], 60)
    assert lines[1:] == ["r-d983835e  " + "x" * 40, "    " + sentence]


def test_a_name_wider_than_the_terminal_stays_whole() -> None:
    lines = table(["MODEL", "STATE"], [[LONG, "ready"]], 40)
    assert lines == ["MODEL", LONG, "    state ready"]


def test_wide_characters_do_not_shift_what_follows() -> None:
    rows = [["模型", "up"], ["model", "down"], ["e\u0301", "up"]]
    for width in (None, 80):
        header, *lines = table(["NAME", "STATE"], rows, width)
        at = [cells_of(line[: re.search(r"\S+$", line).start()]) for line in (header, *lines)]  # type: ignore[union-attr]
        assert at == [7, 7, 7, 7]


def test_width_is_that_of_a_terminal() -> None:
    widths = {"abc": 3, "模型": 4, "ｱ": 1, "한국": 4, "é": 1, "e\u0301": 1, "🚀": 2}
    assert {text: cells_of(text) for text in widths} == widths
    assert padded("模", 4) == "模  "


@pytest.mark.parametrize("width", [10, 24, 31])
def test_text_without_blanks_between_its_words_is_wrapped_too(width: int) -> None:
    text = "显卡温度过高，请检查机房空调是否正常工作 GPU 3"
    lines = wrapped(text, width)
    assert all(cells_of(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_colours_are_those_of_states_and_none_in_a_calm_row() -> None:
    rows = [["firing, unknown", "critical"], ["firing", "none"]]
    lines = table(["STATE", "SEVERITY"], rows, 80, colours=True, calm=[1])
    assert lines[1].startswith("\x1b[1;31mfiring, unknown\x1b[0m  \x1b[1;31mcritical")
    assert lines[2] == "firing           none"
