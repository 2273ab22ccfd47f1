"""A rollout as a story: steps, weights and verdicts in a terminal, and a watch that survives an outage."""

from __future__ import annotations

import io
import itertools
import time
from typing import Any

import pytest

from controlplane.cli.main import run
from controlplane.cli.rollouts import follow, story
from controlplane.cli.screens.screen import Footer

SAMPLE = {
    "metric": "errors",
    "unit": "ratio",
    "candidate": 0.081,
    "stable": 0.0031,
    "candidate_requests": 812.0,
    "stable_requests": 2440.0,
    "effect": 0.078,
    "evidence": 15320.0,
    "fails_at": 600.0,
    "outcome": "fail",
    "words": "beyond the tolerance",
    "dry_run": False,
}
LOOK = {
    "kind": "look",
    "name": "",
    "words": "look 7",
    "step": 3,
    "number": 7,
    "since": "2026-11-27T06:50:00.000Z",
    "at": "2026-11-27T06:50:01.000Z",
    "outcome": "fail",
    "reasons": ["errors: 8.1% against 0.31%", "ttft: no difference"],
    "samples": [SAMPLE, {**SAMPLE, "metric": "ttft", "unit": "seconds", "candidate": 0.5, "stable": 0.4}],
    "more_requests": None,
    "enough_at": None,
}


def step(number: int, words: str, state: str, **more: Any) -> dict[str, Any]:
    bare = {"since": None, "until": None, "fraction": None, "left_seconds": None, "left": "", "kind": "shift"}
    return {**bare, "number": number, "words": words, "state": state, **more}


VIEW: dict[str, Any] = {
    "id": "r-1a",
    "model": "chat",
    "from": "v1",
    "to": "v2",
    "kind": "promote",
    "strategy": "canary",
    "phase": "switching",
    "finished": False,
    "ok": None,
    "switched": False,
    "verified": None,
    "evidence": "",
    "wished": False,
    "needs_person": False,
    "sentence": "v2 gets 25% of the requests",
    "notes": [],
    "created_at": "2026-11-27T06:39:36.234Z",
    "created_by": "ann",
    "waits_for": "time",
    "events": [{"at": "2026-11-27T06:39:36.234Z", "phase": "planned", "sentence": "ann asked"}],
    "weights": {"v1": 0.75, "v2": 0.25},
    "wishes": [],
    "aftermath": None,
    "findings": [LOOK],
    "progress": {
        "fraction": 0.5,
        "left_seconds": None,
        "left": "at least 12 min, and an approval",
        "waits_for": "1 approval: `cp rollouts approve r-1a`",
        "waits_until": None,
        "next": "send every request to v2",
        "rollback": {"words": "v1 is loaded: under a second", "seconds": 1.0},
        "steps": [
            step(1, "load v2", "done", since="2026-11-27T06:39:36Z", until="2026-11-27T06:44:36Z"),
            step(2, "send 25% to v2", "current", left_seconds=90.0, left="about 1 min 30 s"),
            step(3, "wait for an approval", "ahead"),
        ],
    },
}


