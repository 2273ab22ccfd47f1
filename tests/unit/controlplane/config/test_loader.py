"""fleet.yaml: accepted files, and faults, which name file, line, field and what was expected."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config.durations import duration_seconds
from controlplane.config.loader import load_fleet
from controlplane.errors import ConfigErrors
from tests.fakes.fleet_text import parse_fleet

WHOLE = """\
fleet: {name: prod-eu}
scrape: {interval: 15s, timeout: 10s}
targets:
  - engine: triton
    addresses: [10.0.0.5:8002]
  - engine: vllm
    file_sd: [targets/*.json]
    labels: {model: chat, version: v1}
    authorization: {credentials_file: /run/secrets/vllm}
  - engine: nvml
  - engine: probe
    urls: ["http://10.0.0.7:8000/v1/chat/completions"]
    labels: {model: chat}
rules: [builtin:llm, builtin:gpu, rules/*.yml]
thresholds: {latency_p99: {value: 2s, for: 5m}, vram_ratio: {value: 0.95}}
notifiers:
  - {name: ops, type: slack, channel: "#llm-ops", token_env: SLACK_BOT_TOKEN}
route: {receiver: ops, group_by: [model, alertname], group_wait: 10s}
models:
  - name: model
    stable: v1
    traffic: {driver: triton, model: model, backends: [{url: "http://10.0.0.5:8000"}]}
    versions: {v1: {}, v2: {}}
cost: {gpu_hour_usd: 2.5, budgets: [{model: model, monthly_usd: 9000}]}
"""


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        parse_fleet(dedent(text), Path("fleet.yaml"))
    return [str(e) for e in caught.value.errors]


def test_a_whole_file_is_accepted_with_durations_in_seconds() -> None:
    fleet = parse_fleet(WHOLE, Path("fleet.yaml"))
    assert fleet.scrape.interval == 15
    assert fleet.thresholds["latency_p99"].for_ == 300
    assert fleet.thresholds["latency_p99"].value == "2s"
    assert fleet.route is not None and fleet.route.repeat_interval == 4 * 3600
    assert fleet.models[0].traffic.backends[0].gpus == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fleet: {name: a}\nscrap: {}\n",
            "fleet.yaml:2: scrap: unknown field; did you mean 'scrape'? known here: fleet, ",
        ),
        (
            "fleet: {name: a}\ntargets:\n  - engine: vllm\n    addresses: [a:1]\n    label: {a: b}\n",
            "fleet.yaml:5: targets[0].label: unknown field; did you mean 'labels'? known here: auth",
        ),
        ("targets: []\n", "fleet.yaml:1: fleet: is required"),
        (
            "fleet: {name: a}\nscrape:\n  timeout: 10\n",
            "fleet.yaml:3: scrape.timeout: expected a duration such as 15s, 2m or 1h30m, got the number 10",
        ),
        (
            "fleet: {name: a}\nscrape: {interval: 5s, timeout: 10s}\n",
            "fleet.yaml:2: scrape.timeout: 10s is longer than interval (5s)",
        ),
        (
            "fleet: {name: a}\ntargets:\n  - engine: tritn\n    addresses: [a:1]\n",
            "fleet.yaml:3: targets[0].engine: expected one of: triton, vllm, sglang, trtllm, ",
        ),
        (
            "fleet: {name: a}\ntargets:\n  - engine: vllm\n",
            "fleet.yaml:3: targets[0]: engine vllm needs addresses: [host:port], file_sd: [files] or one of http_sd:",
        ),
        (
            "fleet: {name: a}\ntargets:\n  - engine: vllm\n    addresses: [no-port]\n",
            "fleet.yaml:4: targets[0].addresses[0]: expected host:port such as 10.0.0.5:8000",
        ),
        (
            "fleet: {name: a}\nroute: {receiver: ops}\n",
            "fleet.yaml:2: route.receiver: 'ops' is not one of notifiers: log",
        ),
        (
            "fleet: {name: a}\nevaluation_interval: 0s\n",
            "fleet.yaml:2: evaluation_interval: expected 1s or more, got '0s'",
        ),
        (
            "fleet: {name: a}\nscrape: {interval: 0s}\n",
            "fleet.yaml:2: scrape.interval: expected more than 0s, got '0s'",
        ),
        (
            "fleet: {name: a}\nmetrics: {retention: 1s}\n",
            "fleet.yaml:2: metrics.retention: expected 1m or more, got '1s'",
        ),
        (
            "fleet: {name: a}\ntargets:\n  - engine: vllm\n    addresses: [a:1]\n    timeout: 60s\n",
            "fleet.yaml:5: targets[0].timeout: 60s is longer than the interval (15s)",
        ),
        (
            "fleet: {name: a}\ntargets:\n  - engine: vllm\n    addresses: [a:1]\n    authorization: {}\n",
            "fleet.yaml:5: targets[0].authorization: needs one of credentials_file:, credentials_env:",
        ),
        (
            "fleet: {name: a}\nnotifiers:\n  - {name: x, type: log}\n  - {name: x, type: log}\n",
            "fleet.yaml:4: notifiers[1].name: 'x' is taken by notifiers[0]",
        ),
        (
            "fleet: {name: a}\nmodels:\n  - name: m\n    stable: v1\n    versions: {v1: {}}\n    traffic:\n"
            "      driver: triton\n      backends:\n        - url: http://a:1\n          grpc: a:2\n"
            "          authorization: {credentials_env: X}\n",
            "fleet.yaml:10: models[0].traffic.backends[0].grpc: load orders go in plain text and without credentials",
        ),
        (
            "fleet: {name: a}\ntargets:\n  - engine: vllm\n    addresses: [a:1]\n    tls: {cert_file: c.pem}\n",
            "fleet.yaml:5: targets[0].tls.cert_file: needs key_file:, the private key of the certificate",
        ),
        (
            "fleet: {name: a}\ntargets:\n  - engine: vllm\n    addresses: [a:1]\n    tls: {key_file: k.pem}\n",
            "fleet.yaml:5: targets[0].tls.key_file: needs cert_file:, the certificate of the private key",
        ),
        ("fleet: {name: a}\nfleet: {name: b}\n", "fleet.yaml:2: fleet: is given twice"),
        ("fleet: {name: [\n", "fleet.yaml:1: not YAML: a value is missing here, or the file ends inside a bracket"),
        ("- a\n", "fleet.yaml:1: holds a list; expected fields such as fleet:"),
        ("", "fleet.yaml:1: is empty; expected fields such as fleet:"),
    ],
)
def test_a_fault_names_file_line_field_and_what_was_expected(text: str, message: str) -> None:
    assert faults(text)[0].startswith(message), faults(text)


@pytest.mark.parametrize("name", ["a:443", "a..b", ".svc", "a" * 64, "gpu 7"])
def test_what_is_no_name_of_a_host_is_no_servers_name(name: str) -> None:
    text = f"fleet: {{name: a}}\ntargets:\n  - engine: vllm\n    addresses: [a:1]\n    tls: {{server_name: '{name}'}}\n"
    (fault,) = faults(text)
    assert fault.startswith(
        "fleet.yaml:5: targets[0].tls.server_name: expected the name of a host such as gpu-7.example"
    )


def test_every_fault_is_reported_in_the_order_of_lines() -> None:
    found = faults("fleet: {name: a}\nzzz: 1\nscrape: {interval: x}\nnotifiers:\n  - {name: ops, type: slack}\n")
    assert [f.split(": ")[0] for f in found] == [f"fleet.yaml:{line}" for line in (2, 3, 5, 5)]


def test_a_short_interval_shortens_the_default_timeout_as_in_prometheus() -> None:
    assert parse_fleet("fleet: {name: a}\nscrape: {interval: 5s}\n", Path("f")).scrape.timeout_s == 5
    assert parse_fleet("fleet: {name: a}\n", Path("f")).scrape.timeout_s == 10


def test_the_log_notifier_is_always_there() -> None:
    fleet = parse_fleet("fleet: {name: a}\nroute: {receiver: log}\n", Path("f"))
    assert fleet.route is not None and fleet.route.receiver == "log"


def test_each_engine_has_its_metrics_path() -> None:
    text = "fleet: {name: a}\ntargets:\n  - {engine: trtllm, addresses: [a:1]}\n  - {engine: vllm, addresses: [a:1]}\n"
    found = parse_fleet(text, Path("f")).targets
    assert [t.metrics_path for t in found] == ["/prometheus/metrics", "/metrics"]


def test_triton_versions_are_directories() -> None:
    text = WHOLE.replace("versions: {v1: {}, v2: {}}", "versions: {v1: {}, big: {}}")
    assert "models[0].versions.big: on triton a version is v and the number of its folder" in faults(text)[0]


def test_a_missing_or_binary_file_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="cannot be read: No such file or directory"):
        load_fleet(tmp_path / "no.yaml")
    (tmp_path / "bin.yaml").write_bytes(b"fleet:\n  \xff")
    with pytest.raises(ConfigErrors, match=r"bin.yaml:2: is not UTF-8"):
        load_fleet(tmp_path / "bin.yaml")


def test_paths_in_a_loaded_file_are_absolute(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(
        WHOLE.replace('{url: "http://10.0.0.5:8000"}', '{url: "http://10.0.0.5:8000", repository: models}').replace(
            "/run/secrets/vllm", "secrets/vllm"
        )
    )
    fleet = load_fleet(tmp_path / "fleet.yaml").fleet
    assert fleet.models[0].traffic.backends[0].repository == tmp_path / "models"
    authorization = fleet.targets[1].authorization
    assert authorization is not None and authorization.credentials_file == tmp_path / "secrets/vllm"


@pytest.mark.parametrize(("text", "seconds"), [("1h30m", 5400), ("500ms", 0.5), ("2w", 1209600), ("0s", 0), (0, 0)])
def test_durations_are_prometheus_durations(text: str, seconds: float) -> None:
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "1.5h", "-1s", "30m1h", 5, None, True, "s"])
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        duration_seconds(text)


@given(st.text(max_size=300))
def test_no_text_makes_anything_but_a_configuration_error(text: str) -> None:
    try:
        parse_fleet(text, Path("fleet.yaml"))
    except ConfigErrors as error:
        assert error.errors


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda c: st.lists(c, max_size=3)))
def test_no_value_in_any_section_makes_anything_but_a_configuration_error(value: object) -> None:
    import json

    for section in ("scrape", "targets", "models", "route", "thresholds", "cost", "notifiers"):
        text = f"fleet: {{name: a}}\n{section}: {json.dumps(value)}\n"
        try:
            parse_fleet(text, Path("fleet.yaml"))
        except ConfigErrors as error:
            assert error.errors


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("{query_url: 'https://u:p@x/y'}", "metrics.query_url: credentials do not belong in the address"),
        ("{query_url: 'http://x/api/v1/query'}", "metrics.query_url: leave out /api/v1"),
        ("{query_url: 'http://x/?a=b'}", "metrics.query_url: expected an address without ? and #"),
        ("{query_url: 'http://x:99999'}", "metrics.query_url: expected an address with a host, and a port"),
        ("{query_url: 'http://[::1'}", "metrics.query_url: expected an address with a host, and a port"),
        ("{query_url: 'http://:80/x'}", "metrics.query_url: expected an address with a host, and a port"),
        ("{remote_write: {url: 'http://x:0/w'}}", "metrics.remote_write[0].url: expected an address with a host"),
        ("{query: {timeout: 3s}}", "metrics.query: needs query_url:, which is not set"),
        (
            "{query_url: 'http://x', query: {headers: {Authorization: x}}}",
            "metrics.query.headers.Authorization: is set by the control plane",
        ),
        (
            '{query_url: "http://x", query: {headers: {X-A: "a\\nb"}}}',
            "metrics.query.headers.X-A: holds a line break (U+000A) as character 2",
        ),
        ("{remote_write: {url: 'http://x', snd: [raw]}}", "metrics.remote_write[0].snd: unknown field"),
        (
            "{remote_write: {url: 'http://x', send: []}}",
            "metrics.remote_write[0].send: expected at least 1 of them, got 0",
        ),
        ("{remote_write: {url: 'http://u:p@x'}}", "metrics.remote_write[0].url: credentials do not belong"),
        (
            "{remote_write: [{url: 'http://x'}, {url: 'http://x/'}]}",
            "metrics.remote_write[1]: another endpoint has the name x too; set another name",
        ),
        (
            "{remote_write: {url: 'http://x', queue_config: {min_backoff: 9s}}}",
            "queue_config.min_backoff: 9s is longer than max_backoff (5s)",
        ),
    ],
)
def test_what_is_wrong_with_metrics_servers_is_named(metrics: str, message: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_fleet(f"fleet: {{name: x}}\nmetrics: {metrics}\n", Path("f.yaml"))
    assert message in str(caught.value)
    assert str(caught.value).startswith("f.yaml:2: ")


def test_one_remote_write_needs_no_list() -> None:
    fleet = parse_fleet("fleet: {name: x}\nmetrics: {remote_write: {url: 'http://x/w'}}\n", Path("f.yaml"))
    (endpoint,) = fleet.metrics.remote_write
    assert (endpoint.url, endpoint.send) == ("http://x/w", ("canonical", "raw", "recorded"))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("2020-13-45", "evaluation_interval: expected a duration such as 15s, 2m or 1h30m, got '2020-13-45'"),
        ("2024-05-01", "evaluation_interval: expected a duration such as 15s, 2m or 1h30m, got '2024-05-01'"),
        ("9" * 5000, "not read: a number of more than 1000 digits; put a text into quotes"),
    ],
    ids=["no date", "date", "number"],
)
def test_a_date_is_a_text_and_an_endless_number_is_refused(value: str, told: str) -> None:
    with pytest.raises(ConfigErrors, match=rf"^fleet\.yaml:2: {told}"):
        parse_fleet(f"fleet: {{name: a}}\nevaluation_interval: {value}\n", Path("fleet.yaml"))
