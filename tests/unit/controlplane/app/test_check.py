"""`check`: whatever is wrong with a fleet.yaml and with what it names, in one run, and never "good" for what is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from alerts.packs import load_pack, load_sources
from controlplane.app.check import accepted, inspect_file
from controlplane.cli.main import run
from controlplane.errors import ConfigErrors
from tests.patience import PROCESS_S

Check = Callable[[str], list[str]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Write a fleet.yaml (line 1 is its `fleet:`) and return what `check` says of it, without the folder's name."""
    monkeypatch.chdir(tmp_path)

    def told(text: str = "") -> list[str]:
        (tmp_path / "fleet.yaml").write_text("fleet: {name: test}\n" + dedent(text))
        report = inspect_file(Path("fleet.yaml"))
        lines = [*map(str, report.findings), *([report.verdict] if not report.errors else [])]
        return [line.replace(f"{tmp_path}/", "") for line in lines]

    return told


ONE = "targets: [{engine: dcgm, addresses: ['a:1']}]\n"
"""Something to watch, on line 2."""


def test_a_good_file_has_one_line(check: Check) -> None:
    rules = sum(len(group.rules) for group in load_pack("gpu"))
    assert check(ONE + "rules: [builtin:gpu]\n") == [f"fleet.yaml: good: 1 target, 0 models, {rules} rules"]


def test_dropped_targets_are_counted_and_a_group_that_loses_all_is_a_warning(check: Check) -> None:
    text = """\
        rules: []
        targets:
          - engine: dcgm
            addresses: ["a:1", "b:1", "c:1"]
            relabel_configs:
              - {source_labels: [__address__], regex: "RULE", action: drop}
        """
    assert check(text.replace("RULE", "b.*|c.*")) == [
        "fleet.yaml: good: 1 target, 2 dropped targets, 0 models, 0 rules"
    ]
    assert check(text.replace("RULE", ".*")) == [
        "fleet.yaml:6: warning: targets[0].relabel_configs: drops every target of this group: 3",
        "fleet.yaml: good: 0 targets, 3 dropped targets, 0 models, 0 rules, 1 warning",
    ]


def test_an_address_that_the_rules_leave_wrong_is_named(check: Check) -> None:
    text = """\
        targets:
          - engine: dcgm
            addresses: ["a:1", "b"]
            relabel_configs: [{source_labels: [zone], target_label: zone}]
        """
    assert check(text) == [
        "fleet.yaml:4: targets[0].addresses[1]: targets of engine dcgm: 'b' after relabel_configs: 'b' is not host:port"
        " (the port cannot be left out)"
    ]


def test_nothing_to_watch_is_a_warning(check: Check) -> None:
    nothing = "warning: targets: nothing is scraped: targets: is empty, and no model has backends"
    assert check("rules: []\n") == [
        f"fleet.yaml:1: {nothing}",
        "fleet.yaml: good: 0 targets, 0 models, 0 rules, 1 warning",
    ]
    assert f"fleet.yaml:2: {nothing}" in check("targets: []\n")


def test_globs_and_files_that_are_not_there_are_warnings_each_on_its_line(check: Check, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "broken.json").write_text("[{]")
    (tmp_path / "entry.json").write_text('[{"targets": ["a:1"], "labels": {"x": "\\u0000"}}]')
    told = check("""\
        targets:
          - engine: vllm
            file_sd:
              - targets/*.json
              - none.json
              - empty.json
              - broken.json
              - entry.json
        rules:
          - rules/*.yml
        """)
    assert told == [
        "fleet.yaml:5: warning: targets[0].file_sd[0]: matches no file now; a file is read as soon as it exists",
        "fleet.yaml:6: warning: targets[0].file_sd[1]: none.json: cannot be read: No such file or directory",
        "fleet.yaml:7: warning: targets[0].file_sd[2]: lists no targets",
        "fleet.yaml:8: warning: targets[0].file_sd[3]: broken.json:1: not JSON: Expecting property name enclosed in "
        "double quotes",
        "fleet.yaml:9: warning: targets[0].file_sd[4]: entry.json: entry 1: 'x' holds a control character; remove it",
        "fleet.yaml:11: warning: rules[0]: matches no file now; a file is read as soon as it exists",
        "fleet.yaml: good: 0 targets, 0 models, 0 rules, 6 warnings",
    ]


