"""Templates of annotations beside promtool: what it prints we print, what it refuses we refuse.

Debian's promtool is 2.42, of a Go that has neither break and continue nor range over a number; those, and what newer
Prometheus adds (toDuration, now, urlQueryEscape), are in the unit tests.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from alerts.errors import TemplateError
from alerts.template import Template
from controlplane.ruletest.run import run_file
from tests.contract.promql_reference import NEWER
from tests.patience import PROCESS_S

pytestmark = pytest.mark.needs("prometheus")

SERIES = {
    'load{job="llm",instance="gpu-1.example.com:9400",model="chat <b>"}': "1234567.5",
    'up{instance="b"}': "0",
    'up{instance="a"}': "1",
    'tiny{a="1"}': "0.000012345",
}

PRINTED = [
    "{{ $value }} {{ .Value }} {{ $labels }} {{ .Labels.instance }} {{ $labels.none }}. {{ $value | }}",
    "{{ $labels.instance | stripPort }} {{ stripDomain $labels.instance }} {{ stripDomain `10.0.0.1:80` }}",
    "{{ stripPort `[::1]:80` }} {{ stripPort `a:b:c` }} {{ stripPort `x` }} {{ stripDomain `a.b` }}",
    "{{ title `foo bar-baz qux_quux` }} {{ toUpper `aé` }} {{ toLower `AÉ` }}",
    "{{ humanize $value }} {{ humanize1024 $value }} {{ humanizeDuration $value }} {{ humanizePercentage 0.12345 }}",
    "{{ humanize 0.000123 }} {{ humanize `12345` }} {{ humanize 0.0 }} {{ humanize -1234567.0 }} {{ humanize 1 }}",
    "{{ humanizeDuration 0.0042 }} {{ humanizeDuration 90061.5 }} {{ humanizeDuration -61.0 }}",
    "{{ humanizeDuration `59.99` }} {{ humanizeDuration 0 }} {{ humanizeDuration 3600 }}",
    "{{ humanizeTimestamp 1435065584.128 }} {{ humanizeTimestamp 0.0 }} {{ humanizeTimestamp -1.5 }}",
    "{{ (toTime 1435065584.128).Format `2006-01-02T15:04:05.000Z07:00 Mon Jan 2 3PM` }} {{ (toTime 5.0).Unix }}",
    '{{ reReplaceAll "(.*):(\\\\d+)" "${2}-$1-$$-$3-$1x" $labels.instance }}',
    '{{ reReplaceAll "(?i)GPU-(?P<n>\\\\d)" "<$n>" $labels.instance }}',
    '{{ match "^gpu" $labels.instance }} {{ match "(?i)X" "ax" }} {{ match "^.$" "ab" }}',
    '{{ graphLink `a{b="c"} > 1` }} {{ tableLink `x y` }} {{ safeHtml `<b>` }}',
    "{{ with query `up` | sortByLabel `instance` }}{{ range . }}{{ .Labels.instance }}={{ .Value }};{{ end }}{{ end }}",
    '{{ range query "up" | sortByLabel "instance" }}{{ .Labels.instance }}{{ end }}',
    '{{ query `load{job="llm"}` | first | value | humanize }} {{ query `load` | first | label `model` }}',
    "{{ with query `none` }}there{{ else }}nothing{{ end }} {{ len (query `up`) }} {{ query `up` | len }}",
    '{{ with printf "up{instance=\\"%s\\"}" "a" | query }}{{ . | first | value }}{{ end }}',
    '{{ (query `up{instance="a"}` | first).Labels.instance }} {{ index (query `up` | first).Labels `instance` | len }}',
    '{{ query `scalar(up{instance="a"})` | first | value }} {{ query `vector(7)` | first | value }}',
    "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ $x }}{{ $y }}{{ end }}{{ $x }}",
    "{{ range $i, $s := query `up` | sortByLabel `instance` }}{{ $i }}:{{ $s.Labels.instance }} {{ end }}",
    "{{ range $k, $v := $labels }}{{ $k }}={{ $v }},{{ end }}{{ range $v := $labels }}{{ $v }};{{ end }}",
    "{{ range $labels }}{{ . }}{{ else }}none{{ end }}{{ range .ExternalLabels }}x{{ else }}empty{{ end }}",
    "{{ if and $labels.none (index $labels `x` `y`) }}x{{ else if or $labels.none `y` }}y{{ end }}",
    "{{ and 1 0 }} {{ or 0 `` `z` }} {{ not 1 }} {{ not `` }} {{ or 0 0.0 }} {{ and `a` `b` }}",
    "{{ eq 1 2 1 }} {{ ne `a` `b` }} {{ lt 1.5 2.5 }} {{ le 2 2 }} {{ gt `b` `a` }} {{ ge 1 2 }} {{ eq true false }}",
    "{{ with $labels.job }}{{ . }}{{ end }}{{ with $x := $labels.none }}{{ $x }}{{ else }}-{{ end }}",
    "{{ define `t` }}<{{ . }}{{ template `u` }}>{{ end }}{{ define `u` }}{{ . }}{{ end }}{{ template `t` $value }}",
    "{{ block `b` $labels.job }}[{{ . }}]{{ end }} {{ template `b` 3 }}",
    "{{ args 1 `a` 2.5 }} {{ (args 1 `a`).arg1 }} {{ with args `p` $value }}{{ .arg0 }}{{ .arg1 }}{{ .arg9 }}{{ end }}",
    "a  {{- /* gone */ -}}  b {{- 1 -}} c\n{{- ` d ` }} {{/* too */}} e",
    "{{ print `a` 1 2 `b` 3.5 true nil }} {{ println 1 `x` }} {{ print }}",
    "{{ len `aé` }} {{ index $labels `job` }} {{ slice `abcdef` 1 3 }} {{ slice `abc` 1 }} {{ index `abc` 1 }}",
    '{{ html `<a href="x">&\'` }} {{ js `it\'s "<x>"` }} {{ urlquery `a b&c` 1 }}',
    "{{ 'a' }} {{ '\\n' }} {{ 0x1F }} {{ 0b11 }} {{ 010 }} {{ 1_000 }} {{ 1e3 }} {{ .5 }}",
    "{{ -2 }} {{ +3 }} {{ 1.0 }} {{ 1e21 }} {{ 0x1p4 }} {{ 1e-7 }}",
    '{{ "a\\tb\\u00e9\\x41\\101\\"" }} {{ `raw\\n` }}',
    "{{ printf `%d %5d|%-5d|%05d|%+d|%x|%X|%#x|%o|%#o|%b|%c|%q|%U` 42 42 42 42 42 42 42 42 42 42 42 65 65 65 }}",
    "{{ printf `%f %.2f %8.3f|%-8.1f|%08.2f|%+.1f|% .1f` $value $value 1.5 1.5 1.5 1.5 1.5 }}",
    "{{ printf `%e|%E|%g|%G|%.3g|%.0f` $value $value $value $value $value 2.5 }}",
    '{{ printf `%s %10s|%-10s|%.2s|%q|%x|%X|% x|%#q` `ab` `ab` `ab` `abc` `a"b` `hi` `hi` `hi` `raw` }}',
    "{{ printf `%v %v %v %v %+v %#v %T %T %T %t` 1 1.5 `x` true 2 `q` 1 1.5 `s` false }} {{ printf `%v` $labels }}",
    "{{ printf `%d %s %t %x` $value $value 1 true }} {{ printf `%d` }} {{ printf `%d` 1 2 `x` }}",
    "{{ printf `%!` }} {{ printf `%z` 1 }} {{ printf `%` }} {{ printf `a%` 1 }}",
    "{{ printf `%*d|%-*d|%.*f|%[2]d %[1]d|%[3]v %[9]d` 5 42 5 42 2 1.234 }}",
    "{{ printf `%[2]*[1]d` 7 4 }} {{ printf `100%%` }}",
    "{{ printf `%s` nil }} {{ printf `%v` nil }} {{ printf `%6.2f%%` 12.345 }} {{ printf `%5t|%-7t|` true false }}",
    "{{ printf `%e %g %g %g %v` 0.0 1e6 1e-5 123456789.0 1e-7 }} {{ printf `%5.1f|%t` `x` `y` }}",
    "{{ query `tiny` | first | value }} {{ query `tiny` | first | value | printf `%.3e` }}",
    "{{ query `tiny * 1e30` | first | value }}",
    "{{ with query `vector(1/0)` | first | value }}{{ printf `%f|%+f|% f|%8.2f|%08.2f|%-8.1f` . . . . . . }}{{ end }}",
    "{{ with query `vector(-1/0)` | first | value }}{{ printf `%f|%+f|% f|%8.2f|%08.2f|%e` . . . . . . }}{{ end }}",
    "{{ with query `vector(0/0)` | first | value }}{{ printf `%f|%+f|% f|%8.2f|%08.2f|%e|%v` . . . . . . . }}{{ end }}",
    "{{ $externalURL }} {{ .ExternalURL }} {{ $externalLabels.cluster }}",
    "{{ if not (eq $labels.job `llm`) }}a{{ else }}{{ if gt $value 1e6 }}big{{ end }}{{ end }}",
    "{{ $labels.job | printf `%s-%s` `x` | toUpper | printf `%q` }} {{ ($labels.job) }} {{ (printf `%d` 1 | len) }}",
    "{{ parseDuration `1h30m` }} {{ with $.Labels.job }}{{ $.Value }}{{ end }} {{ $ | printf `%T` | len | lt 0 }}",
    "{{ if query `up == 0` }}{{ range query `up == 0` }}{{ .Labels.instance }} is down {{ end }}{{ end }}",
]
if NEWER:  # Prometheus 2 capitalised ASCII's words
    PRINTED.append("{{ title `a.b a,b a:b a:3b o'neil l’été a..b a_b _a 3a gpu-0.x aBC 中a é.é ǆa` }}")

FAILS = [
    "{{ gt $value 1 }}",
    "{{ toUpper $value }}",
    "{{ humanize `x` }}",
    "{{ $labels.a.b }}",
    "{{ .Foo }}",
    "{{ query `up{` }}",
    "{{ query `none` | first }}",
    "{{ index $value `x` }}",
    "{{ humanize }}",
    "{{ humanize 1 2 }}",
    "{{ template `nope` }}",
    "{{ define `x` }}{{ template `x` }}{{ end }}{{ template `x` }}",
    "{{ match `(` `x` }}",
    "{{ slice `abc` 2 9 }}",
    "{{ index (query `up`) 9 }}",
    "{{ range 1.5 }}{{ end }}",
    "{{ lt true false }}",
    "{{ eq $labels 1 }}",
    "{{ $value | $labels.job }}",
    "{{ call 1 }}",
    "{{ label `x` `y` }}",
    "{{ $x = 1 }}",
    "{{ nil }}",
]

REFUSED = [
    "{{ $value",
    "{{ }}",
    "{{ $foo }}",
    "{{ nope }}",
    "{{ ($value }}",
    "{{ $value) }}",
    "{{ $value; }}",
    "{{ end }}",
    "{{ if $value }}x",
    "{{ if $value }}x{{ else }}y",
    "{{ if $value }}x{{ else }}y{{ else }}z{{ end }}",
    "{{ if }}x{{ end }}",
    "{{ range }}x{{ end }}",
    "{{ range $a, $b, $c := $labels }}{{ end }}",
    "{{ $a, $b := $labels }}",
    "{{ if true }}{{ $y := 1 }}{{ end }}{{ $y }}",
    "{{ define `x` }}{{ $labels }}{{ end }}",
    "{{ define x }}{{ end }}",
    "{{ if true }}{{ define `x` }}{{ end }}{{ end }}",
    "{{ template }}",
    "{{ 1 | 2 }}",
    '{{ "a\\q" }}',
    '{{ "a }}',
    "{{ 'ab' }}",
    "{{ `a }}",
    "{{ 1x }}",
    "{{ 12.3.4 }}",
    "{{ /* spaced */ }}",
    "{{/* open }}",
    '{{ "a""b" }}',
    "{{ true.x }}",
    "{{ $labels.a-b }}",
    "{{ . | . }}",
]


def write(folder: Path, templates: list[str], expected: list[str]) -> Path:
    rules = [
        {"alert": f"A{n}", "expr": "load > 0", "annotations": {"text": template}}
        for n, template in enumerate(templates)
    ]
    labels = {"job": "llm", "instance": "gpu-1.example.com:9400", "model": "chat <b>"}
    test = {
        "interval": "1m",
        "external_url": "http://out.example.com/prefix",
        "external_labels": {"cluster": "eu"},
        "input_series": [{"series": series, "values": value} for series, value in SERIES.items()],
        "alert_rule_test": [
            {
                "eval_time": "0m",
                "alertname": f"A{n}",
                "exp_alerts": [{"exp_labels": labels, "exp_annotations": {"text": text}}],
            }
            for n, text in enumerate(expected)
        ],
    }
    (folder / "t.rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    path = folder / "t.test.yml"
    path.write_text(json.dumps({"rule_files": ["t.rules.yml"], "evaluation_interval": "1m", "tests": [test]}))
    return path


def rendered(path: Path) -> list[str]:
    """Return what we make of each template."""
    (test,) = run_file(path).tests
    assert not test.error
    return [dict(outcome.got[0].annotations)["text"] for outcome in test.cases]  # type: ignore[union-attr]


def promtool(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=PROCESS_S)
    return done.returncode, done.stdout + done.stderr


def test_what_promtool_prints_we_print(tmp_path: Path) -> None:
    ours = rendered(write(tmp_path, PRINTED, [""] * len(PRINTED)))
    assert [text for text in ours if "<error" in text] == []
    code, output = promtool("test", "rules", str(write(tmp_path, PRINTED, ours)))
    assert code == 0, output


def test_what_fails_there_on_an_alert_fails_here(tmp_path: Path) -> None:
    path = write(tmp_path, FAILS, ["?"] * len(FAILS))
    ours = rendered(path)
    assert [text for text in ours if not text.startswith("<error expanding template: ")] == []
    _, output = promtool("test", "rules", str(path))
    assert output.count("got:[\n") == len(FAILS) == output.count("<error expanding template")


@pytest.mark.parametrize("template", REFUSED)
def test_what_is_refused_there_is_refused_here(template: str, tmp_path: Path) -> None:
    path = write(tmp_path, [template], [""])
    assert promtool("check", "rules", str(path.with_name("t.rules.yml")))[0] == 1
    with pytest.raises(TemplateError, match=r"^\{\{"):
        Template(template)
