"""logs.yaml: what a good one becomes, and the sentences about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.logs.settings import LogSettings, PodLog
from collectors.logs.shipping.settings import Destination
from collectors.target import Auth
from controlplane.config.scraping.logs import load_logs, logs_of
from controlplane.errors import ConfigErrors


def faults(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "logs.yaml").write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        load_logs(tmp_path / "logs.yaml")
    return [str(error).removeprefix(f"{tmp_path}/") for error in caught.value.errors]


def test_a_file_becomes_settings(tmp_path: Path) -> None:
    (tmp_path / "logs.yaml").write_text(
        """
logs:
  - engine: vllm
    files: [/var/log/vllm/*.log, own/b.log]
    model: chat
    instance: 10.0.0.1:8000
    labels: {zone: a}
  - {engine: any, journald: kernel}
  - {engine: ollama, docker: ollama, name: desk}
  - {engine: sglang, kubernetes: {namespace: serving, name: deploy/sglang, container: engine}}
  - {engine: tgi, command: [kubectl, logs, -f, --tail=0, deploy/tgi]}
"""
    )
    assert load_logs(tmp_path / "logs.yaml").logs == (
        LogSettings(
            "/var/log/vllm/*.log",
            "vllm",
            files=("/var/log/vllm/*.log", str(tmp_path / "own/b.log")),
            labels=(("engine_instance", "10.0.0.1:8000"), ("model", "chat"), ("zone", "a")),
        ),
        LogSettings("kernel", "any", journald="kernel"),
        LogSettings("desk", "ollama", docker="ollama"),
        LogSettings("serving/deploy/sglang", "sglang", kubernetes=PodLog("serving", "deploy/sglang", "engine")),
        LogSettings("kubectl", "tgi", command=("kubectl", "logs", "-f", "--tail=0", "deploy/tgi")),
    )


def test_one_run_names_every_fault_with_its_line(tmp_path: Path) -> None:
    text = """logs:
  - engine: vlm
    files: [/var/log/vllm/*.log]
  - engine: vllm
    journald: -u
    docker: a
    labels: {event: x, model: y}
    typo: 1
  - engine: any
"""
    assert faults(tmp_path, text) == [
        "logs.yaml:2: logs[0].engine: expected one of: any, vllm, sglang, triton, trtllm, ollama, llamacpp, tgi; "
        "got 'vlm'; did you mean 'vllm'?",
        "logs.yaml:5: logs[1].journald: begins with '-', so it would be read as an option",
        "logs.yaml:6: logs[1].docker: cannot be given beside journald:; make it a log of its own",
        "logs.yaml:7: logs[1].labels.event: is a label that events have already; choose another name",
        "logs.yaml:7: logs[1].labels.model: is set by model:",
        "logs.yaml:8: logs[1].typo: unknown field; known here: engine, name, files, journald, docker, kubernetes, "
        "command, model, instance, evidence, labels",
        "logs.yaml:9: logs[2]: needs one of files:, journald:, docker:, kubernetes:, command:",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "logs.yaml:1: is empty; expected the field logs:"),
        (
            "logs: [{engine: any, journald: kernel}, {engine: any, journald: kernel}]",
            "logs.yaml:1: logs[1]: has the name of logs[0]; set name:",
        ),
        (
            "logs: [{engine: any, docker: -v}]",
            "logs.yaml:1: logs[0].docker: begins with '-', so it would be read as an option",
        ),
        (
            "logs: [{engine: any, kubernetes: {namespace: serving, name: --kubeconfig=x}}]",
            "logs.yaml:1: logs[0].kubernetes.name: begins with '-', so it would be read as an option",
        ),
        (
            "logs: [{engine: any, kubernetes: {name: vllm-0}}]",
            "logs.yaml:1: logs[0].kubernetes.namespace: is required",
        ),
    ],
)
def test_a_fault_is_a_sentence(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


@pytest.mark.parametrize(
    "text", ["logs: []", "logs: [{engine: any, files: ['']}]", "logs: [{engine: any, command: ['']}]"]
)
def test_empty_lists_and_texts_are_refused(tmp_path: Path, text: str) -> None:
    assert len(faults(tmp_path, text)) == 1


def test_options_describe_one_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (log,), _, _ = logs_of({"engine": "vllm", "files": ["a.log"], "model": "chat"})
    assert log == LogSettings("a.log", "vllm", files=(str(tmp_path / "a.log"),), labels=(("model", "chat"),))
    with pytest.raises(ConfigErrors, match="engine: expected one of"):
        logs_of({"engine": "foo", "files": ["a.log"]})


def test_destinations_become_settings(tmp_path: Path) -> None:
    (tmp_path / "logs.yaml").write_text(
        """
logs: [{engine: any, journald: kernel}]
ship:
  - {to: loki, url: "http://loki:3100", tenant: a, spool: spool, authorization: {credentials_file: /etc/token}}
  - {to: elasticsearch, name: search, url: "https://es:9200", lines: all, queue_bytes: 16MB, headers: {X-A: b}}
  - {to: otlp, url: "http://collector:4318", mask: false}
"""
    )
    assert load_logs(tmp_path / "logs.yaml").ship == (
        Destination(
            "loki",
            "loki",
            "http://loki:3100",
            Auth(credentials_file="/etc/token"),
            (("X-Scope-OrgID", "a"),),
            spool=tmp_path / "spool",
        ),
        Destination(
            "search",
            "elasticsearch",
            "https://es:9200",
            headers=(("X-A", "b"),),
            index="llm-logs",
            everything=True,
            queue_bytes=16 << 20,
        ),
        Destination("otlp", "otlp", "http://collector:4318", mask=False),
    )


def test_the_file_of_places_is_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "logs.yaml").write_text("logs: [{engine: any, journald: kernel}]\nstate: places.json\n")
    assert load_logs(tmp_path / "logs.yaml").state == tmp_path / "places.json"


def test_faults_of_destinations_are_sentences(tmp_path: Path) -> None:
    text = """logs: [{engine: any, journald: kernel}]
ship:
  - {to: loki, url: "http://a", spool: x}
  - {to: loki, name: b, url: "http://b", index: a}
  - {to: lokki, url: "http://b"}
  - {to: elasticsearch, url: "a", index: Logs}
  - {to: otlp, url: "http://b", min_backoff: 2m}
"""
    assert faults(tmp_path, text) == [
        "logs.yaml:4: ship[1].index: unknown field; did you mean 'lines'? known here: authorization, basic_auth, "
        "tls, proxy_url, no_proxy, proxy_from_environment, oauth2, headers, "
        "url, name, lines, mask, timeout, batch_lines, batch_bytes, batch_wait, queue_bytes, "
        "min_backoff, max_backoff, max_age, "
        "spool, spool_bytes, to, tenant",
        "logs.yaml:5: ship[2].to: expected one of: loki, elasticsearch, otlp; got 'lokki'; did you mean 'loki'?",
        "logs.yaml:6: ship[3].index: expected an index of lower-case letters, digits, '-', '_' and '.', that begins "
        "with a letter or digit, got 'Logs'",
        "logs.yaml:6: ship[3].url: expected an address that begins with http:// or https:// and has no spaces, got 'a'",
        "logs.yaml:7: ship[4].min_backoff: is longer than max_backoff",
    ]


def test_destinations_share_neither_a_name_nor_a_spool(tmp_path: Path) -> None:
    text = """logs: [{engine: any, journald: kernel}]
ship:
  - {to: otlp, url: "http://a", spool: x}
  - {to: otlp, url: "http://b", spool: x}
"""
    assert faults(tmp_path, text) == [
        "logs.yaml:4: ship[1]: has the name of ship[0]; set name:",
        "logs.yaml:4: ship[1]: has the spool of ship[0]; each needs a folder of its own",
    ]
