"""`rules test` beside promtool: the same files, the same verdict, and the same cases fail.

Debian stable's promtool is 2.42: its ranges are left-closed where ours, as Prometheus 3's, are left-open, so no sample
of these files lies on the edge of a range. What it does not know yet (fuzzy_compare, start_timestamp, an interval that
is left out) is in the unit tests.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from collectors.durations import format_duration
from collectors.samples import labels_of
from controlplane.cli.main import run
from controlplane.ruletest.document import AlertCase
from controlplane.ruletest.report import content
from controlplane.ruletest.run import NOT_RUN, FileOutcome, TestOutcome, run_file
from controlplane.ruletest.series_notation import Kind, format_labels, parse_values
from tests.patience import PROCESS_S

pytestmark = pytest.mark.needs("prometheus")

CORPUS = Path(__file__).parents[1] / "fixtures" / "rules"
PASSING = sorted(path.name for path in CORPUS.glob("*.pass.test.yml"))
FAILING = sorted(path.name for path in CORPUS.glob("fail.*.test.yml"))
BAD = sorted(path.name for path in (CORPUS / "bad").glob("*.test.yml"))

Failed = list[tuple[str, str]]


def promtool(path: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["promtool", "test", "rules", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROCESS_S,
    )
    return done.returncode, done.stdout + done.stderr


def failed_there(output: str) -> Failed:
    """Return (alert or expression, time) of every case that promtool says failed."""
    alerts = re.findall(r"alertname: (\S+), time: (\S+), $", output, re.MULTILINE)
    exprs = re.findall(r'expr: ("(?:[^"\\]|\\.)*"), time: ([^,\s]+),', output)
    return sorted([*alerts, *((json.loads(expr), at) for expr, at in exprs)])


def failed_here(path: Path) -> Failed:
    found = []
    for test in run_file(path).tests:
        for outcome in test.cases:
            if not outcome.passed and outcome.error != NOT_RUN:
                case = outcome.case
                what = case.alertname if isinstance(case, AlertCase) else case.expr
                found.append((what, format_duration(case.at)))
    return sorted(found)


def test_the_corpus_is_there() -> None:
    assert (len(PASSING), len(FAILING), len(BAD)) == (3, 5, 20)


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_there_passes_here(name: str) -> None:
    code, output = promtool(CORPUS / name)
    assert code == 0, output
    assert run(["rules", "test", str(CORPUS / name)]) == 0


@pytest.mark.parametrize("name", FAILING)
def test_what_fails_there_fails_here_case_by_case(name: str) -> None:
    code, output = promtool(CORPUS / name)
    assert code == 1
    assert failed_here(CORPUS / name) == failed_there(output) != []
    assert run(["rules", "test", str(CORPUS / name)]) == 1


@pytest.mark.parametrize("name", ["fail.clash.test.yml", "fail.limit.test.yml"])
def test_a_rule_that_fails_there_fails_here_at_the_same_time(name: str) -> None:
    _, output = promtool(CORPUS / name)
    there = re.findall(r"rule: (\w+), time: 2m0s, err: ", output)
    here = [test.error for test in run_file(CORPUS / name).tests if test.error]
    assert [error.partition(":")[0] for error in here] == there
    assert here[0].endswith("(at 2m)")


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_there_is_refused_here_with_its_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert promtool(CORPUS / "bad" / name)[0] == 1
    assert run(["rules", "test", str(CORPUS / "bad" / name)]) == 2
    assert re.match(r"\S+\.yml:\d+: ", capsys.readouterr().out)


def notation(rng: random.Random) -> str:
    """Return a random series' values: every form of item, with starts and steps that do not add up exactly."""

    def number() -> str:
        return rng.choice([str(rng.randint(0, 99)), f"{rng.uniform(0, 9):.3f}", f"{rng.uniform(0, 9):.2e}", ".1", "7."])

    def item() -> str:
        start = rng.choice(["", "-", "+"]) + number()
        times = rng.randint(0, 4)
        runs = [f"{start}x{times}", f"{start}+{number()}x{times}", f"{start}-{number()}x{times}"]
        return rng.choice([start, *runs, "_", f"_x{times}", "stale", "Inf", "-Inf"])

    return " ".join(item() for _ in range(rng.randint(1, 8)))