def lines_of(current: Any, capsys: pytest.CaptureFixture[str], **changes: Any) -> list[str]:
    current.replies["GET /cp/v1/rollouts/r-1a"] = (200, VIEW | changes)
    assert run(["rollouts", "show", "r-1a"]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_the_story_says_where_it_stands_what_it_waits_for_and_the_way_back(
    current: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(current, capsys)
    for line in (
        "rollout r-1a: promote chat v1 -> v2 (canary)",
        "v2 gets 25% of the requests",
        "[############------------] 50% time left: at least 12 min, and an approval",
        "requests: v2 25%, v1 75%",
        "waits: 1 approval: `cp rollouts approve r-1a`",
        "last look: fail: errors: 8.1% against 0.31%",
        "a rollback now: v1 is loaded: under a second",
        "1 done 5 min load v2",
        "2 now 1 min 30 s left send 25% to v2",
        "3 wait for an approval",
    ):
        assert line in lines, line


def test_a_wait_for_a_backend_says_when_the_rollout_gives_up(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    told = "gives up at 2026-11-27 06:49:36Z, unless the wait ends"
    waiting = {**VIEW["progress"], "waits_until": "2026-11-27T06:49:36.234Z"}
    assert told in lines_of(current, capsys, waits_for="engine", progress=waiting)
    assert told not in lines_of(current, capsys, waits_for="data", progress=waiting)
    assert not [line for line in lines_of(current, capsys, waits_for="engine") if "gives up" in line]


def test_the_verdict_shows_both_versions_side_by_side(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(current, capsys)
    at = lines.index("METRIC v2 v1 CHANGE REQUESTS EVIDENCE VERDICT")
    assert lines[at - 2 : at] == [
        "look 7 at 2026-11-27 06:50:01Z: fail: errors: 8.1% against 0.31%",
        "ttft: no difference",
    ]
    assert lines[at + 1] == "errors 8.1% 0.31% +7.8 points 812 / 2440 15320 of 600 fail beyond the tolerance"
    assert lines[at + 2].startswith("ttft 500 ms 400 ms +25%")


def test_a_sentence_of_a_metric_is_printed_once(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    told = {**LOOK, "reasons": [SAMPLE["words"]], "samples": [SAMPLE]}
    lines = lines_of(current, capsys, findings=[told])
    assert sum("beyond the tolerance" in line for line in lines) == 2, "as the look's reason and in the glance above"
    assert not [line for line in lines if line.startswith("errors") and "beyond" in line]


def test_missing_data_says_how_much_and_when_there_is_enough(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    few = {**LOOK, "outcome": "not-enough-data", "reasons": ["60 of 100"], "samples": [], "more_requests": 40}
    assert "40 more requests are needed" in lines_of(current, capsys, findings=[few])
    when = {**few, "enough_at": "2026-11-27T07:00:00.000Z"}
    words = "40 more requests are needed, at the present rate at 2026-11-27 07:00:00Z"
    assert words in lines_of(current, capsys, findings=[when])
    running = {**few, "outcome": None, "at": None, "more_requests": None}
    assert "look 7 at 2026-11-27 06:50:00Z: runs" in lines_of(current, capsys, findings=[running])


def test_a_failure_is_cause_consequence_and_next_step(current: Any, capsys: pytest.CaptureFixture[str]) -> None:
    after = {"cause": "8% failed", "consequence": "v1 serves", "next": "mend v2"}
    lines = lines_of(current, capsys, aftermath=after, finished=True, ok=False, phase="rolled-back", weights=None)
    at = lines.index("cause: 8% failed")
    assert lines[at : at + 3] == ["cause: 8% failed", "consequence: v1 serves", "next step: mend v2"]
    assert VIEW["sentence"] not in lines  # cause and consequence are the sentence in parts
    assert not [line for line in lines if line.startswith(("requests:", "waits:", "a rollback now"))]


@pytest.mark.parametrize(("fraction", "words"), [(0.0, 0), (0.999, 23), (1.0, 24)])
def test_the_bar_is_full_at_the_end_only(fraction: float, words: int) -> None:
    assert story.bar(fraction).count("#") == words
    assert story.bar(None) == ""


def test_a_watch_survives_a_restart_of_the_control_plane(
    current: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    later = {"at": "2026-11-27T06:50:00.000Z", "phase": "succeeded", "sentence": "v2 serves"}
    ended = VIEW | {"finished": True, "ok": True, "phase": "succeeded", "events": [*VIEW["events"], later]}
    unavailable = {"detail": "the database cannot be reached", "reasons": []}
    answers = itertools.chain([(200, VIEW)], [(503, unavailable)] * 3, itertools.repeat((200, ended)))
    current.replies["GET /cp/v1/rollouts/r-1a"] = lambda _: next(answers)
    assert run(["rollouts", "watch", "r-1a"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1:] == [
        "  2026-11-27 06:39:36Z  planned       ann asked",
        "  2026-11-27 06:50:00Z  succeeded     v2 serves",
    ]
    assert told.err.count("trying again for 10 min. Traffic stays as it is") == 1


def test_a_watch_gives_up_after_its_patience(
    current: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = itertools.count(0.0, follow.PATIENCE_S / 2)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    answers = itertools.chain([(200, VIEW)], itertools.repeat((503, {"detail": "away", "reasons": []})))
    current.replies["GET /cp/v1/rollouts/r-1a"] = lambda _: next(answers)
    assert run(["rollouts", "watch", "r-1a"]) == 3
    assert "controlplane: away" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_keeps_progress_below_what_scrolls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    footer = Footer()
    footer.draw(["one", "two"])
    footer.draw(["three"])
    footer.erase()
    footer.erase()
    assert screen.getvalue() == "one\ntwo\n\x1b[2F\x1b[Jthree\n\x1b[1F\x1b[J"


def test_a_footer_line_is_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    Footer().draw(["x" * 200, "\x1b[2J"])
    first, second = screen.getvalue().splitlines()
    assert (len(first), first[-1]) == (79, "…")
    assert "\x1b" not in second, "the engine's words cannot move the cursor"


def test_a_pipe_gets_no_footer(capsys: pytest.CaptureFixture[str]) -> None:
    footer = Footer()
    footer.draw(["one"])
    footer.erase()
    assert capsys.readouterr().out == ""
