"""All faults of a fleet.yaml in one run, each with its line, in our own words: no text of pydantic, no secret."""

from __future__ import annotations

import copy
import io
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core.core_schema import ErrorType
from ruamel.yaml import YAML

from collectors.discovery.discovery import Discovery
from collectors.discovery.group import DiscoveryGroup
from controlplane.config.checking import Loc
from controlplane.config.document import dotted, parse_document
from controlplane.config.model import Fleet
from controlplane.config.reading import read_section
from controlplane.config.scraping.targets import TargetGroup
from controlplane.config.wording import SENTENCES, nearest, shown
from controlplane.errors import ConfigError, ConfigErrors
from tests.fakes.fleet_text import parse_fleet

KINDS = (
    "slack, log, webhook, alertmanager, email, feishu, dingtalk, wecom, msteams, slack_webhook, pagerduty, opsgenie, "
    "command"
)
"""The types of notifiers, as a fault lists them."""

VALID = """\
fleet:
  name: prod-eu
  external_url: https://llm.example.com
scrape:
  interval: 15s
  timeout: 10s
  max_samples: 1000
targets:
  - engine: triton
    addresses:
      - 10.0.0.5:8002
      - "[::1]:8002"
  - engine: vllm
    file_sd:
      - targets/*.json
    labels:
      model: chat
    authorization:
      credentials_file: secrets/vllm
    tls:
      insecure_skip_verify: true
  - engine: probe
    urls:
      - http://10.0.0.7:8000/v1/chat/completions
    labels:
      model: chat
    basic_auth:
      username: u
      password_file: secrets/password
rules:
  - builtin:llm
thresholds:
  latency_p99:
    value: 2s
    for: 5m
  vram_ratio:
    value: 0.95
notifiers:
  - name: ops
    type: slack
    channel: "#ops"
    token_env: SLACK
route:
  receiver: ops
  group_by:
    - model
    - alertname
models:
  - name: model
    stable: v1
    traffic:
      driver: triton
      backends:
        - url: http://10.0.0.5:8000
          gpus: 2
    versions:
      v1: {}
      v2: {}
    verify:
      body:
        inputs:
          - x
      requests: 3
      latency: 2s
      for: 10s
trusted_proxies:
  - 10.0.0.0/8
  - "::1"
cost:
  gpu_hour_usd: 2.5
  budgets:
    - model: model
      monthly_usd: 9000
metrics:
  retention: 24h
  query_url: http://mimir/prometheus
  query:
    headers:
      X-Scope-OrgID: fleet
  remote_write:
    - url: http://mimir/api/v1/push
      send:
        - raw
      queue_config:
        max_shards: 4
"""
DATA = YAML(typ="safe").load(VALID)
PATH = Path("fleet.yaml")

PYDANTICS = (
    "input should", "valid", "pydantic", "validation", "extra", "permitted", "instance", "type=", "errors.", "union",
    "literal", "unable", "parse", "dictionary", "tuple", "string", "boolean", "integer", "float", "nonetype",
    "ctx", "<class", "object at", "unicode", "python",
)  # fmt: skip
"""Words of pydantic or Python that our sentences never contain."""
PATTERNS = ("^", "\\d", "\\s", "]*", "]+", "(?", "{0,")


def errors(text: str) -> list[ConfigError]:
    try:
        parse_fleet(text, PATH)
    except ConfigErrors as error:
        return error.errors
    return []


def our_words(error: ConfigError, given: str = "") -> None:
    """Fail unless the sentence is ours. Quotations from the file are ignored."""
    text = error.reason.replace(shown(given), "").replace(given, "") if given else error.reason
    # Values of the file, and names of our fields and engines, may be such words.
    bare = "".join(part for number, part in enumerate(text.replace('"', "'").split("'")) if number % 2 == 0).lower()
    bare = bare.partition("known here:")[0]
    assert not [word for word in PYDANTICS if word in bare], error
    assert not [pattern for pattern in PATTERNS if pattern in bare], error


