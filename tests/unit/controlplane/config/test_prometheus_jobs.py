"""Jobs of a prometheus.yml: what is taken over, what is told, what leaves a job out, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.errors import RuleError
from collectors.clouds.client_credentials import ClientCredentials
from collectors.discovery.consul_sd import ConsulSd
from collectors.discovery.dns_sd import DnsSd, RecordType
from collectors.discovery.docker_sd import DockerSd
from collectors.discovery.group import DiscoveryGroup
from collectors.discovery.http_sd import HttpSd
from collectors.relabel import Action, RelabelRule
from collectors.target import Auth, IssuedAuth, Proxy
from controlplane.config.scraping.prometheus.jobs import Jobs, read_jobs

STATIC = "static_configs: [{targets: ['h:1']}]"


ISSUER = "client_id: a, token_url: 'https://i/token', client_secret_file: s"


def read(folder: Path, text: str) -> Jobs:
    (folder / "prometheus.yml").write_text(text)
    return read_jobs(folder / "prometheus.yml")


def job(folder: Path, fields: str) -> Jobs:
    return read(folder, f"scrape_configs:\n  - job_name: a\n    {STATIC}\n    {fields}\n")


def told(jobs: Jobs) -> list[str]:
    return [f"{note.line}: {note.text}" for note in jobs.notes]


def test_a_job_becomes_a_group_for_each_list(tmp_path: Path) -> None:
    text = """\
global: {scrape_interval: 30s, scrape_timeout: 20s, sample_limit: 9}
scrape_configs:
  - job_name: web
    scheme: https
    metrics_path: /m
    params: {"match[]": [a, b], x: [1]}
    scrape_interval: 5s
    honor_labels: yes
    authorization: {credentials_file: token}
    tls_config: {ca_file: /ca.pem, min_version: TLS12}
    static_configs:
      - {targets: ["h:1", bare], labels: {zone: 7}}
    file_sd_configs: [{files: ["t/*.json", /abs.yml], refresh_interval: 1m}]
    http_sd_configs: [{url: "http://s/l", refresh_interval: 9s, basic_auth: {username: u, password_file: p}}]
    relabel_configs: [{source_labels: [a], regex: 1.10, action: drop}]
    metric_relabel_configs: [{action: hashmod, modulus: 3, target_label: b, source_labels: [c]}]
