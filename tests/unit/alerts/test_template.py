"""Templates of rules: variables, Prometheus's functions, errors, and doubts before an alert fires.

tests/contract/test_templates_promtool.py compares them with a real promtool.
"""

from __future__ import annotations

import gc
import weakref

import pytest

from alerts.errors import TemplateError
from alerts.gotemplate.values import Sample
from alerts.template import MAX_QUERIES, Answers, Surroundings, Template
from collectors.samples import labels_of

LABELS = {"model": "chat", "node": "gpu-1:9400"}


def render(text: str, value: float = 0.0456, **around: object) -> str:
    return Template(text).render(LABELS, value, Surroundings(**around))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain, with } and {", "plain, with } and {"),
        ("{{ $value }} {{.Value}}", "0.0456 0.0456"),
        ("{{ $labels.model }}/{{ .Labels.node }}/{{ $.Labels.model }}", "chat/gpu-1:9400/chat"),
        ("[{{ $labels.missing }}] [{{ $externalLabels.cluster }}]", "[] []"),
        ("{{ $value | humanizePercentage }}", "4.56%"),
        ('{{ printf "%s=%.1f" $labels.model $value }}', "chat=0.0"),
        ("{{ if gt $value 0.01 }}high{{ else }}low{{ end }}", "high"),
        ("{{ now }} {{ now | humanizeTimestamp }}", "1.7e+09 2023-11-14 22:13:20 +0000 UTC"),
        ("{{ toDuration 90 }} {{ toDuration 0.0015 }} {{ (toDuration 90).Minutes }}", "1m30s 1.5ms 1.5"),
        ("{{ humanizeDuration (toDuration 90) }} {{ toDuration 3600.5 }} {{ toDuration -1 }}", "1m 30s 1h0m0.5s -1s"),
        (
            "{{ (toTime 0).Year }} {{ (toTime 86400).Weekday }} {{ toTime 1.5 }}",
            "1970 Friday 1970-01-01 00:00:01.5 +0000 UTC",
        ),
        ("{{ urlQueryEscape `a b&c` }} {{ externalURL }} {{ pathPrefix }}", "a+b%26c https://x/y /y"),
        ("{{ range $i := 3 }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ $i }}{{ end }}", "02"),
        ("{{ range 9 }}{{ if eq . 2 }}{{ break }}{{ end }}{{ . }}{{ end }}", "01"),
        ("{{ define `t` }}<{{ . }}>{{ end }}{{ tmpl `t` $labels.model }}", "<chat>"),
        ("{{ with $labels.none }}a{{ else with $labels.model }}{{ . }}{{ end }}", "chat"),
        ("{{ title `l’été o'neil gpu-0.x 3a _b 中a` }}", "L’été O'neil Gpu-0.X 3A _B 中A"),
    ],
)
def test_what_rule_files_use_renders_as_in_prometheus(text: str, rendered: str) -> None:
    assert render(text, at=1.7e9, url="https://x/y") == rendered


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ $value", "{{ $value has no closing }}"),
        ("{{ }}", "{{ }}: a value is missing here"),
        (
            "{{ $foo }}",
            "{{ $foo }}: the variable $foo is not defined; known are $externalLabels, $externalURL, $labels, $value",
        ),
        ("{{ nope }}", "{{ nope }}: nope is not a function of templates"),
        ("{{ $value | 1 }}", "{{ $value | 1 }}: stage 2 is not a function, so nothing can be piped into it"),
        ("{{ ($value }}", "{{ ($value }}: a parenthesis is not closed"),
        ("{{ $value) }}", "{{ $value) }}: a parenthesis is closed that was not opened"),
        ("{{ $value; }}", "{{ $value; }}: '$value;' is not understood"),
        ("{{ 'ab' }}", "{{ 'ab' }}: 'ab' is not one character; put texts in double quotes"),
        ('{{ "a }}', '{{ "a }}: a quote is not closed'),
        ("x {{ end }}", "{{ end }}: there is nothing to end here"),
        ("{{ if $value }}x", "{{ if $value }} has no {{ end }}"),
        ("{{ if 1 }}x{{ else }}y{{ else }}z{{ end }}", "{{ else }}: a second else"),
        ("{{ break }}", "{{ break }}: break is outside of range"),
        ("{{ define `a` }}x{{ end }}{{ define `a` }}y{{ end }}", "{{ define `a` }}: the template a is defined twice"),
        (
            "{{ 9223372036854775808 }}",
            "{{ 9223372036854775808 }}: 9223372036854775808 does not fit into 64 bits; write 9223372036854775808.0",
        ),
        (
            "{{ " + "(" * 60 + "1" + ")" * 60 + " }}",
            "{{ " + "(" * 60 + "1" + ")" * 60 + " }}: parentheses are nested more than 50 deep",
        ),
        ("{{ if 1 }}" * 60 + "{{ end }}" * 60, "{{ if 1 }}: blocks are nested more than 50 deep"),
    ],
)
def test_what_is_no_template_is_refused_when_it_is_loaded(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as refused:
        Template(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ humanize $labels.model }}", "humanize: 'chat' is not a number"),
        ("{{ eq $value `x` }}", "eq: incompatible types for comparison: the number 0.0456 and the text 'x'"),
        (
            "{{ gt $value 1 }}",
            "gt: incompatible types for comparison: the whole number 1 and the number 0.0456; write 1.0",
        ),
        ("{{ match `(` `x` }}", "match: error parsing regexp: missing closing ): `(`"),
        ("{{ index $value `x` }}", "index: the number 0.0456 cannot be indexed"),
        ("{{ toUpper $value }}", "toUpper takes a text, got the number 0.0456"),
        ("{{ humanize 1 2 }}", "humanize takes 1 argument, got 2"),
        ("{{ humanize }}", "humanize takes 1 argument, got 0"),
        ("{{ printf }}", "printf takes at least 1 argument, got 0"),
        ("{{ .Foo }}", "there is no .Foo in the alert"),
        ("{{ $labels.a.b }}", "there is no .b in the text ''"),
        ("{{ $value | $labels.model }}", "the text 'chat' is not a function and takes no arguments"),
        ("{{ first (query `none`) }}", "first: the list of samples is empty"),
        ("{{ toTime 1e300 }}", "toTime: 1e+300 seconds are too many for a time"),
        ("{{ (toTime 1).Format }}", "Format takes a layout such as `2006-01-02 15:04:05`"),
        ("{{ printf `%9999999d` 1 }}", "printf: a width or precision may be at most 1,000,000, got 9,999,999"),
        ("{{ $x = 1 }}", "the variable $x is not defined; declare it with :="),
        ("{{ range `abc` }}{{ end }}", "range cannot go over the text 'abc'"),
    ],
)
def test_what_fails_on_a_value_says_where(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as failed:
        render(text, answers=Answers({"none": ()}))
    assert str(failed.value).startswith("{{")
    assert str(failed.value).endswith(f"}}}}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ range 1000000000 }}{{ end }}", "the template takes more than 100,000 steps"),
        ("{{ range 40000 }}xx{{ end }}", "the text is longer than 65,536 characters"),
        ("{{ $x := printf `%65000d` 1 }}{{ len (print $x $x) }}", "the text is longer than 65,536 characters"),
        ("{{ printf `%99999d` 1 }}", "the text is longer than 65,536 characters"),
        (
            "{{ define `a` }}{{ template `a` . }}{{ end }}{{ template `a` }}",
            "templates include each other more than 20 levels deep",
        ),
        ("{{ define `a` }}{{ tmpl `a` . }}{{ end }}{{ tmpl `a` 1 }}", "include each other more than 20 levels deep"),
        (
            "{{ define `a` }}" + "{{ if 1 }}" * 49 + "{{ template `a` }}" + "{{ end }}" * 50 + "{{ template `a` }}",
            "templates include each other too deeply",
        ),
    ],
)
def test_what_a_template_may_take_is_bounded(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        render(text)


def test_templates_know_how_the_installation_calls_itself() -> None:
    text = "{{ $externalLabels.cluster }} {{ .ExternalLabels.none }}|{{ $externalURL }}|{{ .ExternalURL }}"
    around = Surroundings(labels_of({"cluster": "eu"}), "https://x/")
    assert Template(text).render({}, 1.0, around) == "eu |https://x/|https://x/"
    assert Template(text).render({}, 1.0, Surroundings()) == " ||"


def test_a_query_without_an_answer_is_noted_and_asked_by_whoever_renders() -> None:
    answers = Answers()
    text = '{{ range query "up" }}{{ .Labels.node }}={{ .Value }} {{ end }}'
    with pytest.raises(TemplateError, match="the query 'up' has no result here"):
        render(text, answers=answers)
    assert list(answers.wanted) == ["up"]
    answers.known["up"] = (Sample({"node": "a"}, 1.0), Sample({"node": "b"}, 0.0))
    assert render(text, answers=answers) == "a=1 b=0 "
    answers.known["up"] = "timeout: it took too long"
    with pytest.raises(TemplateError, match="query: timeout: it took too long"):
        render(text, answers=answers)


def test_the_templates_of_a_rule_ask_so_many_queries_and_no_more() -> None:
    answers = Answers({f"q{number}": () for number in range(MAX_QUERIES)})
    with pytest.raises(TemplateError, match=f"may run {MAX_QUERIES} queries, 'up' is one more"):
        render("{{ query `up` }}", answers=answers)
    assert not answers.wanted


def test_a_template_names_the_labels_that_it_uses() -> None:
    text = (
        "$labels.no {{ $labels.a }}{{ if .Labels.b }}{{ index $labels `c` | toUpper }}{{ end }}{{ $externalLabels.d }}"
        "{{ range query `up` }}{{ .Labels.no }}{{ $labels.e }}{{ end }}{{ with ($labels.f) }}{{ .Labels.no }}{{ end }}"
        "{{ index .Labels `g` }}{{ printf `%s` (print $labels.h) }}{{ if 1 }}{{ else }}{{ .Labels.i }}{{ end }}"
    )
    assert Template(text).label_names() == set("abcefghi")
    assert Template("plain $labels.a").label_names() == frozenset()


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("{{ printf `%d` $value }}", "{{ printf `%d` $value }} prints '%!d(float64=1.5)'"),
        ("{{ $value | printf `%d%%` }}", "{{ $value | printf `%d%%` }} prints '%!d(float64=1.5)%'"),
        ("{{ printf `%s %s` $labels.a }}", "{{ printf `%s %s` $labels.a }} prints '1 %!s(MISSING)'"),
        ("{{ if gt $value 1 }}a{{ end }}", "gt: incompatible types for comparison"),
        ("{{ if 1 }}{{ else }}{{ humanize }}{{ end }}", "{{ humanize }}: humanize takes 1 argument, got 0"),
        ("{{ humanize $labels.a $value }}", "humanize takes 1 argument, got 2"),
        ("{{ query `up` | first | value `x` }}", "value takes 1 argument, got 2"),
        ("{{ match `(` $labels.a }}", "match: error parsing regexp: missing closing ): `(`"),
        ("{{ .Foo }}", "there is no .Foo in the alert; it has .Labels, .ExternalLabels, .ExternalURL, .Value"),
        ("{{ toUpper $value }}", "toUpper takes a text, got the number 1.5"),
        ("{{ printf `%s` (toLower .Value) }}", "toLower takes a text"),
    ],
)
def test_what_fails_whatever_the_alert_is_doubted_before(text: str, doubt: str) -> None:
    (found,) = Template(text).doubts()
    assert doubt in found


