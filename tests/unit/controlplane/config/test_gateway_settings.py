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
        (
            "name: m, traffic: {driver: gateway}, versions: {v1: {backends: [{url: 'http://a:1/?x', engine: vllm}]}}",
            ["models[0].versions.v1.backends[0].url: expected an address without ? and #"],
        ),
        (
            "name: m, traffic: {driver: triton, backends: [{url: 'http://a:1#x'}]}, versions: {v1: {}}",
            ["models[0].traffic.backends[0].url: expected an address without ? and #"],
        ),
        (
            "name: m, traffic: {driver: gateway}, versions: {v1: {backends: [{url: 'http://localhost:8400', engine: "
            "vllm}]}}",
            [
                "models[0].versions.v1.backends[0].url: http://localhost:8400 is the gateway's own address "
                "(gateway.listen); give the server's"
            ],
        ),
        (
            "name: m, traffic: {driver: gateway, backends: [{url: 'http://127.0.0.1:8401'}]}, versions: {v1: {}}",
            ["models[0].traffic.backends[0].url: http://127.0.0.1:8401 is the gateway's own address (gateway.admin)"],
        ),
        (named("m", "{paths: [/custom/*, /x]}"), []),
        (
            named("m", "{paths: [/sleep]}"),
            ["models[0].gateway.paths[0]: administers the engine, and never passes through the gateway; remove it"],
        ),
        *(
            (named("m", f'{{aliases: ["{name}"]}}'), [f"models[0].gateway.aliases[0]: {why}"])
            for name, why in (
                ("", "is empty; give a name, or remove the entry"),
                (" ", "is empty"),
                (" a", "begins or ends with a space; remove it"),
                ("a" * 257, "has 257 characters; use at most 256"),
                ("gpt\\u200b", "holds a character that does not show (U+200B) as character 4; remove it"),
                ("\\u202etpg", "holds a character that does not show (U+202E) as character 1; remove it"),
                ("g\\u00adpt", "holds a character that does not show (U+00AD)"),
                ("g\\npt", "holds a character that does not show (U+000A)"),
                ("g\\u00a0pt", "holds a character that does not show (U+00A0)"),
                ("g\\u3164pt", "holds a character that does not show (U+3164)"),
                ("g\\ufe0fpt", "holds a character that does not show (U+FE0F)"),
                ("\\ufeffgpt", "holds a character that does not show (U+FEFF)"),
            )
        ),
        (named("m", '{aliases: ["org/name:tag", "模型", "a b"]}'), []),
        (
            "name: m, traffic: {driver: none, model: ''}, versions: {v1: {model: '', backends: [{url: 'http://a:1', "
            'engine: vllm, adapters: ["a\\u200b"]}]}}',
            [
                "models[0].traffic.model: is empty",
                "models[0].versions.v1.backends[0].adapters[0]: holds a character that does not show",
                "models[0].versions.v1.model: is empty",
            ],
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


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{listen: '0.0.0.0:8400', admin: '127.0.0.1:8401'}", ""),
        (
            "{listen: '0.0.0.0:8400', admin: '127.0.0.1:8400'}",
            "127.0.0.1:8400 is within the address (0.0.0.0:8400) of listen: too; choose another port",
        ),
        (
            "{listen: '127.0.0.1:8400', admin: '[::]:8400'}",
            "[::]:8400 is within the address (127.0.0.1:8400) of listen: too; choose another port",
        ),
    ],
)
def test_listeners_differ(section: str, expected: str) -> None:
    try:
        parse_fleet(f"fleet: {{name: a}}\ngateway: {section}\n", Path("fleet.yaml"))
    except ConfigErrors as found:
        (error,) = found.errors
        assert (error.field, error.line, error.reason) == ("gateway.admin", 2, expected)
    else:
        assert not expected


def test_a_backend_may_be_unread() -> None:
    with pytest.raises(ConfigErrors) as found:
        parse_fleet(
            "fleet: {name: a}\nmodels:\n  - {name: m, stable: v1, traffic: {driver: none}, versions: 5}\n"
            "  - {name: n, stable: v1, traffic: {driver: none}, "
            "versions: {v1: {backends: [{url: 5, engine: vllm}, {url: 'http://127.0.0.1:8400', engine: vllm}]}}}\n",
            Path("fleet.yaml"),
        )
    assert [str(error.field) for error in found.value.errors] == [
        "models[0].versions",
        "models[1].versions.v1.backends[0].url",
        "models[1].versions.v1.backends[1].url",
    ]