def test_an_address_that_is_listed_twice_is_told_with_both_places(check: Check) -> None:
    told = check("""\
        rules: []
        targets:
          - engine: vllm
            addresses: ["a:1", "a:1"]
          - engine: custom
            addresses: ["a:1"]
          - engine: vllm
            labels: {zone: b}
            addresses: ["a:1"]
          - engine: vllm
            path: /other
            addresses: ["a:1"]
          - engine: vllm
            path: /other
            labels: {instance: two}
            addresses: ["a:1"]
        """)
    assert told == [
        "fleet.yaml:5: warning: targets[0].addresses[1]: http://a:1/metrics is also listed at targets[0].addresses[0];"
        " it is scraped once",
        "fleet.yaml:7: warning: targets[1].addresses[0]: http://a:1/metrics is scraped twice, as vllm/a:1 at"
        " targets[0].addresses[0] and as custom/a:1: sums over jobs count it twice",
        "fleet.yaml:10: warning: targets[2].addresses[0]: http://a:1/metrics is also listed at targets[0].addresses[0]"
        " with other settings, and only those are used; remove one entry, or give it its own label job: or instance:",
        "fleet.yaml:13: warning: targets[3].addresses[0]: http://a:1/other has the same labels as http://a:1/metrics at"
        " targets[0].addresses[0], so their series would be mixed; give one of them its own label instance:",
        "fleet.yaml:17: warning: targets[4].addresses[0]: http://a:1/other is scraped twice, as vllm/a:1 at"
        " targets[3].addresses[0] and as vllm/two: sums over jobs count it twice",
        "fleet.yaml: good: 4 targets, 0 models, 0 rules, 5 warnings",
    ]


MODEL = """\
models:
  - name: %s
    stable: v1
    traffic: {driver: triton, backends: [{url: "http://a:8000"}]}
    versions: {v1: {}}
"""


def test_two_models_on_one_server_are_meant_and_a_backend_that_is_listed_too_is_told(check: Check) -> None:
    two = MODEL % "one" + (MODEL % "two").partition("\n")[2]
    assert check("rules: []\n" + two) == ["fleet.yaml: good: 2 targets, 2 models, 0 rules"]
    told = check("rules: []\n" + MODEL % "one" + "targets: [{engine: triton, addresses: ['a:8002']}]\n")
    assert "models[0]: http://a:8002/metrics is also listed at targets[0].addresses[0] with other settings" in told[0]


def test_models_that_nothing_serves_are_warnings(check: Check) -> None:
    told = check("""\
        rules: []
        targets: [{engine: nvml}]
        models:
          - {name: a, stable: v1, traffic: {driver: none}, versions: {v1: {}}}
          - name: b
            stable: v1
            traffic: {driver: none}
            versions:
              v1: {}
              v2: {backends: [{url: "http://h:1", engine: vllm}]}
        """)
    assert told == [
        "fleet.yaml:5: warning: models[0]: a has no backends under traffic: or versions:, so it is not scraped",
        "fleet.yaml:10: warning: models[1].versions.v1: is the stable version and has no backends",
        "fleet.yaml: good: 3 targets, 2 models, 0 rules, 2 warnings",
    ]


def test_notifiers_that_no_message_reaches_are_warnings(check: Check) -> None:
    notifiers = "rules: []\n" + ONE + "notifiers:\n  - {name: a, type: log}\n  - {name: b, type: log}\n"
    assert check(notifiers)[:-1] == [
        "fleet.yaml:4: warning: notifiers: no notifier gets messages, only the log does; add route:"
    ]
    assert check(notifiers + "route: {receiver: b}\n")[:-1] == [
        "fleet.yaml:5: warning: notifiers[0].name: a gets no messages: route: names another notifier as receiver"
    ]