def test_promtool_expands_a_hundred_random_series_to_the_bit_as_we_do(tmp_path: Path) -> None:
    rng = random.Random(20261120)
    series, cases = [], []
    for number in range(100):
        text = notation(rng)
        series.append({"series": f"s{number}", "values": text})
        values, kinds = parse_values(text)
        for place, (value, kind) in enumerate(zip(values.tolist(), kinds.tolist(), strict=True)):
            # A step finer than the samples: what is asked for is this very sample, or none at all.
            expected = [{"labels": f"s{number}", "value": value}] if kind == Kind.VALUE else []
            expr = f"s{number} and (timestamp(s{number}) == {place * 600})"
            cases.append({"expr": expr, "eval_time": f"{place * 600}s", "exp_samples": expected})
    content = {
        "evaluation_interval": "10m",
        "tests": [{"interval": "10m", "input_series": series, "promql_expr_test": cases}],
    }
    path = tmp_path / "random.test.yml"
    with path.open("w") as file:
        YAML().dump(content, file)
    code, output = promtool(path)
    assert code == 0, output
    assert len(cases) > 500
    assert run(["rules", "test", str(path)]) == 0


WAITS = ("0s", "1m", "90s", "2m", "5m")
EXPRESSIONS = (
    "m > 0",
    "m == 1",
    "sum by (a) (m)",
    "m * on (a) group_left () sum by (a) (m) > 2",
    "max_over_time(m[4m30s]) > 1",
    "absent(m{i='1'})",
    "m unless m offset 90s",
    'ALERTS{alertname="A0"}',
    "recorded > 1",
    "m and on () vector(time() % 420) < 180",
)


def random_rules(rng: random.Random) -> dict[str, object]:
    """Return groups of alerts that wait, stay and flap, and that read each other and a recorded series."""
    alerts: list[dict[str, object]] = [
        {
            "alert": f"A{number}",
            "expr": rng.choice(EXPRESSIONS),
            "for": rng.choice(WAITS),
            "keep_firing_for": rng.choice(WAITS),
            # Never a template that renders to nothing: Prometheus shows its text in ALERTS then.
            "labels": {"severity": rng.choice(["page", "p{{ $labels.i }}", ""])},
            "annotations": {"text": "{{ $value }} of {{ $labels.a }}"},
        }
        for number in range(6)
    ]
    recorded = {"record": "recorded", "expr": "sum without (i) (m)", "labels": {"b": "c"}}
    groups = [{"name": "g0", "rules": [recorded, *alerts[:3]]}, {"name": "g1", "rules": alerts[3:]}]
    return {"groups": groups}


def random_timeline(rng: random.Random) -> dict[str, object]:
    """Return a test of thirty minutes that expects nothing yet.

    Samples are 61 s apart, the first is missing: within that time none is as old as a range or the lookback to the
    second, where Prometheus 2 and 3 differ.
    """
    series = []
    for i in range(4):
        items = ["_"]
        while len(items) < 25:
            items.append(rng.choice(["0", "1", "2", "1x3", "0x2", "1+1x2", "_", "_x5", "stale"]))
        series.append({"series": f'm{{i="{i}",a="{i % 2}"}}', "values": " ".join(items)})
    times = [f"{rng.randrange(0, 1800)}s" for _ in range(8)]
    names = [f"A{number}" for number in range(6)]
    exprs = ["recorded", "ALERTS", "ALERTS_FOR_STATE"]
    return {
        "interval": "61s",
        "input_series": series,
        "alert_rule_test": [{"eval_time": at, "alertname": name} for at in times for name in names],
        "promql_expr_test": [{"expr": expr, "eval_time": at} for at in times for expr in exprs],
    }


def expect_what_comes(test: dict[str, object], outcome: TestOutcome) -> int:
    """Make a test expect what our evaluator yields. Return how much that is."""
    assert outcome.error == ""
    cases = [*test["alert_rule_test"], *test["promql_expr_test"]]  # type: ignore[misc]  # both are lists
    written = content([FileOutcome(Path(), tests=(outcome,))])["files"][0]["tests"][0]["cases"]
    for case, found in zip(cases, written, strict=True):
        assert found["error"] == ""
        if "alertname" in case:
            case["exp_alerts"] = [{f"exp_{name}": pairs for name, pairs in alert.items()} for alert in found["got"]]
        else:
            case["exp_samples"] = [
                {"labels": format_labels(labels_of(sample["labels"])), "value": float(sample["value"])}
                for sample in found["got"]
            ]
    return sum(len(found["got"]) for found in written)


@pytest.mark.parametrize("seed", range(4))
def test_promtool_sees_the_same_alerts_come_and_go_on_random_timelines(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    (tmp_path / "rules.yml").write_text(json.dumps(random_rules(rng)))
    tests = [random_timeline(rng) for _ in range(5)]
    file: dict[str, object] = {"rule_files": ["rules.yml"], "group_eval_order": ["g0", "g1"], "tests": tests}
    path = tmp_path / "random.test.yml"
    path.write_text(json.dumps(file))
    seen = sum(expect_what_comes(test, o) for test, o in zip(tests, run_file(path).tests, strict=True))
    path.write_text(json.dumps(file))
    code, output = promtool(path)
    assert code == 0, output
    assert seen > 200
