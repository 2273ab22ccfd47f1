"""`prometheus_config:` and `http_sd:` of fleet.yaml: what check tells, and a running Scraping that follows the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.app.check import inspect_file
from controlplane.config.loader import LoadedFleet
from tests.unit.controlplane.app.test_scraping_reload import scraping

Write = Callable[[str], LoadedFleet]
FLEET = "targets:\n  - prometheus_config: prometheus.yml\n    engine: vllm\n    engines: {gpus: dcgm}\n"
CONFIG = """\
rule_files: [a.yml]
scrape_configs:
  - {job_name: chat, static_configs: [{targets: ["127.0.0.1:1"]}]}
  - {job_name: gpus, static_configs: [{targets: ["127.0.0.1:2", "127.0.0.1:bad"]}]}
  - {job_name: found, nomad_sd_configs: [{server: s}]}
"""


def checked(folder: Path, fleet: str, config: str = CONFIG) -> list[str]:
    (folder / "fleet.yaml").write_text("fleet: {name: x}\n" + fleet)
    (folder / "prometheus.yml").write_text(config)
    report = inspect_file(folder / "fleet.yaml")
    lines = [*map(str, report.findings), *([report.verdict.partition(", 0 models")[0]] if not report.errors else [])]
    return [line.replace(f"{folder}/", "") for line in lines]


def test_check_tells_what_is_not_taken_over(tmp_path: Path) -> None:
    assert checked(tmp_path, FLEET) == [
        "fleet.yaml:3: warning: targets[0].prometheus_config: job gpus: '127.0.0.1:bad' is not host:port or a host",
        "prometheus.yml:1: warning: rule_files is not taken over; list the files under rules:",
        "prometheus.yml:5: warning: job found: nomad_sd_configs is not supported, so the job is left out",
        "fleet.yaml: good: 2 targets",
    ]


def test_check_refuses_a_file_that_prometheus_would_refuse(tmp_path: Path) -> None:
    assert checked(tmp_path, FLEET, "scrape_configs:\n  - {job_name: a, sheme: https}\n") == [
        "prometheus.yml:2: job a: unknown field sheme; did you mean 'scheme'?"
    ]
    (tmp_path / "fleet.yaml").write_text("fleet: {name: x}\ntargets: [{prometheus_config: none.yml}]\n")
    (finding,) = inspect_file(tmp_path / "fleet.yaml").findings
    assert str(finding) == f"{tmp_path}/none.yml: cannot be read: No such file or directory"


def test_files_of_a_job_that_cannot_be_read_are_warnings(tmp_path: Path) -> None:
    tls = "tls_config: {cert_file: c.pem, key_file: k.pem}, authorization: {credentials_file: token}"
    job = f"{{job_name: chat, scheme: https, static_configs: [{{targets: ['h:1']}}, {{targets: ['h:2']}}], {tls}}}"
    at = "fleet.yaml:3: warning: targets[0].prometheus_config: job chat"
    assert checked(tmp_path, FLEET.replace("{gpus: dcgm}", "{}"), f"scrape_configs: [{job}]") == [
        f"{at}: cannot read the certificate file c.pem: No such file or directory",
        f"{at}: cannot read the credentials file token: No such file or directory",
        "fleet.yaml: good: 2 targets",
    ]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (
            "{engine: vllm, engines: {a: vllm}, addresses: ['h:1']}",
            "engines: is for prometheus_config and prometheus_operator; write engine:",
        ),
        ("{addresses: ['h:1']}", "engine: is required"),
        (
            "{prometheus_config: prometheus.yml, path: /m}",
            "path: is not for prometheus_config; the jobs in that file say it",
        ),
        (
            "{prometheus_config: prometheus.yml, engines: {chat: probe}}",
            "engines.chat: engine probe is not for prometheus_config; give it an entry of its own",
        ),
        (
            "{prometheus_config: prometheus.yml, engines: {chat: vlm}}",
            "engines.chat: expected one of: triton, …; got 'vlm'",
        ),
        (
            "{engine: vllm}",
            "engine vllm needs addresses: [host:port], file_sd: [files] "
            "or one of http_sd:, dns_sd:, consul_sd:, docker_sd:, kubernetes_sd:",
        ),
    ],
)
def test_fields_that_do_not_go_together_are_refused(tmp_path: Path, entry: str, told: str) -> None:
    (fault,) = checked(tmp_path, f"targets: [{entry}]")
    fault = re.sub("triton, .*; got 'vlm'.*", "triton, …; got 'vlm'", fault)
    assert fault in (f"fleet.yaml:2: targets[0].{told}", f"fleet.yaml:2: targets[0]: {told}")


def test_engines_of_unknown_jobs_and_servers_without_an_answer_are_warnings(tmp_path: Path) -> None:
    fleet = "targets:\n- {prometheus_config: prometheus.yml, engines: {chatt: vllm}}\n"
    fleet += "- engine: vllm\n  http_sd: [{url: 'http://127.0.0.1:1/x?key=s3cret'}]\n"
    config = "scrape_configs: [{job_name: chat, static_configs: [{targets: ['h:1']}]}]"
    assert checked(tmp_path, fleet, config) == [
        "fleet.yaml:3: warning: targets[0].engines.chatt: 'chatt' is not one of the jobs of the file: chat;"
        " did you mean 'chat'?",
        "fleet.yaml:5: warning: targets[1].http_sd[0]: http://127.0.0.1:1/x: connection refused",
        "fleet.yaml: good: 1 target",
    ]


async def test_a_running_control_plane_follows_the_file(
    fleet: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(CONFIG.replace(', "127.0.0.1:bad"', ""))
    async with scraping(fleet(FLEET)) as running:

        def targets() -> list[tuple[str, str, str]]:
            return [(h.target.engine, h.target.job, h.target.instance) for h in running.health()]

        both = [("vllm", "chat", "127.0.0.1:1"), ("dcgm", "gpus", "127.0.0.1:2")]
        assert (targets(), running.faults(), running.all_known()) == (both, (), True)
        assert caplog.messages == []  # the start tells what is not taken over
        file.write_text("scrape_configs: [{job_name: chat")
        for _ in range(2):
            await running.discover()
            assert targets() == both
            (fault,) = running.faults()
            assert fault.startswith(f"{file}:1: not YAML")
            assert not running.all_known()
        assert caplog.messages == [f"discovery: {fault}"]
        file.write_text("scrape_configs: [{job_name: a, body_size_limit: 3, static_configs: [{targets: ['h:1']}]}]")
        await running.discover()
        assert (targets(), running.faults()) == ([("vllm", "a", "h:1")], ())
        told = f"discovery: {file}:1: job a: body_size_limit is not taken over; scrape: in fleet.yaml has limits"
        assert caplog.messages[1:] == [told]


async def test_targets_of_a_server_that_did_not_answer_yet_are_not_known(fleet: Write, tmp_path: Path) -> None:
    async with scraping(fleet("targets: [{engine: vllm, http_sd: [{url: 'http://127.0.0.1:1/'}]}]\n")) as running:
        assert (running.faults(), running.all_known()) == ((), False)