@pytest.mark.parametrize(
    "text",
    [
        "{{ $value | humanize }} {{ humanize $labels.a }} {{ eq $labels.a `x` }}",
        "{{ range query `up` }}{{ .Labels.a }}{{ .Value | humanize }}{{ .Foo }}{{ end }}",
        "{{ with $x := query `up` | first }}{{ $x.Value | printf `%.1f` }}{{ end }}",
        "{{ printf `%d` (len $labels.a) }} {{ if gt $value 1.0 }}{{ end }} {{ .Labels.a | toUpper }}",
        "plain %!d",
        "{{ externalURL }} {{ now | humanizeTimestamp }} {{ $externalURL | urlQueryEscape }}",
        "{{ define `t` }}{{ .arg0 }}{{ end }}{{ template `t` (args 1) }}",
    ],
)
def test_what_may_be_right_is_not_doubted(text: str) -> None:
    assert Template(text).doubts() == ()


def test_a_rendered_template_leaves_no_cycle_for_the_garbage_collector() -> None:
    gc.disable()
    try:
        answers = Answers({"up": ()})
        template = Template("{{ define `t` }}<{{ len (query `up`) }}>{{ end }}{{ tmpl `t` 1 }}")
        text = template.render({}, 1.0, Surroundings(answers=answers))
        gone = weakref.ref(answers)
        del answers
        assert (text, gone()) == ("<0>", None)
    finally:
        gc.enable()
