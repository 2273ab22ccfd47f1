"""Fields of a probe on targets of other engines: they would have no effect, and are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.errors import ConfigErrors
from tests.fakes.fleet_text import parse_fleet


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", "hello"),
        ("max_tokens", "3"),
        ("parameters", "{seed: 1}"),
        ("expect", "{contains: a}"),
        ("tensors", "{input: A}"),
        ("questions", "[{prompt: a}]"),
        ("protocol", "openai"),
        ("model_name", "chat"),
    ],
)
def test_a_probes_field_on_another_engine_is_refused(tmp_path: Path, field: str, value: str) -> None:
    path = tmp_path / "fleet.yaml"
    text = f'fleet: {{name: f}}\ntargets:\n  - engine: vllm\n    addresses: ["a:1"]\n    {field}: {value}\n'
    with pytest.raises(ConfigErrors) as told:
        parse_fleet(text, path)
    assert [str(each) for each in told.value.errors] == [
        f"{path}:5: targets[0].{field}: is for engine probe, and has no effect on engine vllm; remove it"
    ]


def test_the_same_fields_on_a_probe_are_fine(tmp_path: Path) -> None:
    text = 'fleet: {name: f}\ntargets:\n  - {engine: probe, urls: ["http://a:1/v1/completions"], prompt: hello}\n'
    assert parse_fleet(text, tmp_path / "fleet.yaml").targets[0].prompt == "hello"
