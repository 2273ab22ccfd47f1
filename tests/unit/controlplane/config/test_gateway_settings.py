"""Driver gateway and the gateway's settings of a model: what a fleet.yaml may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.errors import ConfigErrors
from tests.fakes.fleet_text import parse_fleet

SERVED = "versions: {v1: {backends: [{url: 'http://a:1', engine: vllm}]}}"


def faults(*models: str) -> list[str]:
    text = "fleet: {name: a}\nmodels:\n" + "".join(f"  - {{stable: v1, {model}}}\n" for model in models)
    try:
        parse_fleet(text, Path("fleet.yaml"))
    except ConfigErrors as found:
        return [f"{error.field}: {error.reason}" for error in found.errors]
    return []


def named(name: str, gateway: str = "{}") -> str:
    return f"name: {name}, traffic: {{driver: gateway}}, {SERVED}, gateway: {gateway}"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (named("m"), []),
        ("name: m, traffic: {driver: gateway, backends: [{url: 'http://a:1'}]}, versions: {v1: {}, v2: {}}", []),
        (
            "name: m, traffic: {driver: gateway}, versions: {v1: {backends: [{url: 'http://a:1', engine: vllm}]}, "
            "v2: {}}",
            ["models[0].versions.v2: has no backends: driver gateway sends requests to the servers of a version"],
        ),
        (
            f"name: m, traffic: {{driver: gateway, backends: [{{url: 'http://a:1', engine: vllm}}]}}, {SERVED}",
            [
                "models[0].traffic.backends[0].engine: must be triton: no other server serves several versions; "
                "put it under versions:"
            ],
        ),
        (
            "name: m, traffic: {driver: gateway, backends: [{url: 'http://a:1'}]}, versions: {v1: {}, next: {}}",
            ["models[0].versions.next: on triton a version is v and the number of its folder, such as v2"],
        ),
        (
            "name: m, traffic: {driver: gateway}, versions: {v1: {backends: [{url: 'http://a:1', engine: vllm}]}, "
            "old: {backends: [{url: 'http://a:1', engine: triton}]}}",
            ["models[0].versions.old: on triton a version is v and the number of its folder, such as v2"],
        ),
        (
            named("m", "{mirror: {version: v2, share: 0.1}}"),
            ["models[0].gateway.mirror.version: 'v2' is not one of versions: v1"],
        ),
        (named("m", "{retries: 11}"), ["models[0].gateway.retries: "]),
        *(
            (named("m", f"{{{field}: {{{name}: {value}}}}}"), [f"models[0].gateway.{field}.{name}: expected"])
            for field, name, value in (
                ("limits", "requests_per_minute", 10**30),
                ("limits", "daily_tokens", 2**53 + 1),
                ("queue", "max_waiting", 10**30),
                ("cache", "max_size", "999999999TB"),
            )
        ),
        (named("m", f"{{limits: {{daily_tokens: {2**53}}}}}"), []),
        (
            "name: m, traffic: {driver: gateway}, versions: {v1: {backends: [{url: 'http://u:p@a', engine: vllm}]}}",
            ["models[0].versions.v1.backends[0].url: credentials do not belong in the address"],
        ),
    ],
)
def test_one_model(model: str, expected: list[str]) -> None:
    found = faults(model)
    assert len(found) == len(expected)
    assert [told[: len(fault)] for told, fault in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("gateways", "expected"),
    [
        (("{aliases: [x], fallbacks: [b], degrade_to: c}", "{fallbacks: [c]}", "{}"), []),
        (("{aliases: [b]}", "{}", "{}"), ["models[0].gateway.aliases[0]: b already names b"]),
        (("{aliases: [x]}", "{aliases: [x]}", "{}"), ["models[1].gateway.aliases[0]: x already names a"]),
        (("{fallbacks: [d]}", "{}", "{}"), ["models[0].gateway.fallbacks[0]: 'd' is not one of models: a, b, c"]),
        (("{degrade_to: a}", "{}", "{}"), ["models[0].gateway.degrade_to: is the model itself; name another one"]),
        (
            ("{degrade_to: b, fallbacks: [b]}", "{}", "{}"),
            ["models[0].gateway.degrade_to: b is in fallbacks too; name each model once"],
        ),
        (
            ("{fallbacks: [b]}", "{fallbacks: [c, a]}", "{}"),
            [
                "models[0].gateway.fallbacks: leads back to itself: a -> b -> a",
                "models[1].gateway.fallbacks: leads back to itself: b -> a -> b",
            ],
        ),
        (
            ("{degrade_to: b}", "{degrade_to: c}", "{degrade_to: b}"),
            [
                "models[1].gateway.degrade_to: leads back to itself: b -> c -> b",
                "models[2].gateway.degrade_to: leads back to itself: c -> b -> c",
            ],
        ),
    ],
)
def test_names_of_several_models(gateways: tuple[str, ...], expected: list[str]) -> None:
    assert faults(*(named(name, gateway) for name, gateway in zip("abc", gateways, strict=True))) == expected


@pytest.mark.parametrize("field", ["max_connections: 1" + "0" * 30, "max_body_bytes: 999999999TB"])
def test_a_number_that_no_worker_can_hold(field: str) -> None:
    with pytest.raises(ConfigErrors, match="or less"):
        parse_fleet(f"fleet: {{name: a}}\ngateway: {{{field}}}\n", Path("fleet.yaml"))