"""
    base = DiscoveryGroup(
        "custom",
        job="web",
        scheme="https",
        path="/m",
        params=(("match[]", ("a", "b")), ("x", ("1",))),
        interval_s=5,
        timeout_s=5,
        auth=Auth(credentials_file=f"{tmp_path}/token", ca_file="/ca.pem"),
        relabel=(RelabelRule(Action.DROP, ("a",), regex="1.10"),),
        metric_relabel=(RelabelRule(Action.HASHMOD, ("c",), target_label="b", modulus=3),),
        of_prometheus=True,
        honor_labels=True,
        sample_limit=9,
    )
    jobs = read(tmp_path, text)
    assert told(jobs) == []
    assert jobs.jobs[0].groups == (
        replace(base, addresses=("h:1", "bare"), labels=(("zone", "7"),)),
        replace(base, file_sd=(f"{tmp_path}/t/*.json", "/abs.yml")),
        replace(base, sd=(HttpSd("http://s/l", 9, Auth(username="u", password_file=f"{tmp_path}/p")),)),
    )


def test_names_in_dns_are_taken_over_with_the_defaults_of_prometheus(tmp_path: Path) -> None:
    jobs = read(
        tmp_path,
        "scrape_configs: [{job_name: a, dns_sd_configs: [{names: [x]}, {names: [y, z], type: mx, port: 9,"
        " refresh_interval: 5s}]}]",
    )
    assert [group.sd for group in jobs.jobs[0].groups] == [
        (DnsSd(("x",)),),
        (DnsSd(("y", "z"), RecordType.MX, 9, 5),),
    ]


def test_consul_is_taken_over_with_the_defaults_of_prometheus(tmp_path: Path) -> None:
    jobs = read(
        tmp_path,
        "scrape_configs: [{job_name: a, consul_sd_configs: [{}, {server: 'c:1', scheme: https, path_prefix: /p,"
        " datacenter: d, namespace: n, partition: q, services: [s], tags: [t], node_meta: {b: '2', a: 1}, filter: f,"
        " tag_separator: ';', allow_stale: false, refresh_interval: 5s, token: s3cret}]}]",
    )
    meta = (("a", "1"), ("b", "2"))
    auth = Auth(inline="s3cret")
    assert [group.sd for group in jobs.jobs[0].groups] == [
        (ConsulSd(),),
        (ConsulSd("c:1", "https", "/p", "d", "n", "q", ("s",), ("t",), meta, "f", ";", False, 5, auth),),
    ]
    (note,) = told(jobs)
    assert "consul_sd_configs[1].token is a secret in this file, and is used" in note
    assert "s3cret" not in note
    fields = "[{username: u}]"
    jobs = read(tmp_path, f"scrape_configs: [{{job_name: a, consul_sd_configs: {fields}}}]")
    assert jobs.jobs[0].groups == ()
    assert "consul_sd_configs[0].username is not supported; use basic_auth, so the job is left out" in told(jobs)[0]
    fields = "[{token: x, basic_auth: {username: u}}]"
    with pytest.raises(RuleError, match="token: cannot be given beside authorization, basic_auth and oauth2"):
        read(tmp_path, f"scrape_configs: [{{job_name: a, consul_sd_configs: {fields}}}]")


def test_docker_is_taken_over_with_the_defaults_of_prometheus(tmp_path: Path) -> None:
    jobs = read(
        tmp_path,
        "scrape_configs: [{job_name: a, docker_sd_configs: [{host: 'unix:///x'}, {host: 'tcp://h:1', port: 9,"
        " match_first_network: false, host_networking_host: me, refresh_interval: 5s, bearer_token_file: t,"
        " filters: [{name: b, values: [c]}, {name: a, values: [d]}, {name: b, values: [e]}]}]}]",
    )
    filters = (("a", ("d",)), ("b", ("c", "e")))
    assert [group.sd for group in jobs.jobs[0].groups] == [
        (DockerSd("unix:///x"),),
        (DockerSd("tcp://h:1", 9, "me", False, filters, 5, Auth(credentials_file=f"{tmp_path}/t")),),
    ]


def test_the_defaults_are_those_of_prometheus(tmp_path: Path) -> None:
    (group,) = job(tmp_path, "scrape_interval: 0s").jobs[0].groups
    assert group == DiscoveryGroup(
        "custom", ("h:1",), job="a", interval_s=60, timeout_s=10, of_prometheus=True, relabel=(), auth=None
    )


@pytest.mark.parametrize(
    ("fields", "told_here"),
    [
        ("nomad_sd_configs: [{server: s}]", "nomad_sd_configs is not supported"),
        ("proxy_url: socks5://p", "proxy_url is not supported as it is: expected an http:// or https:// address"),
        (
            "oauth2: {client_id: a, client_secret_file: s, token_url: 'http://u:p@i/'}",
            "oauth2.token_url is not supported with a user",
        ),
        (
            "kubernetes_sd_configs: [{role: pod, api_server: 'https://k', tls_config: {ca: c}}]",
            "kubernetes_sd_configs[0].tls_config.ca is not supported here; use ca_file",
        ),
        ("proxy_connect_header: {a: [b]}", "proxy_connect_header is not supported"),
        ("oauth2: {client_id: a, token_url: 'http://i'}", "oauth2.client_id has no secret; add client_secret_file"),
        (f"oauth2: {{{ISSUER}, proxy_connect_header: {{a: [b]}}}}", "oauth2.proxy_connect_header is not supported"),
        (f"oauth2: {{{ISSUER}, grant_type: 'urn:x'}}", "oauth2.grant_type is not supported"),
        (
            f"oauth2: {{{ISSUER}, tls_config: {{cert_ref: c, key_file: c}}}}",
            "oauth2.tls_config.cert_ref is not supported",
        ),
        (
            f"kubernetes_sd_configs: [{{role: pod, api_server: 'http://k', oauth2: {{{ISSUER}}}}}]",
            "kubernetes_sd_configs[0].oauth2 is not supported; use authorization",
        ),
        ("http_headers: {A: {values: [b]}}", "http_headers is not supported"),
        ("tls_config: {cert_ref: c, key_file: c}", "tls_config.cert_ref is not supported"),
        (
            "tls_config: {server_name: .svc}",
            "tls_config.server_name is not supported as it is (expected the name",
        ),
        ("tls_config: {min_version: TLS13}", "tls_config.min_version is not supported"),
        ("basic_auth: {username_file: u}", "basic_auth.username_file is not supported"),
        ("authorization: {credentials_ref: u}", "authorization.credentials_ref is not supported"),
        (
            "kubernetes_sd_configs: [{role: pod, api_server: 'http://k', proxy_url: 'http://p'}]",
            "kubernetes_sd_configs[0].proxy_url is not supported",
        ),
    ],
)
def test_a_job_that_cannot_be_scraped_as_written_is_left_out(tmp_path: Path, fields: str, told_here: str) -> None:
    jobs = job(tmp_path, fields)
    assert jobs.jobs[0].groups == ()
    (line,) = [line for line in told(jobs) if line.startswith(f"4: job a: {told_here}")]
    assert line.endswith(", so the job is left out")


def test_certificates_of_a_client_and_the_name_of_the_server_are_taken_over(tmp_path: Path) -> None:
    tls = "{ca_file: ca.pem, cert_file: c.pem, key_file: /k.pem, server_name: vllm.internal}"
    (group,) = job(tmp_path, f"tls_config: {tls}").jobs[0].groups
    assert group.auth == Auth(
        ca_file=str(tmp_path / "ca.pem"),
        cert_file=str(tmp_path / "c.pem"),
        key_file="/k.pem",
        server_name="vllm.internal",
    )


def test_certificates_in_the_file_are_taken_over_and_a_key_is_told(tmp_path: Path) -> None:
    jobs = job(tmp_path, "tls_config: {ca: authority, cert: own, key: s3cret}")
    assert jobs.jobs[0].groups[0].auth == Auth(ca="authority", cert="own", key="s3cret")
    (note,) = told(jobs)
    assert "tls_config.key is a secret in this file, and is used; key_file keeps it out" in note
    assert "s3cret" not in f"{note}{jobs.jobs[0].groups[0].auth}"


@pytest.mark.parametrize("field", ["cert_file", "key_file"])
def test_half_a_certificate_is_refused_as_by_prometheus(tmp_path: Path, field: str) -> None:
    with pytest.raises(RuleError, match=f"tls_config: {field}: needs the certificate and its key, not one"):
        job(tmp_path, f"tls_config: {{{field}: c.pem}}")


def test_a_proxy_is_taken_over(tmp_path: Path) -> None:
    jobs = job(tmp_path, "proxy_url: 'http://u:s3cret@p:3128'\n    no_proxy: '.svc,10.0.0.0/8'")
    assert jobs.jobs[0].groups[0].auth == Auth(proxy=Proxy("http://u:s3cret@p:3128", ".svc,10.0.0.0/8"))
    (note,) = told(jobs)
    assert "proxy_url holds a password, which is used; proxy_from_environment keeps it out" in note
    assert "s3cret" not in f"{note}{jobs.jobs[0].groups[0].auth}"
    jobs = job(tmp_path, f"proxy_from_environment: true\n    oauth2: {{{ISSUER}, proxy_url: 'http://q'}}")
    auth = jobs.jobs[0].groups[0].auth
    assert auth is not None and auth.issuer is not None
    assert (auth.proxy, auth.issuer.secret.proxy) == (Proxy(from_environment=True), Proxy("http://q"))
    assert told(jobs) == []


def test_an_issuer_of_tokens_is_taken_over(tmp_path: Path) -> None:
    whole = (
        f"{ISSUER}, scopes: [b, a], endpoint_params: {{z: '1', audience: x}}, proxy_from_environment: false,"
        " grant_type: client_credentials, tls_config: {ca_file: ca.pem, server_name: idp}"
    )
    jobs = job(tmp_path, f"oauth2: {{{whole}}}")
    assert told(jobs) == []
    (group,) = jobs.jobs[0].groups
    secret = Auth(credentials_file=f"{tmp_path}/s", ca_file=f"{tmp_path}/ca.pem", server_name="idp")
    params = (("audience", "x"), ("z", "1"))
    assert group.auth == IssuedAuth(oauth2=ClientCredentials("https://i/token", "a", secret, ("b", "a"), params))
    jobs = job(tmp_path, "oauth2: {client_id: a, token_url: 'https://i/token', client_secret: s3cret}")
    assert jobs.jobs[0].groups[0].auth == IssuedAuth(
        oauth2=ClientCredentials("https://i/token", "a", Auth(inline="s3cret"))
    )
    (note,) = told(jobs)
    assert "oauth2.client_secret is a secret in this file, and is used; client_secret_file keeps it out" in note


@pytest.mark.parametrize(
    ("fields", "told_here"),
    [
        ("oauth2: {token_url: 'http://i'}", "oauth2: needs client_id"),
        ("oauth2: {client_id: a}", "oauth2: needs token_url"),
        ("oauth2: {client_id: a, token_url: i}", "token_url: expected an address that begins with"),
        (f"oauth2: {{{ISSUER}, client_secret: s}}", "client_secret and client_secret_file cannot both be given"),
        (f"oauth2: {{{ISSUER}}}\n    bearer_token: t", "oauth2 and bearer_token cannot both be given"),
        (f"oauth2: {{{ISSUER}, scope: [a]}}", "unknown field scope; did you mean 'scopes'?"),
    ],
)
def test_an_issuer_that_prometheus_refuses_is_refused(tmp_path: Path, fields: str, told_here: str) -> None:
    with pytest.raises(RuleError, match=re.escape(told_here)):
        job(tmp_path, fields)


@pytest.mark.parametrize(
    ("fields", "told_here"),
    [
        ("body_size_limit: 5MB", ["4: job a: body_size_limit is not taken over; scrape: in fleet.yaml has limits"]),
        ("scrape_protocols: [PrometheusText1.0.0]", ["4: job a: scrape_protocols is not taken over"]),
        ("honor_timestamps: true", ["4: job a: honor_timestamps is not taken over"]),
        (
            "follow_redirects: false",
            [
                "4: job a: follow_redirects is not taken over: redirects on the same server are followed, no others",
            ],
        ),
        ("honor_timestamps: false", []),
        ("body_size_limit: 0", []),
        ("enable_http2: false", []),
        ("enable_compression: true", []),
        ("consul_sd_configs: []", []),
        ("proxy_url: ''", []),
    ],
)
def test_other_fields_are_only_told(tmp_path: Path, fields: str, told_here: list[str]) -> None:
    jobs = job(tmp_path, fields)
    assert len(jobs.jobs[0].groups) == 1
    assert told(jobs) == told_here


def test_a_secret_in_the_file_is_used_and_not_shown(tmp_path: Path) -> None:
    for fields, auth in (
        ("basic_auth: {username: u, password: s3cret}", Auth(username="u", inline="s3cret")),
        ("authorization: {type: Token, credentials: s3cret}", Auth(scheme="Token", inline="s3cret")),
        ("bearer_token: s3cret", Auth(inline="s3cret")),
    ):
        jobs = job(tmp_path, fields)
        assert jobs.jobs[0].groups[0].auth == auth
        assert "is a secret in this file, and is used" in told(jobs)[0]
        assert "s3cret" not in repr(jobs)


def test_sections_with_another_place_are_told(tmp_path: Path) -> None:
    jobs = read(tmp_path, "global: {external_labels: {a: b}, evaluation_interval: 1m}\nrule_files: [a]\nalerting: {}\n")
    assert told(jobs) == [
        "1: global.external_labels is not taken over",
        "1: global.evaluation_interval is not taken over",
        "2: rule_files is not taken over; list the files under rules:",
        "3: alerting is not taken over; list receivers under notifiers: or notifications:",
    ]


def test_jobs_of_other_files_are_read_with_their_own_folder_and_lines(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.yml").write_text(
        "scrape_configs:\n- job_name: b\n  target_limit: 3\n  bearer_token_file: t\n"
        "  static_configs: [{targets: [h]}]\n"
    )
    jobs = read(tmp_path, "global: {scrape_interval: 7s}\nscrape_config_files: [more/*.yml]\n")
    (group,) = jobs.jobs[0].groups
    assert (group.interval_s, group.auth) == (7, Auth(credentials_file=f"{tmp_path}/more/t"))
    assert [str(note) for note in jobs.notes] == [
        f"{tmp_path}/more/b.yml:3: job b: target_limit is not taken over; scrape: in fleet.yaml has limits"
    ]
    assert jobs.patterns == (f"{tmp_path}/more/*.yml",)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("scrape_config: []", 1, "unknown field scrape_config; did you mean 'scrape_configs'?"),
        ("global: {scrap_interval: 1s}", 1, "global: unknown field scrap_interval; did you mean 'scrape_interval'?"),
        ("global: {scrape_interval: 5s, scrape_timeout: 6s}", 1, "global: scrape_timeout: is longer than the interval"),
        ("scrape_configs:\n- {}", 2, "scrape_configs: job_name: is required"),
        ("scrape_configs:\n- job_name: ''", 2, "scrape_configs: job_name: is required"),
        ("scrape_configs:\n-\n", 2, "scrape_configs: expected a job, got nothing"),
        ("scrape_configs:\n- job_name: a\n- job_name: a", 3, "job a is at FILE:2 too"),
        (
            "scrape_configs:\n- job_name: a\n  relabel_configs: [{action: keeep}]",
            3,
            "job a.relabel_configs[0]: action: expected one of: replace, keep, drop, keepequal, dropequal, hashmod,"
            " labelmap, labeldrop, labelkeep, lowercase, uppercase; got 'keeep'; did you mean 'keep'?",
        ),
        (
            "scrape_configs:\n- job_name: a\n  static_configs: [{targets: [http://h]}]",
            3,
            "job a.static_configs[0]: targets: 'http://h' is no address",
        ),
        (
            "scrape_configs:\n- job_name: a\n  bearer_token: x\n  basic_auth: {username: u}",
            3,
            "job a: bearer_token: basic_auth and bearer_token cannot both be given",
        ),
    ],
)
def test_what_prometheus_refuses_is_refused_with_its_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    with pytest.raises(RuleError) as caught:
        read(tmp_path, text)
    file = f"{tmp_path}/prometheus.yml"
    assert (caught.value.file, caught.value.line) == (file, line)
    assert caught.value.reason == reason.replace("FILE", file)