def test_secrets_that_are_unset_unreadable_empty_or_broken_are_warnings(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", " ")
    monkeypatch.setenv("GOOD", "x")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "two-lines").write_text("a\nb\n")
    (tmp_path / "good").write_text("hunter2\n")
    told = check("""\
        rules: []
        targets:
          - {engine: vllm, addresses: ["a:1"], authorization: {credentials_env: NOT_SET}}
          - {engine: vllm, addresses: ["a:2"], authorization: {credentials_file: none}}
          - {engine: vllm, addresses: ["a:3"], basic_auth: {username: u, password_file: empty}}
          - {engine: vllm, addresses: ["a:4"], authorization: {credentials_file: two-lines}}
          - {engine: vllm, addresses: ["a:5"], authorization: {credentials_file: good}, tls: {ca_file: good}}
        notifiers:
          - {name: a, type: slack, channel: "#a", token_env: EMPTY}
        models:
          - name: m
            stable: v1
            traffic: {driver: none}
            versions: {v1: {backends: [{url: "http://h:1", engine: vllm, tls: {ca_file: none}}]}}
        metrics:
          query_url: http://m
          query: {authorization: {credentials_file: .}}
          remote_write:
            - {url: "http://m/w", basic_auth: {username: u, password_file: binary}}
            - {url: "http://n/w", authorization: {credentials_env: GOOD}}
            - url: "http://o/w"
              oauth2: {client_id: c, client_secret_file: none, token_url: "http://i", tls: {ca_file: good}}
        """)
    assert told[:-1] == [
        "fleet.yaml:4: warning: targets[0].authorization: the environment variable NOT_SET is not set or empty",
        "fleet.yaml:5: warning: targets[1].authorization: cannot read the credentials file none: No such file or"
        " directory",
        "fleet.yaml:6: warning: targets[2].basic_auth: the credentials file empty is not set or empty",
        "fleet.yaml:7: warning: targets[3].authorization: the credentials file two-lines holds a line break or another"
        " control character",
        "fleet.yaml:8: warning: targets[4].tls: the CA file good holds no PEM certificate",
        "fleet.yaml:10: warning: notifiers[0].token_env: notifier a: environment variable EMPTY is not set or empty;"
        " put the Slack bot token there",
        "fleet.yaml:15: warning: models[0].versions.v1.backends[0].tls: cannot read the CA file none: No such file or"
        " directory",
        f"fleet.yaml:18: warning: metrics.query.authorization: cannot read the credentials file {tmp_path}: Is a"
        " directory",
        "fleet.yaml:20: warning: metrics.remote_write[0].basic_auth: the credentials file binary is not UTF-8 text",
        "fleet.yaml:23: warning: metrics.remote_write[2].oauth2: cannot read the credentials file none: No such file or"
        " directory",
        "fleet.yaml:23: warning: metrics.remote_write[2].oauth2: the CA file good holds no PEM certificate",
    ]
    assert "hunter2" not in "".join(told)


