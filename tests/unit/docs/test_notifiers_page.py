"""docs/notifiers.md has every kind of notifier, and its examples are a fleet.yaml."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

from controlplane.app.notifying.recipes import recipe_of
from controlplane.config.notifiers import NotifierSection
from tests.fakes.fleet_text import parse_fleet

PAGE = (Path(__file__).parents[3] / "docs" / "notifiers.md").read_text(encoding="utf-8")
KINDS = [
    typing.get_args(kind.model_fields["type"].annotation)[0]
    for kind in typing.get_args(typing.get_args(NotifierSection)[0])
]


def test_the_table_has_every_kind() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == sorted(KINDS)


EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
async def test_an_example_makes_its_notifiers(example: str, tmp_path: Path) -> None:
    for section in parse_fleet("fleet: {name: a}\n" + example, tmp_path / "fleet.yaml").notifiers:
        notifier = recipe_of(section).made()
        assert notifier.name == section.name
        await notifier.close()


def test_every_kind_but_slack_and_log_has_an_example() -> None:
    shown = set(re.findall(r"type: (\w+)", "".join(EXAMPLES)))
    assert shown == set(KINDS) - {"slack", "log"}
