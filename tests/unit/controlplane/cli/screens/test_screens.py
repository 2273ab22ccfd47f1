"""What the verbs that look print: tables as the person on call reads them, and what stays unknown."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.look import gpu_name, latency
from controlplane.cli.main import run
from controlplane.cli.query import shown
from controlplane.cli.screens.screen import framed, repeat

VERSION = {
    "version": "v1",
    "role": "stable",
    "state": "ready",
    "traffic_share": 1.0,
    "requests_per_second": 4.281609195402298,
    "latency_p99_seconds": 0.7213,
    "latency_source": "probe",
    "latency_samples": 10.2,
    "error_ratio": 0.0,
    "error_source": "probe",
    "running": None,
    "waiting": 0.0,
    "backends": [],
    "simulated": False,
}
FLEET = {
    "name": "prod-eu",
    "generated_at": "2026-01-01T00:00:00.000Z",
    "observe_only": False,
    "targets": {"up": 3, "down": 1, "unknown": 0},
    "alerts": {"firing": 1, "pending": 0},
    "warnings": [],
    "attention": [],
    "models": [{"name": "chat", "versions": [VERSION], "rollout": None, "drift": ""}],
    "gpus": [
        {
            "node": "n1",
            "gpu": "GPU-51000000-0000-4000-8000-000000000003",
            "index": "3",
            "utilization_ratio": 0.5,
            "memory_used_bytes": 60 * 2**30,
            "memory_total_bytes": 80 * 2**30,
            "temperature_celsius": 59.0,
            "simulated": False,
        }
    ],
}


@pytest.fixture
def fleet(current: Any) -> Any:
    current.replies |= {
        "GET /cp/v1/fleet": (200, FLEET),
        "GET /cp/v1/alerts": (200, {"items": []}),
        "GET /api/v1/query": lambda request: (200, answer(request)),
    }
    return current


def answer(request: Any) -> dict[str, Any]:
    if "kv_cache" in request.query["query"][0]:
        series = [{"metric": {"model": "chat", "version": "v1"}, "value": [0, "0.275"]}]
    elif "time_to_first" in request.query["query"][0]:
        series = [{"metric": {"model": "chat", "version": "v1"}, "value": [0, "NaN"]}]
    else:
        series = []
    return {"status": "success", "data": {"resultType": "vector", "result": series}}


def test_status_names_fleet_address_and_context_first(fleet: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        f"fleet prod-eu at {fleet.url} (context prod)",
        "targets: 3 up, 1 down   alerts: 1 firing, 0 pending",
    ]
    assert "chat   v1       stable  ready  100%     4.28   ~0.7 s (10 probes)  0% (probe)  -" in lines
    assert lines[-1] == "n1    3    50%  60 of 80 GiB  59 °C"


def test_status_says_what_it_does_not_know(fleet: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.replies["GET /cp/v1/fleet"] = (200, {**FLEET, "alerts": None, "warnings": ["alerts: database is away"]})
    assert run(["status"]) == 0
    out = capsys.readouterr().out
    assert "alerts: unknown\n  not known now: alerts: database is away\n" in out


@pytest.mark.parametrize(
    ("seconds", "samples", "text"),
    [
        (None, None, "-"),
        (0.7213, 4.0, "~0.7 s (4 probes)"),
        (0.7213, 1.2, "~0.7 s (1 probe)"),
        (0.7213, 19.9, "~0.7 s (20 probes)"),
        (0.7213, 20.0, "~0.72 s (20 probes)"),
        (0.7213, 99.0, "~0.72 s (99 probes)"),
        (0.7213, 100.0, "0.721 s (probe)"),
        (0.7213, None, "0.721 s (probe)"),
    ],
)
def test_a_p99_of_few_requests_is_marked_as_rough(seconds: float | None, samples: float | None, text: str) -> None:
    view = {"latency_p99_seconds": seconds, "latency_samples": samples, "latency_source": "probe"}
    assert latency(view) == text


def test_a_gpu_is_named_by_its_index_else_by_as_much_of_its_uuid_as_it_takes() -> None:
    alike = [{"gpu": f"GPU-51000000-0000-4000-8000-00000000000{n}"} for n in (1, 2)]
    assert gpu_name({"gpu": "GPU-x", "index": "0"}, []) == "0"
    assert gpu_name(alike[0], alike) == alike[0]["gpu"]
    assert gpu_name({"gpu": "GPU-aaaaaaaa-1111"}, [{"gpu": "GPU-bbbbbbbb-1111"}]) == "GPU-aaaaaaaa…"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("4.281609195402298", "4.2816"),
        ("3", "3"),
        ("1732596861.123", "1732596861"),
        ("0.00012345678", "0.00012346"),
        ("123456.78", "123457"),
        ("NaN", "NaN"),
        ("+Inf", "+Inf"),
        ("1e+300", "1e+300"),
        ("-0.5", "-0.5"),
    ],
)
def test_a_querys_value_has_the_digits_that_count(value: str, text: str) -> None:
    assert shown(value) == text


def test_a_query_over_time_shows_times_as_every_verb_does(fleet: Any, capsys: pytest.CaptureFixture[str]) -> None:
    series = {"metric": {"__name__": "up", "job": "vllm"}, "values": [[1769862896.5, "1"]]}
    found = {"resultType": "matrix", "result": [series]}
    fleet.replies["GET /api/v1/query_range"] = (200, {"status": "success", "data": found})
    assert run(["query", "up", "--range", "1m"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == '2026-01-31 12:34:56Z  1      up{job="vllm"}'


@pytest.mark.parametrize("over_time", [(), ("--range", "1m")])
def test_what_is_odd_about_a_query_is_told_beside_its_result(
    fleet: Any, capsys: pytest.CaptureFixture[str], over_time: tuple[str, ...]
) -> None:
    told = {"warnings": ["results truncated due to limit"], "infos": ["PromQL info: \x1bodd (1:6)"]}
    result: dict[str, Any] = {"resultType": "matrix" if over_time else "vector", "result": []}
    path = "GET /api/v1/query_range" if over_time else "GET /api/v1/query"
    fleet.replies[path] = (200, {"status": "success", "data": result, **told})
    assert run(["query", "rate(x[5m])", *over_time, "-o", "json"]) == 0
    seen = capsys.readouterr()
    assert json.loads(seen.out) == result
    assert seen.err.splitlines() == ["results truncated due to limit", "PromQL info: \\x1bodd (1:6)"]


def test_top_is_one_look_when_piped(fleet: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"fleet prod-eu at {fleet.url} (context prod)   ")
    (row,) = (line for line in lines if line.startswith("chat "))
    words = "chat v1 ready 100% 4.28 ~0.7 s - - 27.5% - 0 0%"
    assert " ".join(row.split()) == words
    assert run(["top", "-o", "json"]) == 0
    (version,) = json.loads(capsys.readouterr().out)["versions"]
    assert (version["kv_cache_usage_ratio"], version["ttft_p99_seconds"]) == (0.275, None)


def test_top_goes_on_without_the_numbers_that_cannot_be_queried(fleet: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.replies["GET /api/v1/query"] = (422, {"error": "too many samples"})
    assert run(["top"]) == 0
    assert "not known now: kv_cache_usage_ratio: too many samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["top", "--interval", "0.5s"], "--interval: expected a duration"),
        (["top", "--interval", "10ms"], "expected 1s or longer"),
        (["status", "-w", "-o", "json"], "--watch draws a table"),
        (["events", "-f", "-o", "yaml"], "--follow cannot print YAML"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    fleet: Any, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert message in capsys.readouterr().err


# --- drawn again and again


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_screen_is_drawn_over_the_one_before_and_never_scrolls() -> None:
    assert framed("one\ntwo\n", 24) == "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J"
    tall = framed("\n".join(str(n) for n in range(50)), 10)
    assert tall.count("\n") == 9
    assert "8\x1b" not in tall and "… 42 more lines" in tall


def test_a_watch_outlasts_a_control_plane_that_is_away(
    fleet: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            fleet.replies["GET /cp/v1/fleet"] = (503, {"detail": "database is away"})
        elif len(waits) == 2:
            fleet.replies["GET /cp/v1/fleet"] = (200, FLEET)
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    assert run(["status", "--watch"]) == 0
    out = capsys.readouterr().out
    assert out.count("fleet prod-eu at") == 2
    assert "database is away; trying again" in out
    assert waits == [2.0, 2.0, 2.0]


def test_on_a_terminal_the_first_frame_clears_and_colours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    repeat(lambda: print("x", sys.stdout.isatty()), 1.0, rounds=2)
    assert terminal.getvalue() == "\x1b[2J" + 2 * "\x1b[Hx True\x1b[K\n\x1b[J"


# --- events and logs

EVENTS = [
    {
        "at": "2026-01-31T12:34:56.000Z",
        "kind": "alert",
        "subject": "GPUHot",
        "ref": "0123",
        "what": "firing",
        "sentence": "GPUHot went from pending to firing: 93 °C",
    },
    {
        "at": "2026-01-31T12:34:57.000Z",
        "kind": "rollout",
        "subject": "chat",
        "ref": "r-1",
        "what": "verifying",
        "sentence": "v2 serves",
    },
    {
        "at": "2026-01-31T12:34:58.000Z",
        "kind": "audit",
        "subject": "token/3f",
        "ref": "bob",
        "what": "token.create",
        "sentence": "ci with role viewer\x1b[2J",
    },
]
LINES = [
    "2026-01-31 12:34:56Z  firing          GPUHot: 93 °C",
    "2026-01-31 12:34:57Z  verifying       chat (r-1): v2 serves",
    "2026-01-31 12:34:58Z  token.create    token/3f: ci with role viewer\\x1b[2J, by bob",
]


def test_events_are_a_line_each(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    current.replies["GET /cp/v1/history"] = (200, {"items": EVENTS, "next": "1.1.1"})
    assert run(["events", "--kind", "alert", "--kind", "audit", "--limit", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == LINES
    assert current.requests[-1].query == {"limit": ["3"], "kind": ["alert", "audit"]}
    assert run(["events", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == EVENTS


def test_followed_events_go_on_where_they_were_and_an_outage_is_told_once(
    current: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = (503, {"detail": "away"})
    pages: list[Any] = [
        (200, {"items": EVENTS[:1], "next": "1.0.0"}),
        away,
        away,
        (200, {"items": EVENTS[1:2], "next": "1.1.0"}),
        (200, {"items": [], "next": "1.1.0"}),
    ]
    current.replies["GET /cp/v1/history"] = lambda _: pages.pop(0)

    def wait(_: float) -> None:
        if not pages:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    assert run(["events", "--follow"]) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines(), err) == (LINES[:2], "away; trying again\n")
    assert [r.query.get("after") for r in current.requests] == [None, ["1.0.0"], ["1.0.0"], ["1.0.0"], ["1.1.0"]]


def test_log_lines_keep_their_lines_and_nothing_else(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    line = {"id": 7, "at": EVENTS[0]["at"], "level": "error", "logger": "app", "message": "oh\nValueError: \x1b[2J"}
    current.replies["GET /cp/v1/logs"] = (200, {"items": [line]})
    assert run(["logs", "--level", "error"]) == 0
    assert capsys.readouterr().out == "2026-01-31 12:34:56Z  error     app: oh\n    ValueError: \\x1b[2J\n"
    assert current.requests[-1].query == {"limit": ["200"], "level": ["error"]}


# --- diff, explain, version, alerts show


def test_a_file_is_compared_there_and_a_difference_is_1(
    current: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("fleet: {name: prod-eu}\nscrape: {interval: 5s}\n")
    change = {"field": "scrape.interval", "running": '"15s"', "file": '"5s"', "effect": "at the reload"}
    gone = {"field": "route", "running": "{}", "file": None, "effect": "at the reload"}
    current.replies["POST /cp/v1/config/diff"] = (200, {"changes": [change, gone]})
    assert run(["diff", str(file)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{file} compared with fleet prod-eu at {current.url} (context prod):",
        "scrape.interval  (takes effect at the reload)",
        '  - "15s"',
        '  + "5s"',
        "route  (takes effect at the reload)",
        "  - {}",
        "Rule files and file_sd files that it names were not compared.",
    ]
    assert current.requests[-1].body == {"fleet": {"fleet": {"name": "prod-eu"}, "scrape": {"interval": "5s"}}}
    current.replies["POST /cp/v1/config/diff"] = (200, {"changes": []})
    assert run(["diff", str(file)]) == 0
    assert "is the running configuration" in capsys.readouterr().out


def test_a_bad_file_is_refused_before_anything_is_sent(
    current: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.yaml").write_text("fleet: {nmae: x}\n")
    assert run(["diff", str(tmp_path / "fleet.yaml")]) == 2
    assert "fleet.nmae: unknown field" in capsys.readouterr().err
    assert current.requests == []


def test_a_field_is_explained_by_its_path_or_the_end_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("models.traffic.drain_timeout", "drain_timeout", "models[0].traffic.drain_timeout", "Drain_Timeout"):
        assert run(["explain", word]) == 0
        assert capsys.readouterr().out.splitlines()[:3] == [
            "models[].traffic.drain_timeout",
            "  type     duration",
            "  default  5m",
        ]
    assert run(["explain"]) == 0
    sections = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert sections[:4] == ["FIELD", "fleet", "scrape", "targets"]
    assert run(["explain", "models.trafic"]) == 2
    assert "did you mean models.traffic?" in capsys.readouterr().err
    assert run(["explain", "scrape", "-o", "json"]) == 0
    assert {f["path"] for f in json.loads(capsys.readouterr().out)} > {"scrape", "scrape.interval"}


def test_the_version_says_who_answers_and_that_nobody_is_known(
    current: Any, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["version"]) == 0
    assert f"control plane 0.1.0, fleet prod-eu, at {current.url} (context prod), up for " in capsys.readouterr().out
    home.unlink()
    assert run(["version"]) == 0
    assert "no control plane is named" in capsys.readouterr().out
    assert run(["version", "--context", "x"]) == 2


def test_an_alert_is_found_by_name_where_one_has_it(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def item(name: str, fingerprint: str, state: str = "firing") -> dict[str, Any]:
        return {
            "name": name,
            "fingerprint": fingerprint,
            "state": state,
            "annotations": {"summary": f"of {fingerprint}"},
        }

    items = [item("A", "1" * 16), item("B", "2" * 16), item("B", "3" * 16), item("C", "4" * 16, "resolved")]
    detail = {"labels": {}, "value": 1, "runbook": None, "history": [], "simulated": False}
    current.replies["GET /cp/v1/alerts"] = (200, {"items": items})
    for each in items:
        current.replies[f"GET /cp/v1/alerts/{each['fingerprint']}"] = (200, {**each, **detail})
    for word, found in (("A", "1"), ("C", "4"), ("3" * 16, "3")):
        assert run(["alerts", "show", word, "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["fingerprint"] == found * 16
    assert run(["alerts", "show", "B"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "controlplane: 2 alerts are called B; name one by its id",
        "  2222222222222222  of 2222222222222222",
        "  3333333333333333  of 3333333333333333",
    ]
    assert run(["alerts", "show", "nope"]) == 2