def test_secrets_programs_and_certificates_of_notifiers_are_looked_at(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOD", "good")
    monkeypatch.delenv("MISSING", raising=False)
    told = check(f"""rules: []
{ONE}notifiers:
  - {{name: a, type: feishu, url_env: GOOD, secret_env: MISSING}}
  - {{name: b, type: pagerduty, routing_key_file: nowhere}}
  - {{name: c, type: command, command: [/no/such/program]}}
  - {{name: d, type: wecom, url_env: GOOD, tls: {{ca_file: nowhere}}}}
  - {{name: e, type: webhook, url: "http://h", authorization: {{credentials_env: MISSING}}}}
  - {{name: f, type: command, command: [sh]}}
route: {{receiver: a}}
""")
    assert [line for line in told if "gets no messages" not in line][:-1] == [
        "fleet.yaml:5: warning: notifiers[0].secret_env: notifier a: environment variable MISSING is not set or empty;"
        " put the bot's secret there",
        "fleet.yaml:6: warning: notifiers[1].routing_key_file: notifier b: nowhere cannot be read: No such"
        " file or directory",
        "fleet.yaml:7: warning: notifiers[2].command: /no/such/program is no program that can be run here",
        "fleet.yaml:8: warning: notifiers[3].tls: cannot read the CA file nowhere: No such file or directory",
        "fleet.yaml:9: warning: notifiers[4].authorization: the environment variable MISSING is not set or empty",
    ]


def test_places_outside_that_are_not_there_are_told(check: Check, tmp_path: Path) -> None:
    assert check(f"rules: []\n{ONE}database: nonsense\n") == [
        "fleet.yaml:4: database: expected sqlite:///<file> or postgresql+psycopg://<user>@<host>/<name>"
    ]
    assert check(f"rules: []\n{ONE}database: sqlite:///{tmp_path}/none/a.db\n")[0] == (
        "fleet.yaml:4: warning: database: the folder none does not exist here"
    )
    told = check("rules: []\n" + (MODEL % "m").replace('8000"}', '8000", repository: models}'))
    assert told[0] == (
        "fleet.yaml:6: warning: models[0].traffic.backends[0].repository: models is not a folder here, so "
        "a restart of Triton would undo switches"
    )


RULES = "groups:\n- name: g\n  rules:\n"


def test_rules_are_read_to_the_end_and_told_in_their_own_files(check: Check, tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text(RULES + "  - {alert: A, expr: 'sum('}\n  - {alert: B, expr: up, fro: 1m}\n")
    (tmp_path / "nul.yml").write_text(RULES + '  - {alert: A, expr: up, labels: {a: "x\\0"}}\n')
    (tmp_path / "odd.yml").write_text(
        RULES
        + "  - {alert: A, expr: 'llm_request_totl > 1'}\n  - {alert: B, expr: 'zzzzzzz > 1'}\n"
        + "  - {alert: C, expr: 'mad_over_time(up[5m]) > 1'}\n"
        + 2 * "  - {record: 'a:b', expr: up}\n"
    )
    told = check(
        ONE
        + "rules: [odd.yml, bad.yml, nul.yml, builtin:lm, none.yml, odd.yml]\nthresholds: {temprature: {value: 1}}\n"
    )
    assert told[:4] == [
        "fleet.yaml:3: rules[3]: no such rule pack; there are builtin:llm, builtin:triton, builtin:vllm, "
        "builtin:gateway, builtin:slo, builtin:cost, builtin:rollout, builtin:self, builtin:gpu, builtin:backups; "
        "did you mean 'builtin:llm'?",
        "fleet.yaml:3: warning: rules[5]: odd.yml is named twice",
        "fleet.yaml:4: thresholds.temprature: is not known; known are none, because no built-in pack is loaded",
        told[3],
    ]
    assert told[3].startswith("bad.yml:4: group g: A: expr: ")
    assert told[4].startswith("bad.yml:5: group g: rule 2: unknown field fro; known fields are")
    assert told[5] == "none.yml: cannot be read: No such file or directory"
    assert told[6] == (
        "nul.yml:4: group g: A: labels: a: holds a NUL or half of a character, which no database stores; remove it"
    )
    assert [line.partition(": ")[2] for line in told[7:]] == [
        "warning: group g: A: metric llm_request_totl is not known; the nearest known name is llm_requests_total",
        "warning: group g: B: metric zzzzzzz is not known; no engine, rule or catalogue entry has it",
        'warning: group g: C: cannot be evaluated here: 1:1: parse error: function "mad_over_time" is experimental in'
        " Prometheus 3, and not supported",
        "warning: a:b with labels {} is defined 2 times; the first is at odd.yml:7",
    ]


@pytest.mark.parametrize("engine", ["custom", "auto"])
def test_a_custom_target_may_expose_any_metric_that_is_no_misspelling(
    engine: str, check: Check, tmp_path: Path
) -> None:
    (tmp_path / "a.yml").write_text(
        RULES + "  - {alert: A, expr: 'zzzzzzz > 1'}\n  - {alert: B, expr: 'llm_request_totl > 1'}\n"
    )
    told = check(f"targets: [{{engine: {engine}, addresses: ['a:1']}}]\nrules: [a.yml]\n")
    assert [line for line in told if "is not known" in line] == [
        "a.yml:5: warning: group g: B: metric llm_request_totl is not known; the nearest known name is"
        " llm_requests_total"
    ]


def test_thresholds_are_all_told_on_their_lines(check: Check) -> None:
    told = check(
        ONE
        + dedent("""\
        rules: [builtin:gpu, builtin:llm]
        thresholds:
          temprature: {value: 1}
          temperature: {window: 5m, value: 5m}
          vram_ratio:
            value: 2
        """)
    )
    assert told[0].startswith(
        "fleet.yaml:5: thresholds.temprature: is not known; did you mean 'temperature'? known are "
    )
    assert told[1:] == [
        "fleet.yaml:6: thresholds.temperature.value: expected a number (celsius), got the duration '5m'",
        "fleet.yaml:6: thresholds.temperature.window: is not a field of this variable; it has value, for",
        "fleet.yaml:8: thresholds.vram_ratio.value: expected a fraction between 0 and 1, got 2",
    ]


def test_policies_for_missing_data_are_all_told_on_their_lines(check: Check) -> None:
    told = check(
        ONE
        + dedent("""\
        rules: [builtin:gpu]
        no_data:
          GPUTemperatureHig: keep
          LLMModelDown: fire
          GPULost: fire after 1m
        """)
    )
    rest = "`cp rules list` lists them, and a rule of a file has the annotation controlplane_no_data"
    assert told == [
        "fleet.yaml:5: no_data.GPUTemperatureHig: is no alert of the built-in packs in rules:; did you mean "
        f"'GPUTemperatureHigh'? {rest}",
        f"fleet.yaml:6: no_data.LLMModelDown: is no alert of the built-in packs in rules:; {rest}",
    ]
    told = check(ONE + "no_data: {GPUTemperatureHigh: page}\n")
    assert told == [
        "fleet.yaml:3: no_data.GPUTemperatureHigh: expected keep, fire, resolve, fire after 10m or resolve after 1h, "
        "got 'page'"
    ]


def test_one_run_tells_what_is_wrong_in_every_part(check: Check, tmp_path: Path) -> None:
    """The file's own words, references, rules, discovery, probes, secrets and the database: no part hides another."""
    (tmp_path / "bad.yml").write_text(RULES + "  - {alert: A, expr: 'sum('}\n")
    told = check("""\
        scrape: {interval: 15}
        targets:
          - {engine: vllm, file_sd: [none/*.json], authorization: {credentials_env: NOT_SET}}
          - {engine: probe, urls: ["http://h/x"], labels: {model: m}}
          - {engine: vlm, addresses: ["a:1"]}
        thresholds: {temprature: {value: 70}}
        route: {receiver: nobody}
        notifiers: [{name: ops, type: slack, channel: "#x", token_env: NOT_SET}]
        rules: [builtin:gpu, bad.yml]
        database: nonsense
        """)
    assert [line.split(": ")[:2] for line in told] == [
        ["fleet.yaml:2", "scrape.interval"],
        ["fleet.yaml:4", "warning"],
        ["fleet.yaml:4", "warning"],
        ["fleet.yaml:5", "targets[1].urls[0]"],
        ["fleet.yaml:6", "targets[2].engine"],
        ["fleet.yaml:7", "thresholds.temprature"],
        ["fleet.yaml:8", "route.receiver"],
        ["fleet.yaml:9", "warning"],
        ["fleet.yaml:9", "warning"],
        ["fleet.yaml:11", "database"],
        ["bad.yml:4", "group g"],
    ]


ELSEWHERE = "metrics: {query_url: 'http://mimir/prometheus'%s}\n"


@pytest.mark.parametrize(
    ("rules", "more", "warned"),
    [
        ("[{record: 'a:b', expr: up}, {alert: A, expr: 'a:b > 1'}]", "", True),
        (
            "[{record: 'a:b', expr: up}, {alert: A, expr: 'a:b > 1'}]",
            ", remote_write: {url: 'http://m', send: [raw]}",
            True,
        ),
        ("[{record: 'a:b', expr: up}, {alert: A, expr: 'a:b > 1'}]", ", remote_write: {url: 'http://m'}", False),
        ("[{record: 'a:b', expr: up}, {alert: A, expr: 'up > 1'}]", "", False),
        ("[{alert: A, expr: 'mad_over_time(x[5m]) > 1'}]", "", False),
    ],
)
def test_recorded_series_that_the_other_server_never_gets_are_a_warning(
    check: Check, tmp_path: Path, rules: str, more: str, warned: bool
) -> None:
    """What only the other server can evaluate, or has, is none."""
    (tmp_path / "a.yml").write_text(f"groups: [{{name: g, rules: {rules}}}]\n")
    assert check(ONE + f"rules: [a.yml]\n{ELSEWHERE % more}")[:-1] == warned * [
        "fleet.yaml:4: warning: metrics.query_url: rules read a:b from that server, but the series are recorded here "
        "and not sent to it; add metrics.remote_write with send: [recorded], or load the recording rules into that "
        "server"
    ]


def test_the_exit_code_is_2_for_errors_and_1_for_warnings_if_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, warned, bad = (tmp_path / f"{name}.yaml" for name in ("good", "warned", "bad"))
    good.write_text(f"fleet: {{name: a}}\n{ONE}")
    warned.write_text("fleet: {name: a}\n")
    bad.write_text("fleet: {nam: a}\n")
    packs = ["builtin:llm", "builtin:gpu"]
    rules = sum(len(group.rules) for group in load_sources(packs, tmp_path))
    assert run(["check", str(good), str(warned)]) == 0
    assert capsys.readouterr().out == (
        f"{good}: good: 1 target, 0 models, {rules} rules\n"
        f"{warned}:1: warning: targets: nothing is scraped: targets: is empty, and no model has backends\n"
        f"{warned}: good: 0 targets, 0 models, {rules} rules, 1 warning\n"
    )
    assert run(["check", "--strict", str(good)]) == 0
    assert run(["check", "--strict", str(good), str(warned)]) == 1
    assert capsys.readouterr().err == "controlplane: warnings found: 1\n"
    assert run(["check", str(bad), str(warned), str(tmp_path / "none.yaml")]) == 2
    out, err = capsys.readouterr()
    assert (
        out.splitlines()[0] == f"{bad}:1: fleet.nam: unknown field; did you mean 'name'? known here: name, external_url"
    )
    assert f"{tmp_path}/none.yaml: cannot be read: No such file or directory" in out
    assert err == "controlplane: faults found: 2\n"


BAD = "fleet: {nam: a}\nthresholds: {temprature: {value: 1}}\ntargets: [{engine: probe, urls: ['http://h/x']}]\n"


def test_up_refuses_a_bad_file_with_the_list_that_check_prints(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(BAD)
    errors = [str(finding) for finding in inspect_file(path).errors]
    assert len(errors) == 3
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "controlplane",
            "up",
            "-c",
            path,
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            tmp_path / "d",
        ],
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
    )
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.splitlines() == [f"controlplane: {errors[0]}", *(f"  {error}" for error in errors[1:])]
    with pytest.raises(ConfigErrors) as caught:
        accepted(path)
    assert [str(fault) for fault in caught.value.errors] == errors


def test_a_file_that_cannot_be_read_in_any_way_is_told(check: Check, tmp_path: Path) -> None:
    for content, sentence in (
        (b"\xff", ":1: is not UTF-8"),
        (b"a: [", ":1: not YAML: a value is missing here, or the file ends inside a bracket"),
        (b"", ":1: is empty"),
    ):
        (tmp_path / "fleet.yaml").write_bytes(content)
        with pytest.raises(ConfigErrors) as caught:
            inspect_file(Path("fleet.yaml"))
        assert str(caught.value).startswith(f"fleet.yaml{sentence}")
    with pytest.raises(ConfigErrors, match="cannot be read: Is a directory"):
        inspect_file(tmp_path)
    with pytest.raises(ConfigErrors, match="cannot be read: no file has such a name"):
        inspect_file(Path("a\0b"))


TRITON = """\
models:
  - name: chat
    stable: v1
    traffic: {driver: triton, model: llm, backends: [{url: "http://a:8000"}]}
    versions: {v1: {}, v2: {}}
"""


def test_a_model_whose_new_versions_nobody_asks_is_a_warning(check: Check) -> None:
    warning = (
        "fleet.yaml:3: warning: models[0]: a new version of chat is loaded and not tried; add verify:, or a probe of "
        "…/v2/models/llm/generate_stream"
    )
    assert warning in check(TRITON)
    assert warning not in check(TRITON + '    verify: {prompt: "hi"}\n')
    assert warning not in check(TRITON + "    verify: {requests: 0}\n"), "whoever says so knows"
    probe = '{engine: probe, urls: ["http://a:8000/v2/models/llm/generate_stream"]}'
    assert warning not in check(f"{TRITON}targets: [{probe}]\n")


def test_a_verify_that_cannot_be_meant_is_an_error_on_its_line(check: Check) -> None:
    told = check(TRITON + "    verify: {path: infer, failures: 5}\n")
    assert told == [
        "fleet.yaml:7: models[0].verify.failures: must be less than requests, which is 5",
        "fleet.yaml:7: models[0].verify.path: needs body: or prompt:; add one of them",
    ]
