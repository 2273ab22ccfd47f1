"""Routing, grouping and inhibition beside Debian's Alertmanager: the same file and the same alerts, the same messages.

Alertmanager runs on the real clock with short waits, ours on seconds that the test names. Compared is the content of
the messages and not their second: which notifier gets which alerts of which group, first and after some have ended.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml

from alerts.dispatch import GroupState, Picture, Stages, decide
from alerts.interfaces import AlertInstance, AlertState
from alerts.routing.config import read_alertmanager
from collectors.samples import labels_of
from tests.contract.real_servers import alertmanager
from tests.fakes.receiver import Receiver, receiving
from tests.patience import HANG_S, until

pytestmark = pytest.mark.needs("alertmanager")
RECEIVERS = ("ops", "pager", "gpu", "mail")
VALUES = {"severity": ("critical", "warning"), "team": ("gpu", "chat", ""), "node": ("n1", "n2")}
Told = tuple[str, tuple[tuple[str, str], ...], str, tuple[str, ...], tuple[str, ...]]
"""Receiver, labels of the group, status, names of the firing alerts, names of the resolved ones."""


def configuration(draw: random.Random, url: str) -> str:
    def route(depth: int) -> dict[str, Any]:
        name = draw.choice(tuple(VALUES))
        op = draw.choice(("=", "!=", "=~"))
        found: dict[str, Any] = {
            "matchers": [f'{name}{op}"{draw.choice(VALUES[name])}"'],
            "continue": draw.random() < 0.4,
        }
        if draw.random() < 0.7:
            found["receiver"] = draw.choice(RECEIVERS)
        if draw.random() < 0.5:
            found["group_by"] = draw.choice(([], ["node"], ["team", "severity"], ["..."]))
        if depth:
            found["routes"] = [route(depth - 1) for _ in range(draw.randrange(3))]
        return found

    root = {
        "receiver": "ops",
        "group_by": ["team"],
        "group_wait": "1s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    hooks = [{"name": name, "webhook_configs": [{"url": f"{url}/{name}"}]} for name in RECEIVERS]
    inhibit = {
        "source_matchers": ["severity=critical"],
        "target_matchers": ["severity=warning"],
        "equal": ["node", "team"],
    }
    content = {
        "route": {**root, "routes": [route(2) for _ in range(3)]},
        "receivers": hooks,
        "inhibit_rules": [inhibit],
    }
    return yaml.safe_dump(content)


def alerts(draw: random.Random) -> list[AlertInstance]:
    found = []
    for number in range(12):
        labels = {name: draw.choice(values) for name, values in VALUES.items()}
        every = labels_of({"alertname": f"A{number:02}", **labels})
        found.append(AlertInstance(f"f;g;A{number:02}", every, (), AlertState.FIRING, 1.0, 0.0, fired_at=0.0))
    return found


class Ours:
    """Our dispatch on seconds that the test names."""

    def __init__(self, config: str) -> None:
        routing = read_alertmanager(config, "am.yml")
        self.stages = Stages(routing, {name: (name,) for name in routing.receivers}, "")
        self.groups: dict[str, GroupState] = {}

    def at(self, second: float, instances: Iterable[AlertInstance]) -> list[Told]:
        steps = decide(self.stages, Picture(tuple(instances), self.groups), second)
        self.groups |= {step.state.key: step.state for step in steps}
        messages = [step.message for step in steps if step.message]
        return sorted((m.receiver, m.group_labels, m.status, _names(m.firing), _names(m.resolved)) for m in messages)


def _names(instances: Iterable[AlertInstance]) -> tuple[str, ...]:
    return tuple(sorted(dict(one.labels)["alertname"] for one in instances))


async def post(url: str, instances: Iterable[AlertInstance]) -> None:
    now = datetime.now(UTC)
    # A start that is past would let Alertmanager send the group before all of its alerts have come in.
    soon, later = now + timedelta(minutes=5), now + timedelta(hours=1)
    times = {one: (now, now) if one.state is AlertState.INACTIVE else (soon, later) for one in instances}
    body = [
        {"labels": dict(one.labels), "startsAt": start.isoformat(), "endsAt": end.isoformat()}
        for one, (start, end) in times.items()
    ]
    async with httpx.AsyncClient(timeout=HANG_S) as client:
        (await client.post(f"{url}/api/v2/alerts", json=body)).raise_for_status()


def told(got: Mapping[str, Any]) -> Told:
    names = {
        status: tuple(sorted(one["labels"]["alertname"] for one in got["alerts"] if one["status"] == status))
        for status in ("firing", "resolved")
    }
    group = tuple(sorted(got["groupLabels"].items()))
    return got["receiver"], group, got["status"], names["firing"], names["resolved"]


def of_news(got: Iterable[Told], before: Iterable[Told]) -> list[Told]:
    """Return the messages with the alerts that somebody had heard of.

    Alertmanager also calls alerts resolved that were held back from the start, even in a message of their own. We do
    not: nobody knew of them.
    """
    known = {(receiver, group): firing for receiver, group, _, firing, _ in before}
    found = []
    for receiver, group, status, firing, over in sorted(got):
        heard = known.get((receiver, group), ())
        ended = tuple(name for name in over if name in heard)
        if ended or firing != heard:
            found.append((receiver, group, status, firing, ended))
    return found


async def theirs(hook: Receiver, expected: list[Told], before: Iterable[Told] = ()) -> list[Told]:
    """Return what came, once it is as many messages as expected."""

    def found() -> list[Told]:
        return of_news((told(one.json) for one in hook.taken), before)

    await until(lambda: len(found()) >= len(expected))
    came = found()
    hook.taken = []
    return came


@pytest.mark.parametrize("seed", range(6))
async def test_the_same_alerts_make_the_same_messages(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    async with receiving() as hook:
        config = configuration(draw, hook.url)
        ours, firing = Ours(config), alerts(draw)
        with alertmanager(tmp_path, config) as url:
            ours.at(0.0, firing)
            first = ours.at(1.0, firing)
            assert len(first) > 2
            await post(url, firing)
            assert await theirs(hook, first) == first

            over = [replace(one, state=AlertState.INACTIVE, resolved_at=10.0) for one in draw.sample(firing, 5)]
            left = [one for one in firing if one.labels not in {ended.labels for ended in over}]
            # A group whose alerts were all held back exists there and waits no more; here it opens, and waits.
            second = sorted(ours.at(20.0, [*left, *over]) + ours.at(21.0, [*left, *over]))
            await post(url, over)
            assert await theirs(hook, second, first) == second


ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "Asia/Kolkata", "America/St_Johns", "Pacific/Auckland")
"""At least an hour and a half apart, by day and by year."""


@pytest.mark.parametrize("field", ["active_time_intervals", "mute_time_intervals"])
async def test_time_intervals_of_zones_let_the_same_routes_send(field: str, tmp_path: Path) -> None:
    utc = datetime.now(UTC)
    # Half an hour before and after now, in a zone in which that is one day.
    zone = "UTC" if 1 <= utc.hour <= 22 else "Asia/Shanghai"
    ends = [(utc + timedelta(minutes=by)).astimezone(ZoneInfo(zone)).strftime("%H:%M") for by in (-30, 30)]
    times = [{"start_time": ends[0], "end_time": ends[1]}]
    async with receiving() as hook:
        content = {
            "route": {
                "receiver": "root",
                "group_wait": "1s",
                "routes": [
                    {"receiver": one, "continue": True, "matchers": ["alertname=~.+"], field: [one]} for one in ZONES
                ],
            },
            "time_intervals": [{"name": one, "time_intervals": [{"times": times, "location": one}]} for one in ZONES],
            "receivers": [{"name": one, "webhook_configs": [{"url": hook.url}]} for one in ("root", *ZONES)],
        }
        config = yaml.safe_dump(content)
        ours, (alert, *_) = Ours(config), alerts(random.Random(0))
        ours.at(utc.timestamp(), [alert])
        expected = ours.at(utc.timestamp() + 1, [alert])
        sending = {zone} if field.startswith("active") else set(ZONES) - {zone}
        assert {receiver for receiver, *_ in expected} == sending
        with alertmanager(tmp_path, config) as url:
            await post(url, [alert])
            assert await theirs(hook, expected) == expected
