"""What `targets` prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from controlplane.cli import look
from controlplane.cli.errors import WrongUsage

UP: dict[str, Any] = {
    "engine": "vllm",
    "job": "vllm",
    "instance": "a:8000",
    "health": "up",
    "last_error": "",
    "last_scrape_at": None,
    "duration_seconds": 0.01,
    "samples": 5,
    "missing": [],
    "blind": False,
    "unknown_labels": [],
    "labels": {},
    "simulated": False,
}

RULE = "relabel_configs[0] (drop): env must not match 'dev'"


class Client:
    def __init__(
        self, *items: dict[str, Any], dropped: int = 0, faults: tuple[str, ...] = (), remarks: tuple[str, ...] = ()
    ) -> None:
        self.items, self.dropped, self.faults, self.remarks = items, dropped, faults, remarks

    def get(self, path: str) -> dict[str, Any]:
        assert path == "/cp/v1/targets"
        return {"items": list(self.items), "dropped": self.dropped, "faults": list(self.faults),
                "remarks": list(self.remarks)}  # fmt: skip


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *items: dict[str, Any]) -> list[str]:
    @contextmanager
    def connect(_url: str | None, _context: str | None) -> Iterator[Client]:
        yield Client(*items)

    monkeypatch.setattr(look, "connect", connect)
    look.targets(None, None, "table")
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]


def test_a_blind_target_comes_first_and_says_what_to_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "answers with an empty body, without the metrics of vllm: check engine: and path:"
    blind = {**UP, "instance": "b:8000", "blind": True, "missing": ["llm_requests_total"], "remark": words}
    first, second = printed(monkeypatch, capsys, UP, blind)
    assert first == f"vllm b:8000 vllm blind - 10 ms 5 {words}"
    assert second == "vllm a:8000 vllm up - 10 ms 5"


@pytest.mark.parametrize(
    ("engine", "auto", "shown"),
    [
        ("vllm", True, "vllm (auto)"),
        ("auto", True, "auto"),
        ("custom", True, "custom (auto)"),
        ("triton", False, "triton"),
    ],
)
def test_a_recognised_engine_is_marked(
    engine: str, auto: bool, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(monkeypatch, capsys, {**UP, "engine": engine, "auto": auto}) == [f"vllm a:8000 {shown} up - 10 ms 5"]


def test_what_is_missing_or_unknown_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {**UP, "missing": ["llm_requests_total"], "unknown_labels": ["llm_requests_waiting: replica"]}
    (line,) = printed(monkeypatch, capsys, one)
    assert "does not report 1 expected metric(s): see -o json" in line
    assert line.endswith("unknown labels keep series apart: llm_requests_waiting: replica")


def test_dropped_targets_and_faults_of_lists_are_told_beside_the_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        look,
        "connect",
        lambda *_: nullcontext(
            Client(
                UP, dropped=3, faults=("a.json: not JSON",), remarks=tuple(f"m{n} selects nothing" for n in range(12))
            )
        ),
    )
    look.targets(None, None, "table")
    told = capsys.readouterr()
    assert (len(told.out.splitlines()), told.err) == (
        2,
        "3 more dropped by relabel_configs; targets --dropped says why\nfault of a list: a.json: not JSON\n"
        + "".join(f"remark: m{n} selects nothing\n" for n in range(10))
        + "2 more remarks; the console's page of targets has all\n",
    )


def test_an_older_server_says_less(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    older = {name: value for name, value in UP.items() if name not in ("missing", "blind", "unknown_labels")}
    assert printed(monkeypatch, capsys, older) == ["vllm a:8000 vllm up - 10 ms 5"]


def test_a_probes_remark_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    remark = "the probe's question does not fit chat at http://a:8000/v1/rerank: the server answered 422: no query"
    (line,) = printed(monkeypatch, capsys, {**UP, "remark": remark})
    assert line.endswith(remark)


def test_dropped_endpoints_are_told_with_their_rule(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    answers: list[dict[str, Any]] = [
        {
            "items": [{"job": "vllm", "address": "b:1", "labels": {}, "reason": RULE}],
            "total": 3,
        },
        {"items": [], "total": 0},
        {"items": [], "total": 0},
    ]

    class Drops:
        def get(self, path: str) -> dict[str, Any]:
            asked.append(path)
            return answers.pop(0)

    @contextmanager
    def connect(_url: str | None, _context: str | None) -> Iterator[Drops]:
        yield Drops()

    monkeypatch.setattr(look, "connect", connect)
    look.targets(None, None, "table", dropped=True, search="a b", limit=1)
    printed = capsys.readouterr()
    assert [" ".join(line.split()) for line in printed.out.splitlines()] == [
        "JOB ADDRESS DROPPED BY",
        f"vllm b:1 {RULE}",
    ]
    assert printed.err == "2 more; --search TEXT or --limit N shows them\n"
    look.targets(None, None, "table", dropped=True, search="x")
    look.targets(None, None, "table", dropped=True, search=None)
    printed = capsys.readouterr()
    assert "relabel_configs drop no endpoint with 'x'" in printed.out + printed.err
    assert asked == [f"/cp/v1/targets/dropped?search={given}" for given in ("a+b&limit=1", "x&limit=100", "&limit=100")]
    with pytest.raises(WrongUsage, match="--search is for --dropped"):
        look.targets(None, None, "table", search="x")
