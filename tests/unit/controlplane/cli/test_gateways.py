"""The verb `gateways`."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.cli.main import run

CHAT = {"model": "chat", "generation": 5, "assigned": 5, "requests": {"v2": 10, "v1": 90}}
G1 = {
    "name": "g1",
    "live": True,
    "state": "live",
    "seen_at": "2027-01-15T08:00:00.000Z",
    "age_seconds": 0.5,
    "version": "1.2.3",
    "listen": "127.0.0.1:8400",
    "workers": 2,
    "ready": True,
    "revision": "abc",
    "fault": "",
    "open_streams": 7,
    "requests": 100,
    "models": [CHAT, {"model": "rank", "generation": 0, "assigned": None, "requests": {}}],
}


@pytest.mark.parametrize(
    ("changed", "row"),
    [
        ({}, "g1 live 127.0.0.1:8400 1.2.3 2 7 chat 5 (v1 90, v2 10), rank 0 -"),
        ({"ready": False}, "g1 not ready 127.0.0.1:8400 1.2.3 2 7 chat 5 (v1 90, v2 10), rank 0 -"),
        (
            {"models": [{**CHAT, "generation": 4, "requests": {}}], "fault": "weights \x1b[2J add up to 999"},
            r"g1 live 127.0.0.1:8400 1.2.3 2 7 chat 4 of 5 weights \x1b[2J add up to 999",
        ),
        (
            {"state": "silent", "live": False, "ready": False, "models": [], "listen": "", "version": ""},
            "g1 silent - - 2 7 - -",
        ),
    ],
)
def test_a_gateway_is_a_row(
    current: Any, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], row: str
) -> None:
    current.replies["GET /cp/v1/gateways"] = (200, {"items": [{**G1, **changed}]})
    assert run(["gateways"]) == 0
    header, line = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert header == "NAME STATE SEEN LISTEN VERSION WORKERS STREAMS APPLIES FAULT"
    words = line.split(" ")
    seen = 3 if "not ready" in line else 2
    assert words[seen + 1] == "ago"
    assert " ".join([*words[:seen], *words[seen + 2 :]]) == row


def test_without_gateways_the_verb_says_how_to_start_one(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/gateways"] = (200, {"items": []})
    assert run(["gateways"]) == 0
    assert capsys.readouterr().out == "no gateway has reported; start one: controlplane gateway -c fleet.yaml\n"