def places(value: Any, loc: Loc = ()) -> Iterator[Loc]:
    """Yield every place below a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, each in inner:
        yield (*loc, part)
        yield from places(each, (*loc, part))


PLACES = sorted(places(DATA), key=repr)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(10**30, 10**31),
    st.sampled_from([0.5, -1.0, float("inf"), float("nan"), 1e300, 10**400]),
    st.sampled_from(
        ["", " ", "x", "9", "-1s", "99y99y", "0s", "a b", "tritn", "http://", "http://u:secret@h:99999", "\0", "\ud800"]
    ),
    st.text(max_size=5).filter(lambda text: "\r" not in text),
    st.just({"unknown": 1}),
    st.just([]),
    st.just({}),
    st.just([{"a": [1]}]),
    st.just([[1], "x", None]),
    st.dates(),
)


def changed(loc: Loc, value: Any) -> dict[str, Any]:
    data: dict[str, Any] = copy.deepcopy(DATA)
    at: Any = data
    for part in loc[:-1]:
        at = at[part]
    at[loc[-1]] = value
    return data


def found(data: Any) -> list[tuple[str, str]]:
    """Return (dotted place, sentence) of each fault."""
    return [(dotted(fault.loc), fault.sentence) for fault in read_section(Fleet, data)[1]]


def test_the_file_that_is_changed_here_is_good() -> None:
    assert errors(VALID) == []


@given(loc=st.sampled_from(PLACES), value=JUNK)
@example(loc=("models", 0, "versions"), value={})
def test_a_wrong_value_anywhere_is_told_there_in_our_words(loc: Loc, value: Any) -> None:
    faults = read_section(Fleet, changed(loc, value))[1]
    document = parse_document(VALID, PATH)
    for fault in faults:
        our_words(document.error(*fault), value if isinstance(value, str) else "")
        assert "does not fit here" not in fault.sentence, fault
        assert "secret" not in fault.sentence
    if isinstance(value, dict | list) or not faults:
        return
    # The fault is at the place itself, or at the section around it when a list is now too short for a check.
    assert any(fault.loc[: len(loc)] == loc or loc[: len(fault.loc)] == fault.loc or _depends(loc) for fault in faults)


def _depends(loc: Loc) -> bool:
    """Return whether other parts of the file depend on this value: their faults are at their own places."""
    return loc[-1] in ("name", "interval", "query_url") or loc[0] == "rules"


@given(
    loc=st.sampled_from([p for p in PLACES if isinstance(p[-1], str)]),
    name=st.sampled_from(["zzz", "Naem", "a b", "x\ny"]),
)
def test_an_unknown_field_is_told_on_its_line(loc: Loc, name: str) -> None:
    data: dict[str, Any] = copy.deepcopy(DATA)
    at: Any = data
    for part in loc[:-1]:
        at = at[part]
    # Maps with free keys accept any name of the right type.
    assume(loc[:-1] not in (("thresholds",), ("models", 0, "versions"), ("metrics", "query", "headers")))
    assume("labels" not in loc[:-1] and "body" not in loc[:-1])
    at[name] = at.pop(loc[-1])
    text = _written(data)
    line = next(
        n for n, each in enumerate(text.splitlines(), 1) if each.lstrip(" -").startswith((f"{name}:", '"x\\ny"', "? "))
    )
    told = [e for e in errors(text) if e.reason.startswith("unknown field")]
    assert [e.line for e in told] == [line], text
    our_words(told[0])


@given(loc=st.sampled_from(PLACES), value=st.sampled_from(["\0", [[]], 10**400, float("nan")]))
def test_the_line_is_that_of_the_changed_place(loc: Loc, value: Any) -> None:
    text = _written(changed(loc, value))
    document = parse_document(text, PATH)
    for error in errors(text):
        mine = [fault for fault in found(document.data) if fault == (error.field, error.reason)]
        assert mine
        head = error.field.rpartition(".")[2].partition("[")[0].strip("'")
        shown_line = text.splitlines()[(error.line or 1) - 1]
        # The line names the field, or is the item of a list, or the section that lacks the field.
        assert head in shown_line or shown_line.lstrip().startswith("- ") or error.reason == "is required", (
            error,
            shown_line,
        )


def _written(data: Any) -> str:
    out, yaml = io.StringIO(), YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(data, out)
    return out.getvalue()


ALL_AT_ONCE = """\
fleet: {name: prod eu, external_url: ftp://x}
scrape: {interval: 5s, timeout: 10s, max_smaples: 5}
targets:
  - engine: tritn
    addresses: [a:1]
  - {engine: vllm, addreses: [a:1]}
  - engine: vllm
    addresses: [a, "b:99999"]
    labels: {model: "a\\0b", "bad-name": x, version: 1.10}
    timeout: 60s
  - {engine: probe, addresses: [a:1]}
evaluation_interval: 15
thresholds: {latency_p99: {value: [1], fro: 5m}}
notifiers:
  - {name: ops, type: slak}
  - {name: ops, type: log}
route: {receiver: opps, group_by: [a-b]}
models:
  - name: m
    stable: v3
    traffic: {driver: triton}
    versions: {v1: {}, big: {}}
  - {name: m, stable: v1}
cost: {gpu_hour_usd: -1, budgets: [{model: n, monthly_usd: 0}]}
metrics: {retention: 1s, retention_size: 5, remote_write: {url: "http://u:p@x", queue_config: {min_backoff: 9s}}}
"""
TOLD = """\
1: fleet.external_url: expected an address that begins with http:// or https:// and has no spaces, got 'ftp://x'
1: fleet.name: expected a name of letters, digits, '_', '.' and '-', at most 63, that begins with a letter or digit, \
got 'prod eu'
2: scrape.max_smaples: unknown field; did you mean 'max_samples'? known here: interval, timeout, max_body_bytes, \
max_samples
2: scrape.timeout: 10s is longer than interval (5s)
4: targets[0].engine: expected one of: triton, vllm, sglang, trtllm, tgi, lmdeploy, llamacpp, ollama, \
fastchat, mii, tfserving, ray, kserve, litellm, sglang-router, vllm-router, envoy-ai-gateway, openai, anthropic, \
bedrock, sagemaker, azure-openai, vertex, dcgm, nvml, amd, gaudi, logs, probe, gateway, custom, auto; \
got 'tritn'; did you mean 'triton'?
6: targets[1].addreses: unknown field; did you mean 'addresses'? known here: authorization, basic_auth, tls, \
proxy_url, no_proxy, proxy_from_environment, oauth2, engine, prometheus_config, engines, addresses, file_sd, http_sd, \
dns_sd, consul_sd, docker_sd, kubernetes_sd, \
prometheus_operator, urls, labels, path, scheme, interval, timeout, relabel_configs, metric_relabel_configs, prompt, \
max_tokens, parameters, expect, tensors, questions, protocol, model_name, aws, azure, google
8: targets[2].addresses[0]: expected host:port such as 10.0.0.5:8000, or [::1]:8000; the port cannot be left out, \
got 'a'
8: targets[2].addresses[1]: expected a port from 1 to 65535, got 'b:99999'
9: targets[2].labels.bad-name: expected a label name of letters, digits and '_' that does not begin with a digit, \
got 'bad-name'
9: targets[2].labels.model: holds a NUL (U+0000) as character 2; remove it
9: targets[2].labels.version: expected a text, got the number 1.1; put it into quotes
10: targets[2].timeout: 60s is longer than the interval (5s)
11: targets[3]: engine probe needs urls: [...]
11: targets[3].addresses: is not for engine probe; use urls: [...]
12: evaluation_interval: expected a duration such as 15s, 2m or 1h30m, got the number 15
13: thresholds.latency_p99.fro: unknown field; did you mean 'for'? known here: value, for, window
13: thresholds.latency_p99.value: expected a number, or a duration such as 2s, got a list
15: notifiers[0].type: expected one of: KINDS; got 'slak'; did you mean 'slack'?
16: notifiers[1].name: 'ops' is taken by notifiers[0]
17: route.group_by[0]: expected a label name of letters, digits and '_' that does not begin with a digit, got 'a-b'
17: route.receiver: 'opps' is not one of notifiers: log, ops; did you mean 'ops'?
20: models[0].stable: 'v3' is not one of versions: v1, big
21: models[0].traffic: driver triton needs backends: [{url: ...}]
22: models[0].versions.big: on triton a version is v and the number of its folder, such as v2
23: models[1].name: 'm' is taken by models[0]
23: models[1].traffic: is required
23: models[1].versions: is required
24: cost.budgets[0].model: 'n' is not one of models: m
24: cost.budgets[0].monthly_usd: expected more than 0, got the number 0
24: cost.gpu_hour_usd: expected 0 or more, got the number -1
25: metrics.remote_write[0].queue_config.min_backoff: 9s is longer than max_backoff (5s)
25: metrics.remote_write[0].url: credentials do not belong in the address; use basic_auth: or authorization:
25: metrics.retention: expected 1m or more, got '1s'
25: metrics.retention_size: expected a size such as 512MB or 50GB, got the number 5
""".replace("KINDS", KINDS)


def test_one_run_tells_every_fault_of_a_file_in_the_order_of_lines() -> None:
    told = [str(error).removeprefix("fleet.yaml:") for error in errors(ALL_AT_ONCE)]
    assert told == TOLD.splitlines()


def test_what_depends_on_a_field_that_is_wrong_is_not_told_too() -> None:
    text = "fleet: {name: a}\ntargets: [{engine: vllm, addresses: 5}]\nnotifiers: [{name: a b, type: log}]\n"
    text += "route: {receiver: nobody}\n"
    assert [error.field for error in errors(text)] == ["targets[0].addresses", "notifiers[0].name"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "route: {receiver: log, flapping: {settled_after: 2h}}",
            "route.flapping.settled_after: must not be longer than window",
        ),
        (
            "route: {receiver: log, flapping: {changes: 2}}",
            "route.flapping.changes: expected 3 or more, got the number 2",
        ),
        ("route: {receiver: log, flapping: {window: 3h}}", "route.flapping.window: expected 2h or less, got '3h'"),
        ("route: {receiver: log, storms: {groups: 3}}", "route.storms.groups: expected 4 or more, got the number 3"),
        ("route: {receiver: log, storms: {causes: []}}", "route.storms.causes: expected at least 1 of them, got 0"),
        (
            "notifications: {storms: {}}",
            "notifications.storms: is for the routes of an alertmanager_config: set route.storms",
        ),
        (
            "notifications: {flapping: {}}",
            "notifications.flapping: is for the routes of an alertmanager_config: set route.flapping",
        ),
    ],
)
def test_flapping_and_storms_have_bounds_and_one_place(text: str, fault: str) -> None:
    (error,) = errors(f"fleet: {{name: a}}\n{text}\n")
    assert str(error).endswith(fault)


def test_a_merged_field_has_the_line_on_which_it_stands() -> None:
    text = "fleet: {name: a}\ntargets:\n  - &base\n    engine: vllm\n    addresses: [a]\n  - <<: *base\n    path: /x\n"
    assert [(e.line, e.field) for e in errors(text)] == [
        (5, "targets[0].addresses[0]"),
        (5, "targets[1].addresses[0]"),
    ]


def test_a_list_of_one_that_is_written_as_a_map_has_its_lines() -> None:
    text = "fleet: {name: a}\nmetrics:\n  remote_write:\n    url: http://x\n    send: [rwa]\n"
    assert [(e.line, e.field) for e in errors(text)] == [(5, "metrics.remote_write[0].send[0]")]
    assert errors(text)[0].reason == "expected one of: canonical, own, raw, recorded; got 'rwa'; did you mean 'raw'?"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: b: c\n", "1: not YAML: a ':' that does not fit here: put a text that holds ': ' into quotes,"),
        ("a:\n\tb: 1\n", "2: not YAML: a tab where spaces are expected; indent with spaces"),
        ("a: [1\nb: 2\n", "2: not YAML: a '[' is not closed, or a ',' is missing"),
        ("a: {b: 1\nc: [2]\n", "2: not YAML: a '{' is not closed, or a ',' is missing"),
        ('a: "x\n', "1: not YAML: a quote is not closed"),
        ("a: *x\n", "1: not YAML: an alias *x without an anchor &x before it"),
        ("a: 1\n---\nb: 1\n", "2: a second document begins here; write everything into one, without '---' in between"),
        ("a: 1\nb\nc: 1\n", "3: not YAML: a line that is neither 'field: value' nor '- value'"),
        ("a: 1\nb: 2\n c: 3\n", "3: not YAML: a ':' that does not fit here: put a text that holds ': ' into quotes,"),
        ("a: @x\n", "1: not YAML: a character that cannot begin a value; put the text into quotes"),
        ('a: "\\d"\n', "1: not YAML: a '\\' inside double quotes that begins no escape; "),
        ("a: !x 1\n", "1: not YAML: a '!' begins a tag, which is not understood here; put the text into quotes"),
        ("a: 1\na: 2\nb: {c: 1, c: 1}\n", "2: a: is given twice|3: b.c: is given twice"),
        ("a: 1\nb: \x01\n", "2: not YAML: the character U+0001 is not allowed; remove it"),
        ("<<: 5\n", "1: not YAML: '<<' merges maps only"),
        ("1: x\n", "1: 1: expected a text as the field's name, got the number 1|1: fleet: is required"),
        ("? [a]\n: x\n", "1: not YAML: a field's name must be a text"),
        ("fleet: &a {name: *a}\n", "1: fleet.name: expected a text, got a map"),
        ("'a\\nb': 1\n", "1: 'a\\\\nb': unknown field; known here: "),
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_told_in_our_words(text: str, told: str) -> None:
    found = "|".join(str(error).removeprefix("fleet.yaml").removeprefix(":").strip() for error in errors(text))
    assert found.startswith(told), found


@given(st.text(alphabet="ab:-[]{}'\"&*!|>%@`#,? \n\t\\0\u0007", max_size=30))
def test_no_text_is_answered_in_a_parsers_words(text: str) -> None:
    for error in errors(text):
        our_words(error)


def test_the_table_has_no_kind_that_pydantic_lacks() -> None:
    assert set(SENTENCES) - {"path_type"} <= set(typing.get_args(ErrorType))


NEVER = {
    "no_such_attribute",
    "json_invalid",
    "json_type",
    "needs_python_object",
    "get_attribute_error",
    "dataclass_type",
    "dataclass_exact_type",
    "named_tuple_type",
    "default_factory_not_called",
    "iteration_error",
    "string_not_ascii",
    "frozen_dict_type",
    "ordered_dict_type",
    "counter_type",
    "deque_type",
    "set_item_not_hashable",
    "missing_sentinel_error",
    "ellipsis_error",
    "is_subclass_of",
    "callable_type",
    "union_tag_invalid",
    "union_tag_not_found",
    "arguments_type",
    "missing_argument",
    "unexpected_keyword_argument",
    "missing_keyword_only_argument",
    "unexpected_positional_argument",
    "missing_positional_only_argument",
    "multiple_argument_values",
    "frozen_field",
    "frozen_instance",
    "extra_forbidden",
    "recursion_depth_exceeded",
}
"""Types of pydantic's errors that no section can cause. The reader itself reports unknown fields."""
PREFIXES_NEVER = (
    "bytes_",
    "date_",
    "time_",
    "datetime_",
    "timezone_",
    "url_",
    "uuid_",
    "decimal_",
    "fraction_",
    "complex_",
)


def test_every_kind_that_a_section_can_produce_has_a_sentence() -> None:
    rest = {kind for kind in typing.get_args(ErrorType) if not kind.startswith(PREFIXES_NEVER)} - NEVER
    assert rest <= set(SENTENCES)


@given(st.text(max_size=12) | st.from_regex(r"[a-z.]{1,4}:[0-9]{1,5}|\[[0-9a-f:.%]+\]:[0-9]{1,4}", fullmatch=True))
def test_no_address_that_the_file_takes_is_refused_by_discovery(address: str) -> None:
    group, faults = read_section(TargetGroup, {"engine": "vllm", "addresses": [address]})
    if not faults:
        assert [t.instance for t in Discovery([DiscoveryGroup("vllm", group.addresses)]).refresh()] == [address]


CONTROL = ["\0", "\x1b[31m", "a\nb", "\x7f", "\x9b", "\ud800", "tab\t"]


@pytest.mark.parametrize("text", CONTROL)
@pytest.mark.parametrize(
    "place",
    [
        ("targets", 1, "labels", "model"),
        ("targets", 1, "file_sd", 0),
        ("targets", 1, "authorization", "credentials_file"),
        ("targets", 2, "basic_auth", "username"),
        ("notifiers", 0, "channel"),
        ("notifiers", 0, "token_env"),
        ("models", 0, "stable"),
        ("cost", "budgets", 0, "model"),
        ("metrics", "query", "headers", "X-Scope-OrgID"),
        ("rules", 0),
        ("thresholds", "latency_p99", "value"),
    ],
)
def test_no_control_character_comes_in_with_a_text(place: Loc, text: str) -> None:
    told = [sentence for where, sentence in found(changed(place, text)) if where == dotted(place)]
    assert told
    assert told[0].startswith("holds a "), told


def test_a_prompt_may_have_lines() -> None:
    assert found(changed(("targets", 2, "prompt"), "one\n\ttwo")) == []
    assert found(changed(("targets", 2, "prompt"), "\0")) != []


def test_a_validator_of_a_section_that_names_its_field_is_told_there() -> None:
    """Sections may use plain validators too. These run when all fields are valid."""
    from pydantic import model_validator

    from controlplane.config.vocabulary import Model

    class Section(Model):
        a: int = 1

        @model_validator(mode="after")
        def _plain(self) -> Section:
            if self.a > 5:
                raise ValueError("a: is too much")
            return self

    assert read_section(Section, {"a": 9})[1] == [(("a",), "is too much")]


def test_nearest_ignores_case_and_shows_the_word_as_it_is_written() -> None:
    assert nearest("RAW", ["raw"]) == "; did you mean 'raw'?"
    assert nearest("zzz", ["raw"]) == ""


def test_a_value_is_shown_short_and_without_credentials() -> None:
    assert shown("x" * 100) == repr("x" * 60 + "…")
    assert shown("http://user:secret@host/x") == "'http://…@host/x'"
    assert shown("http://user:se cr/et@x@host/x") == "'http://…@host/x'"
    assert shown(10**400) == "the number of more than 60 digits"
    values: tuple[object, ...] = (None, True, [], {}, 1.5)
    assert [shown(v) for v in values] == ["nothing", "true", "a list", "a map", "the number 1.5"]


def sections(annotation: Any, above: tuple[Any, ...] = ()) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in above:
        yield annotation
        for field in annotation.model_fields.values():
            yield from sections(field.annotation, (*above, annotation))
    for argument in typing.get_args(annotation):
        yield from sections(argument, above)


def test_every_section_is_frozen_and_knows_its_fields() -> None:
    assert len(set(sections(Fleet))) > 15
    for kind in sections(Fleet):
        assert (kind.model_config["extra"], kind.model_config["frozen"]) == ("forbid", True), kind


TYPE = "notifiers[0].type: is required"


@pytest.mark.parametrize(
    ("entry", "faults"),
    [
        ("{name: ops}", ["notifiers[0].type: is required"]),
        (
            "{type: 5, name: ops}",
            [f"notifiers[0].type: expected one of: {KINDS}; got the number 5"],
        ),
        ("ops", ["notifiers[0]: expected a map of fields, got 'ops'"]),
        ("{7: ops, name: ops}", ["notifiers[0].7: expected a text as the field's name, got the number 7", TYPE]),
        (
            "{name: ops, type: log, channel: c}",
            ["notifiers[0].channel: unknown field; known here: name, on_call, send_resolved, type"],
        ),
        ("{name: ops, type: slack, channel: c}", ["notifiers[0]: type slack needs one of token_env:, token_file:"]),
        ("{name: ops, type: slack, token_env: T}", ["notifiers[0].channel: is required"]),
    ],
)
def test_each_kind_of_notifier_has_its_own_fields(entry: str, faults: list[str]) -> None:
    found = errors(f"fleet: {{name: a}}\nnotifiers: [{entry}]\n")
    assert [f"{error.field}: {error.reason}" for error in found] == faults


ID = "expected a person's id in Slack, such as U0123ABCD (in the person's profile: Copy member ID)"


@pytest.mark.parametrize(
    ("section", "faults"),
    [
        (
            "{people: {}}",
            ["slack: needs one of app_token_env:, app_token_file:, signing_secret_env:, signing_secret_file:"],
        ),
        (
            "{app_token_env: A, app_token_file: a}",
            ["slack.app_token_file: app_token_env: is given too; the secret can have only one place"],
        ),
        ("{app_token_env: A, people: {ana: {name: ana}}}", [f"slack.people.ana: {ID}"]),
        ("{app_token_env: A, people: {U1A: {role: admin}}}", ["slack.people.U1A.name: is required"]),
        (
            "{app_token_env: A, people: {U1A: {name: ana, role: root}}}",
            ["slack.people.U1A.role: expected one of: viewer, operator, admin; got 'root'"],
        ),
        ("{signing_secret: x}", ["slack.signing_secret: "]),
        ("{signing_secret_file: s, people: {U1A: {name: ana}}}", []),
    ],
)
def test_slack_needs_a_way_back_and_known_people(section: str, faults: list[str]) -> None:
    found = errors(f"fleet: {{name: a}}\nslack: {section}\n")
    told = [f"{error.field}: {error.reason}" for error in found]
    assert len(told) == len(faults)
    assert all(one.startswith(fault) for one, fault in zip(told, faults, strict=True)), told


@pytest.mark.parametrize(
    ("traffic", "faults"),
    [
        (
            "{driver: tritn}",
            [
                "models[0].traffic.driver: expected one of: triton, gateway, haproxy, nginx, envoy, kubernetes, exec, "
                "vllm, none; "
                "got 'tritn'; did you"
            ],
        ),
        ("{driver: triton}", ["models[0].traffic: driver triton needs backends: [{url: ...}]"]),
        (
            "{backends: 5}",
            ["models[0].traffic.backends: expected a list, got the number 5", "models[0].traffic.driver: is required"],
        ),
        ("{drivr: none}", ["models[0].traffic.drivr: unknown field; did you mean 'driver'?"]),
    ],
)
def test_each_driver_has_its_own_fields(traffic: str, faults: list[str]) -> None:
    model = f"{{name: m, stable: v1, versions: {{v1: {{}}}}, traffic: {traffic}}}"
    found = errors(f"fleet: {{name: a}}\nmodels: [{model}]\n")
    told = [f"{error.field}: {error.reason}" for error in found]
    assert [sentence[: len(fault)] for sentence, fault in zip(told, faults, strict=True)] == faults
