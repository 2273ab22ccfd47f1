from __future__ import annotations

import pytest

from alerts.errors import TemplateError
from alerts.template import Surroundings, Template
from collectors.samples import labels_of

LABELS = {"model": "chat", "node": "gpu-1:9400"}


def render(text: str, value: float = 0.0456) -> str:
    return Template(text).render(LABELS, value)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain, with } and {", "plain, with } and {"),
        ("{{ $value }} {{.Value}}", "0.0456 0.0456"),
        ("{{ $labels.model }}/{{ .Labels.node }}", "chat/gpu-1:9400"),
        ('{{ index $labels "model" }}', "chat"),
        ("[{{ $labels.missing }}]", "[]"),
        ("[{{ $externalLabels.cluster }}]", "[]"),
        ("{{ $value | humanizePercentage }}", "4.56%"),
        ("{{ humanizePercentage $value }}", "4.56%"),
        ('{{ $value | printf "%.2f" }}', "0.05"),
        ('{{ printf "%s=%.1f" $labels.model $value }}', "chat=0.0"),
        ("{{ $labels.model | toUpper | printf `<%s>` }}", "<CHAT>"),
        ("{{ title $labels.model }} {{ toLower `ABC` }}", "Chat abc"),
        ("{{ stripPort $labels.node }}", "gpu-1"),
        ('{{ reReplaceAll "(.*):.*" "$1" $labels.node }}', "gpu-1"),
        ("{{ if gt $value 0.01 }}high{{ else }}low{{ end }}", "high"),
        ("{{ if lt $value 0.01 }}low{{ else if eq $labels.model `chat` }}chat{{ else }}?{{ end }}", "chat"),
        ("{{ if $labels.missing }}x{{ end }}{{ if not $labels.missing }}y{{ end }}", "y"),
        ("{{ if and (gt $value 0.01) (match `^c` $labels.model) }}both{{ end }}", "both"),
        ("{{ or $labels.missing `none` }}", "none"),
        ("a  {{- /* a comment */ -}}  b", "ab"),
        ("{{ print $labels.model 1.5 true }}", "chat1.5true"),
        ('{{ "a \\"quoted\\" text" }}', 'a "quoted" text'),
        ("{{ if true }}{{ if false }}a{{ else }}b{{ end }}c{{ end }}", "bc"),
    ],
)
def test_what_rule_files_use_renders_as_in_prometheus(text: str, rendered: str) -> None:
    assert render(text) == rendered


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ $value", "has no closing }}"),
        ("{{ }}", "is empty"),
        ("{{ query `up` }}", "query is not supported; known are if, else, end, and"),
        ("{{ range $labels }}", "range is not supported"),
        ("{{ $foo }}", r"\$foo is not known; use \$value or \$labels"),
        ("{{ $labels.a.b }}", "is not known"),
        ("{{ .Foo }}", "is not known"),
        ("{{ $value | }}", "something is missing at the end"),
        ("{{ $value | $labels }}", "is not a function"),
        ("{{ $value $value }}", "unexpected"),
        ("{{ humanize }}", r"humanize takes 1 argument\(s\), got 0"),
        ("{{ humanize 1 2 }}", r"humanize takes 1 argument\(s\), got 2"),
        ("{{ printf `%d` $value }}", "use %.0f"),
        ("{{ printf `%s %s` $value }}", r"takes 2 value\(s\), got 1"),
        ("{{ ($value }}", "a parenthesis is not closed"),
        ("{{ print | }}", "print takes 1"),
        ("{{ $value; }}", "is not understood"),
        ("{{ end }}", "end }} without an if"),
        ("{{ if $value }}x", "has no {{ end }}"),
        ("{{ if $value }}x{{ else }}y", "has no {{ end }}"),
    ],
)
def test_anything_else_is_refused_when_it_is_loaded(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ humanize $labels.model }}", "humanize: 'chat' is not a number"),
        ("{{ eq $value `x` }}", "incompatible types"),
        ("{{ match `(` `x` }}", "match:"),
        ("{{ index $value `x` }}", "index takes"),
    ],
)
def test_what_fails_on_a_value_says_where(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        render(text)


def test_templates_know_how_the_installation_calls_itself() -> None:
    text = "{{ $externalLabels.cluster }} {{ .ExternalLabels.none }}|{{ $externalURL }}|{{ .ExternalURL }}"
    around = Surroundings(labels_of({"cluster": "eu"}), "https://x/")
    assert Template(text).render({}, 1.0, around) == "eu |https://x/|https://x/"
    assert Template(text).render({}, 1.0) == " ||"


def test_a_template_names_the_labels_that_it_uses() -> None:
    text = (
        "$labels.no {{ $labels.a }}{{ if .Labels.b }}{{ index $labels `c` | toUpper }}{{ end }}{{ $externalLabels.d }}"
    )
    assert Template(text).label_names() == {"a", "b", "c"}
    assert Template("plain $labels.a").label_names() == frozenset()
