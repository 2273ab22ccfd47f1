"""`check` of a file in which one value is not what it should be: any value, anywhere. Each fault has its place."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.app.check import inspect_file
from tests.unit.controlplane.app.rich_fleet import RICH

Place = tuple[int | str, ...]
_SPLIT = RICH["models"][2]
_MODELS = [*RICH["models"][:2], {name: value for name, value in _SPLIT.items() if name != "rollout"}]
_REST = {name: value for name, value in RICH.items() if name != "rollouts"}
FLEET = {**_REST, "models": _MODELS, "rules": ["builtin:gpu", "mine.yml"]}
"""With the smallest of the built-in packs, because the whole file is checked for each value."""
ROLLED = {"fleet": RICH["fleet"], "rules": [], "models": [_SPLIT], "rollouts": RICH["rollouts"]}
"""The options of rollouts alone: the whole file is read for each of its values."""
WRONG: dict[str, Any]
WRONG = {"nothing": None, "a text": "abc", "a number": -1, "a list": [], "a map": {}, "a map in a list": [{"a": 1}]}
DRIVER: Place = ("models", 0, "traffic", "driver")
DROPPED = object()
PYTHON = re.compile(r"object has no|Error\(|<class|NoneType|internal error")
"""Words of Python's in place of ours."""


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    yield place
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*place, key))


def with_value(place: Place, value: object, fleet: Any = FLEET) -> Any:
    changed: Any = copy.deepcopy(fleet)
    if not place:
        return value
    section = changed
    for key in place[:-1]:
        section = section[key]
    if value is DROPPED:
        del section[place[-1]]
    else:
        section[place[-1]] = value
    return changed


def told(folder: Path, content: Any) -> list[str]:
    """Return the errors that are found; the file's name is taken from them."""
    file = folder / "fleet.yaml"
    file.write_text(json.dumps(content, indent=1))
    return [str(finding).removeprefix(str(file)) for finding in inspect_file(file).errors]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "more.json").write_text("[]")
    (tmp_path / "mine.yml").write_text("groups: []\n")
    return tmp_path


def test_the_file_as_it_is_has_no_fault(folder: Path) -> None:
    assert told(folder, FLEET) == told(folder, ROLLED) == []


@pytest.mark.timeout(1200)  # some hundred checks, one for each field; a busy machine takes minutes
@pytest.mark.parametrize("wrong", [*WRONG, "dropped"])
def test_a_wrong_value_anywhere_is_told_with_its_line_and_in_our_words(folder: Path, wrong: str) -> None:
    value = WRONG.get(wrong, DROPPED)
    options = [(ROLLED, place) for place in places(ROLLED) if {"rollout", "rollouts"} & set(place)]
    for fleet, place in [*((FLEET, place) for place in places(FLEET)), *options]:
        if value is DROPPED and not (place and isinstance(place[-1], str)):
            continue
        if not place:
            continue  # refused as a whole, which test_check.py looks at
        for line in told(folder, with_value(place, value, fleet)):
            assert re.match(r":\d+: \S", line) or "mine.yml" in line or "cannot be read" in line, (place, line)
            assert not PYTHON.search(line), (place, line)


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("models", 0, "stable"), "v3", "models[0].stable: 'v3' is not one of versions: v1, v2"),
        (("models", 0, "versions"), {}, "models[0].stable: 'v1' is not one of versions: there are none"),
        (
            DRIVER,
            None,
            "models[0].traffic.driver: expected one of: triton, gateway, haproxy, nginx, envoy, kubernetes, exec, "
            "vllm, none; "
            "got nothing",
        ),
        (DRIVER, DROPPED, "models[0].traffic.driver: is required"),
        (
            ("models", 1, "versions", "v1", "backends", 0, "engine"),
            DROPPED,
            "models[1].versions.v1.backends[0].engine: is required: name the server, one of: triton, vllm, sglang, "
            "trtllm, tgi, lmdeploy, llamacpp, ollama",
        ),
        (("notifiers", 0, "token_env"), None, "notifiers[0]: type slack needs one of token_env:, token_file:"),
        (("notifiers", 0, "type"), DROPPED, "notifiers[0].type: is required"),
        (
            ("notifiers", 0, "type"),
            "pager",
            "notifiers[0].type: expected one of: slack, log, webhook, alertmanager, email, feishu, dingtalk, wecom, "
            "msteams, slack_webhook, pagerduty, opsgenie, command; got 'pager'; did you mean 'pagerduty'?",
        ),
    ],
)
def test_what_a_section_says_of_itself_is_told_alone(folder: Path, place: Place, value: object, fault: str) -> None:
    (line,) = told(folder, with_value(place, value))
    assert re.sub(r"^:\d+: ", "", line) == fault
