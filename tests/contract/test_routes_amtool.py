"""Routes, matchers and refusals beside Debian's amtool on the same files."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
import yaml

from alerts.errors import RuleError
from alerts.routing.config import read_alertmanager, read_file
from tests.patience import PROCESS_S

pytestmark = pytest.mark.needs("amtool")
NAMES = ("severity", "team", "model")
VALUES = ("critical", "warning", "gpu", "")
OPS = ("=", "!=", "=~", "!~")
PATTERNS = ("critical|warning", "g.+", ".*", "", "gp", "[a-z]{3}")
RECEIVERS = ("ops", "pager", "gpu", "mail")


def amtool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *words], capture_output=True, text=True, timeout=PROCESS_S, check=False)


def matcher(draw: random.Random) -> str:
    op = draw.choice(OPS)
    value = draw.choice(PATTERNS if "~" in op else VALUES)
    space = draw.choice(("", " "))
    return f'{draw.choice(NAMES)}{space}{op}{space}"{value}"'


def route(draw: random.Random, depth: int) -> dict[str, object]:
    found: dict[str, object] = {}
    if draw.random() < 0.9:
        found["matchers"] = [matcher(draw) for _ in range(draw.choice((1, 1, 2)))]
    if draw.random() < 0.2:
        found["match"] = {draw.choice(NAMES): draw.choice(VALUES)}
    if draw.random() < 0.2:
        found["match_re"] = {draw.choice(NAMES): draw.choice(PATTERNS)}
    if draw.random() < 0.7:
        found["receiver"] = draw.choice(RECEIVERS)
    found["continue"] = draw.random() < 0.3
    if depth:
        found["routes"] = [route(draw, depth - 1) for _ in range(draw.randrange(4))]
    return found


@pytest.mark.parametrize("seed", range(12))
def test_random_trees_send_random_alerts_to_the_same_receivers(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    file = tmp_path / "alertmanager.yml"
    root = {"receiver": "ops", "routes": [route(draw, 2) for _ in range(4)]}
    file.write_text(yaml.safe_dump({"route": root, "receivers": [{"name": name} for name in RECEIVERS]}))
    tree = read_file(file).root
    for _ in range(8):
        labels = {name: draw.choice(VALUES[:3]) for name in draw.sample(NAMES, draw.randrange(4))}
        words = [f"{name}={value}" for name, value in labels.items()]
        ran = amtool("config", "routes", "test", f"--config.file={file}", *words)
        assert ran.returncode == 0, ran.stderr
        assert ",".join(node.receiver for node in tree.find(labels)) == ran.stdout.strip(), labels


ROOT = "route: {receiver: ops%s}\nreceivers: [{name: ops}]\n"
INTERVAL = ROOT % "" + "time_intervals: [{name: n, time_intervals: [{%s}]}]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ROOT % "", ""),
        (ROOT % ", group_by: [model, model]", "group_by has a label twice"),
        (ROOT % ", group_by: ['...', model]", "group_by has ... and other labels"),
        (ROOT % ", group_interval: 0s", "group_interval: expected more than 0s"),
        (ROOT % ", group_wait: soon", "expected a duration"),
        (ROOT % ", matchers: [a=b]", "the root route takes every alert"),
        (ROOT % ", continue: true", "may not have continue: true"),
        (ROOT % ", colour: red", "unknown field colour"),
        (ROOT % ", routes: [{receiver: nobody}]", "receiver nobody is not in receivers:; known are ops"),
        (ROOT % ", routes: [{matchers: ['a=~(']}]", "error parsing regexp: missing closing ): `(`"),
        (ROOT % ", routes: [{matchers: ['a']}]", "expected one of =, !=, =~ and !~ at the end"),
        (ROOT % """, routes: [{matchers: ['a="b']}]""", "expected a closing quote"),
        (ROOT % ", routes: [{mute_time_intervals: [night]}]", "night is not in time_intervals:; known are none"),
        ("receivers: [{name: ops}]\n", "a configuration needs a route:"),
        ("route: {group_by: [a]}\nreceivers: [{name: ops}]\n", "the root route needs a receiver"),
        ("route: {receiver: ops}\nreceivers: [{name: ops}, {name: ops}]\n", "receiver ops is given twice"),
        ("route: {receiver: ops}\nreceivers: [{name: ops}, {}]\n", "a receiver needs a name"),
        (INTERVAL % "times: [{start_time: '09:00', end_time: '17:00'}]", ""),
        (INTERVAL % "times: [{start_time: '17:00', end_time: '09:00'}]", "17:00 is not before 09:00"),
        (INTERVAL % "times: [{start_time: '9am', end_time: '17:00'}]", "expected a time such as 09:00"),
        (INTERVAL % "times: [{start_time: '09:00'}]", "a range needs start_time and end_time"),
        (INTERVAL % "weekdays: ['monday:friday', sunday]", ""),
        (INTERVAL % "weekdays: ['friday:monday']", "the range ends before it begins"),
        (INTERVAL % "weekdays: ['mon']", "'mon' is no weekday"),
        (INTERVAL % "days_of_month: ['1:5', '-3:-1', '10:-1']", ""),
        (INTERVAL % "days_of_month: ['0']", "a day of the month is 1 to 31"),
        (INTERVAL % "days_of_month: ['32']", "a day of the month is 1 to 31"),
        (INTERVAL % "days_of_month: ['-1:-3']", "the range ends before it begins"),
        (INTERVAL % "days_of_month: ['-5:5']", "cannot end after its begin"),
        (INTERVAL % "months: ['january:3', may]", ""),
        (INTERVAL % "years: ['2026:2030']", ""),
        (INTERVAL % "years: ['2030:2026']", "the range ends before it begins"),
        (INTERVAL % "location: Mars/Phobos", "'Mars/Phobos' is no time zone"),
        (INTERVAL % "location: Asia/Shanghai", ""),
        (INTERVAL % "location: Local", ""),
        (INTERVAL % "location: ''", ""),
        (INTERVAL % "location: asia/shanghai", "'asia/shanghai' is no time zone"),
    ],
)
def test_what_amtool_refuses_is_refused_with_its_place(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(text)
    checked = amtool("check-config", str(file))
    assert (checked.returncode == 0) == (not words), checked.stdout + checked.stderr
    try:
        read_alertmanager(text, "am.yml")
    except RuleError as error:
        assert words and words in str(error), error
        assert str(error).startswith("am.yml:")
    else:
        assert not words
